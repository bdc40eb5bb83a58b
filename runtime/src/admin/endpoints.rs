//! The endpoints: which path takes which method, and what it answers.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, SERVER, VARY, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;

use super::access::{Asker, Denied, Wish};
use super::body::{AnswerBody, accepts_gzip};
use super::guard::Unwelcome;
use super::messages::{self, Push};
use super::places::{Activity, Place};
use super::query;
use super::view::{CloseReport, Decision, DrainReport, LogView, Readiness, ReloadReport};
use super::{Admin, NAME, Operations};
use crate::metrics::{AdminRefusal, Metrics};
use crate::session::Pushed;

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint<'a> {
    Index,
    Metrics,
    Health,
    Readiness,
    Routes,
    Upstreams,
    Components,
    /// Of the component with this name.
    Restore(&'a str),
    Candidates,
    /// About the component with this name, on the route with that.
    Decide {
        route: &'a str,
        component: &'a str,
        decision: Decision,
    },
    Connections,
    /// To the client of the connection with this id.
    Messages(&'a str),
    Reload,
    Drain,
    Log,
}

impl<'a> Endpoint<'a> {
    fn at(path: &'a str) -> Option<Self> {
        Some(match path {
            "/" => Self::Index,
            "/metrics" => Self::Metrics,
            "/healthz" => Self::Health,
            "/readyz" => Self::Readiness,
            "/api/v1/routes" => Self::Routes,
            "/api/v1/upstreams" => Self::Upstreams,
            "/api/v1/components" => Self::Components,
            "/api/v1/connections" => Self::Connections,
            "/api/v1/reload" => Self::Reload,
            "/api/v1/drain" => Self::Drain,
            "/api/v1/log" => Self::Log,
            "/api/v1/candidates" => Self::Candidates,
            // Names have no character that would be escaped.
            path => match *path.strip_prefix("/api/v1/")?.split('/').collect::<Vec<_>>() {
                ["components", component, "restore"] => Self::Restore(component),
                ["connections", connection, "messages"] => Self::Messages(connection),
                ["routes", route, "candidates", component, decision] => {
                    let decision = match decision {
                        "promote" => Decision::Promote,
                        "roll-back" => Decision::RollBack,
                        _ => return None,
                    };
                    Self::Decide { route, component, decision }
                }
                _ => return None,
            },
        })
    }

    /// The methods that it takes.
    fn methods(self) -> &'static [Method] {
        match self {
            Self::Restore(_) | Self::Decide { .. } | Self::Messages(_) | Self::Drain => &[Method::POST],
            Self::Reload => &[Method::GET, Method::HEAD, Method::POST],
            Self::Log => &[Method::GET, Method::HEAD, Method::PUT],
            Self::Connections => &[Method::GET, Method::HEAD, Method::DELETE],
            _ => &[Method::GET, Method::HEAD],
        }
    }

    /// Whether it only tells that the process is there and serves.
    fn is_probe(self) -> bool {
        matches!(self, Self::Health | Self::Readiness)
    }

    /// Whether its answer grows with what there is.
    fn is_list(self) -> bool {
        matches!(self, Self::Routes | Self::Upstreams | Self::Components | Self::Candidates | Self::Connections)
    }

    /// What who asks for it by this method wishes.
    fn wish(self, method: &Method) -> Wish {
        match self {
            Self::Messages(_) => Wish::Push,
            _ if method.is_safe() => Wish::Look,
            _ => Wish::Act,
        }
    }

    fn takes_query(self, method: &Method) -> bool {
        match self {
            Self::Connections | Self::Drain => true,
            Self::Reload => method == Method::POST,
            Self::Log => method == Method::PUT,
            _ => false,
        }
    }
}

/// Answers a request. Its body is not read, unless it is a message: hyper closes the connection when there is more of one than it holds.
///
/// The answer to HEAD is the one to GET; hyper leaves the body out.
pub(super) async fn respond(
    admin: &Admin,
    request: Request<Incoming>,
    place: Place,
    activity: &Activity,
) -> Response<AnswerBody> {
    let (request, body) = request.into_parts();
    let request = Request::from_parts(request, ());
    if let Err(unwelcome) = admin.guard.check_host(request.headers()) {
        return refusal(unwelcome);
    }
    let Some(endpoint) = Endpoint::at(request.uri().path()) else {
        return problem(StatusCode::NOT_FOUND, "no such endpoint; GET / lists them");
    };
    if place == Place::Reserved && !endpoint.is_probe() {
        admin.metrics.admin_refused(AdminRefusal::MaxConnections);
        return full(admin.bounds.max_connections);
    }
    let method = request.method();
    let scope = match admin.access.check(request.headers(), endpoint.wish(method)) {
        _ if endpoint.is_probe() || endpoint == Endpoint::Metrics && admin.access.shows_metrics() => None,
        Ok(Asker { name: Some(who), scope }) => {
            // Messages come as often as they like.
            if !method.is_safe() && endpoint.wish(method) == Wish::Act {
                tracing::info!(token = who, %method, path = request.uri().path(), "asked of the admin API");
            }
            scope
        }
        Ok(Asker { name: None, scope }) => scope,
        Err(denied) => {
            admin.metrics.admin_refused(AdminRefusal::Token);
            return unauthorized(denied);
        }
    };
    if !endpoint.methods().contains(method) {
        return not_allowed(endpoint.methods());
    }
    if !method.is_safe()
        && let Err(unwelcome) = admin.guard.check_origin(request.headers())
    {
        return refusal(unwelcome);
    }

    let operations = admin.operations.as_ref();
    let query = request.uri().query().unwrap_or_default();
    if !endpoint.takes_query(method)
        && let Err(error) = query::none(query)
    {
        return problem(StatusCode::BAD_REQUEST, &error.to_string());
    }
    if endpoint.is_list() && method.is_safe() {
        activity.take_turn(&admin.lists).await;
    }
    match endpoint {
        Endpoint::Index => text(StatusCode::OK, INDEX),
        Endpoint::Metrics => metrics(&admin.metrics, request.headers()),
        Endpoint::Health => text(StatusCode::OK, "ok\n"),
        Endpoint::Readiness => readiness(operations),
        Endpoint::Routes => json(StatusCode::OK, &operations.routes()),
        Endpoint::Upstreams => json(StatusCode::OK, &operations.upstreams()),
        Endpoint::Components => json(StatusCode::OK, &operations.components()),
        Endpoint::Connections if method == Method::DELETE => match query::close(query) {
            Ok(query) => close(operations.close(query).await),
            Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        Endpoint::Connections => match query::connections(query) {
            Ok(query) => json(StatusCode::OK, &operations.connections(query).await),
            Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        Endpoint::Messages(connection) => {
            match messages::read(request.headers(), body, operations.largest_message()).await {
                Ok(outgoing) => {
                    let push = Push { connection: connection.to_owned(), scope, outgoing };
                    pushed(connection, operations.push(push).await)
                }
                Err(unpushable) => problem(unpushable.status(), &unpushable.to_string()),
            }
        }
        Endpoint::Reload if method != Method::POST => json(StatusCode::OK, &operations.reload_status()),
        Endpoint::Reload => match query::reload(query) {
            Ok(dry_run) => reload(operations, dry_run).await,
            Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        Endpoint::Drain => match query::drain(query) {
            Ok(query) => drain(operations.drain(query).await),
            Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        Endpoint::Log if method == Method::PUT => match query::log(query) {
            Ok(level) => match operations.set_log_level(level) {
                Ok(()) => json(StatusCode::OK, &LogView::from(level)),
                Err(superseded) => problem(StatusCode::CONFLICT, &superseded.to_string()),
            },
            Err(error) => problem(StatusCode::BAD_REQUEST, &error.to_string()),
        },
        Endpoint::Log => json(StatusCode::OK, &LogView::from(operations.log_level())),
        Endpoint::Restore(component) => match operations.restore(component) {
            Some(report) => json(StatusCode::OK, &report),
            None => problem(StatusCode::NOT_FOUND, "no component has this name"),
        },
        Endpoint::Candidates => json(StatusCode::OK, &operations.candidates()),
        Endpoint::Decide { route, component, decision } => match operations.decide(route, component, decision) {
            Ok(Some(report)) => json(StatusCode::OK, &report),
            Ok(None) => problem(StatusCode::NOT_FOUND, "this component is no candidate on this route"),
            Err(superseded) => problem(StatusCode::CONFLICT, &superseded.to_string()),
        },
    }
}

/// The first line says it, and those that follow what an operator should know all the same.
fn readiness(operations: &dyn Operations) -> Response<AnswerBody> {
    let (status, word) = match operations.readiness() {
        Readiness::Ready => (StatusCode::OK, "ready"),
        Readiness::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        Readiness::Impaired => (StatusCode::SERVICE_UNAVAILABLE, "impaired"),
        Readiness::Draining => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
    };
    let lines = [word.to_owned()].into_iter().chain(operations.remarks());
    text(status, lines.map(|line| line + "\n").collect::<String>())
}

/// The text goes out while it is made, compressed for who takes that.
fn metrics(metrics: &Metrics, asked: &HeaderMap) -> Response<AnswerBody> {
    let gzip = accepts_gzip(asked);
    let mut response = response(StatusCode::OK, Metrics::CONTENT_TYPE, AnswerBody::scrape(metrics.scrape(), gzip));
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

async fn reload(operations: &dyn Operations, dry_run: bool) -> Response<AnswerBody> {
    let report = operations.reload(dry_run).await;
    let status = match report {
        ReloadReport::Applied { .. } | ReloadReport::Applicable { .. } | ReloadReport::Unchanged { .. } => {
            StatusCode::OK
        }
        ReloadReport::Rejected { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        ReloadReport::Busy { .. } | ReloadReport::Refused { .. } => StatusCode::CONFLICT,
    };
    json(status, &report)
}

/// Who asks must not take a part of them for all.
fn close(report: CloseReport) -> Response<AnswerBody> {
    let status = match &report {
        CloseReport::Closed(closed) | CloseReport::Planned(closed) if closed.workers_silent.is_empty() => {
            StatusCode::OK
        }
        CloseReport::Closed(_) | CloseReport::Planned(_) => StatusCode::SERVICE_UNAVAILABLE,
        CloseReport::Unknown { .. } => StatusCode::NOT_FOUND,
    };
    json(status, &report)
}

fn pushed(connection: &str, outcome: Option<Pushed>) -> Response<AnswerBody> {
    let (status, error) = messages::told(outcome);
    let mut response = match status.is_success() {
        true => json(status, &serde_json::json!({ "connection": connection })),
        false => problem(status, &error),
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

fn drain(report: DrainReport) -> Response<AnswerBody> {
    let status = match report {
        DrainReport::Begun(_) => StatusCode::ACCEPTED,
        DrainReport::Planned(_) => StatusCode::OK,
        DrainReport::Underway { .. } => StatusCode::CONFLICT,
        DrainReport::Unknown { .. } => StatusCode::NOT_FOUND,
    };
    json(status, &report)
}

fn refusal(unwelcome: Unwelcome) -> Response<AnswerBody> {
    let status = match unwelcome {
        Unwelcome::Host => StatusCode::MISDIRECTED_REQUEST,
        Unwelcome::Origin => StatusCode::FORBIDDEN,
    };
    problem(status, &unwelcome.to_string())
}

/// RFC 6750 section 3.
fn unauthorized(denied: Denied) -> Response<AnswerBody> {
    let (status, challenge) = match denied {
        Denied::NoToken => (StatusCode::UNAUTHORIZED, "Bearer"),
        Denied::Unknown => (StatusCode::UNAUTHORIZED, "Bearer error=\"invalid_token\""),
        Denied::Viewer | Denied::Messages => (StatusCode::FORBIDDEN, "Bearer error=\"insufficient_scope\""),
    };
    let mut response = problem(status, &denied.to_string());
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

fn full(most: usize) -> Response<AnswerBody> {
    let error = format!("{most} connections of the admin API are being answered (max_connections); ask again");
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, &error);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    response
}

fn not_allowed(methods: &[Method]) -> Response<AnswerBody> {
    let mut response = problem(StatusCode::METHOD_NOT_ALLOWED, "this endpoint does not take that method");
    let methods = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
    if let Ok(methods) = HeaderValue::try_from(methods) {
        response.headers_mut().insert(ALLOW, methods);
    }
    response
}

fn problem(status: StatusCode, error: &str) -> Response<AnswerBody> {
    json(status, &serde_json::json!({ "error": error }))
}

fn json(status: StatusCode, value: &impl Serialize) -> Response<AnswerBody> {
    match serde_json::to_string_pretty(value) {
        Ok(body) => response(status, "application/json", whole(body + "\n")),
        Err(error) => {
            tracing::error!(%error, "an admin answer is not JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "internal error\n")
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<AnswerBody> {
    response(status, "text/plain; charset=utf-8", whole(body))
}

fn whole(body: impl Into<Bytes>) -> AnswerBody {
    AnswerBody::Whole(Full::new(body.into()))
}

fn response(status: StatusCode, content_type: &'static str, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(SERVER, NAME);
    response
}

const INDEX: &str = "\
Tidegate admin API

GET  /metrics              counters, in the Prometheus text format
GET  /healthz              200 while the process runs
GET  /readyz               200 while new connections are welcome, 503 otherwise
GET  /api/v1/routes        routes in force, with their filters
GET  /api/v1/upstreams     upstreams and endpoints, with their weights and connections
GET  /api/v1/components    components, with what they may do and what they use
POST /api/v1/components/NAME/restore
                           lifts the quarantine of a component
GET  /api/v1/candidates    candidates for filters, and what has come of them so far
POST /api/v1/routes/ROUTE/candidates/COMPONENT/promote
                           puts a candidate in its filter's place, for all connections of a route
POST /api/v1/routes/ROUTE/candidates/COMPONENT/roll-back
                           gives all connections back to the filter
GET  /api/v1/connections   open connections; ?limit=100&route=NAME&id=ID&attribute=NAME:VALUE
DELETE /api/v1/connections
                           closes those with the id, the route and the attributes; ?attribute=NAME:VALUE&code=1008&dry_run=true
POST /api/v1/connections/ID/messages
                           sends the body to a client of whom an application is told over HTTP
GET  /api/v1/reload        the configuration in force, and the reload under way
POST /api/v1/reload        reads the configuration again; 422 lists what is wrong with it;
                           ?dry_run=true only says what would change
POST /api/v1/drain         closes connections at a measured pace and ends the process; ?over=30s&code=1001&dry_run=true,
                           and &route=NAME for the connections of one route only
GET  /api/v1/log           the least severe level that the log shows
PUT  /api/v1/log           ?level=error, warn, info, debug or trace: shows that level from now on, until the process ends
";
