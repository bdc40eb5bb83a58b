//! What is counted and logged of a stream: one line for each, whatever became of it.

use std::cell::Cell;
use std::net::SocketAddr;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode, Version};
use tokio::time::Instant;

use super::connection::Connection;
use super::dismissal::Place;
use super::worker::Worker;
use crate::handshake::{self, AnswerBody, REQUEST_ID, ReadError, RequestId, TraceId};
use crate::http::Facts;
use crate::log::{AccessRecord, Ended, Traffic, Tried};
use crate::metrics::HandshakeOutcome;
use crate::peer::Side;
use crate::pipe::Outcome;

/// A request on its way to an answer.
pub(super) struct Record<'a> {
    worker: &'a Worker,
    /// Who has been dismissed when it began.
    pub(super) place: Place,
    pub(super) connection: String,
    /// What the request is known by, once it is there.
    pub(super) request_id: Option<RequestId>,
    /// The trace that it is part of.
    pub(super) trace: Option<TraceId>,
    /// What the client speaks, once its request is there.
    pub(super) version: Option<Version>,
    /// Whether it is an extended `CONNECT`, which any success accepts (RFC 8441 section 5).
    pub(super) is_extended: bool,
    /// Which forms of an answer the client accepts.
    pub(super) accept: Option<HeaderValue>,
    pub(super) client: Option<SocketAddr>,
    pub(super) started_at: Instant,
    pub(super) host: String,
    pub(super) path: String,
    /// The method of a plain request, on a route that serves such.
    pub(super) method: Option<Method>,
    pub(super) route: Option<std::sync::Arc<super::Route>>,
    pub(super) upstream: String,
    pub(super) endpoint: String,
    /// Why it was refused.
    pub(super) reason: String,
    /// The filter that refused it.
    pub(super) filter: String,
    /// The endpoints that were tried in vain.
    pub(super) tried: Vec<Tried>,
    pub(super) channel: Option<String>,
    pub(super) attributes: Vec<(String, String)>,
    /// Whether what has become of it is told, or is for somebody else to tell.
    pub(super) is_told: Cell<bool>,
}

impl<'a> Record<'a> {
    /// A request of which nothing is known yet.
    pub(super) fn new(worker: &'a Worker, client: Option<SocketAddr>, started_at: Instant) -> Self {
        Self {
            worker,
            place: worker.dismissals().place(),
            connection: worker.connection_id(),
            request_id: None,
            trace: None,
            version: None,
            is_extended: false,
            accept: None,
            client,
            started_at,
            host: String::new(),
            path: String::new(),
            method: None,
            route: None,
            upstream: String::new(),
            endpoint: String::new(),
            reason: String::new(),
            filter: String::new(),
            tried: Vec::new(),
            channel: None,
            attributes: Vec::new(),
            is_told: Cell::new(false),
        }
    }

    /// What header rules may tell of it.
    pub(super) fn facts(&self) -> Facts<'_> {
        Facts {
            client: self.client.map(|client| client.ip()),
            host: &self.host,
            route: self.route.as_ref().map_or("", |route| &route.name),
            connection: &self.connection,
            attributes: &self.attributes,
        }
    }

    /// Gives an answer the id of its request, and the fields that all answers of its route have.
    pub(super) fn dress(&self, headers: &mut HeaderMap) {
        if let Some(id) = &self.request_id {
            // One that is full takes no further field.
            let _ = headers.try_insert(REQUEST_ID, id.value.clone());
        }
        if let Some(route) = &self.route {
            route.response_headers.apply(headers, &self.facts());
        }
    }

    /// The answer in the form that the client gets. What is a success elsewhere accepts no handshake here that nobody has
    /// accepted.
    pub(super) fn formed(&self, response: Response<AnswerBody>, outcome: HandshakeOutcome) -> Response<AnswerBody> {
        let response = match (self.is_extended && response.status().is_success(), outcome) {
            (false, _) => response,
            (true, HandshakeOutcome::UpstreamAnswered) => {
                handshake::text(StatusCode::BAD_GATEWAY, "the upstream speaks no WebSocket here")
            }
            (true, _) => handshake::text(StatusCode::BAD_REQUEST, "no WebSocket is spoken here"),
        };
        let id = self.request_id.as_ref().map(|id| &id.value);
        let mut response = self.worker.snapshot().errors.form(response, self.accept.as_ref(), id);
        self.dress(response.headers_mut());
        response
    }

    /// Counts how the handshake ended, on its route if it has one.
    pub(super) fn count(&self, outcome: HandshakeOutcome) {
        let metrics = self.route.as_ref().map_or(self.worker.unrouted(), |route| &route.metrics);
        metrics.of(self.worker.index()).handshake(outcome);
    }

    /// A request that could not be read. Gives what it is known by all the same.
    pub(super) fn malformed(mut self, error: &ReadError) -> String {
        self.reason = error.to_string();
        self.refused(HandshakeOutcome::Malformed, Some(error.status()));
        std::mem::take(&mut self.connection)
    }

    /// A request whose head has not come, not all of it, within `patience`.
    pub(super) fn late(mut self, patience: Duration, status: Option<StatusCode>) {
        self.reason = format!("the head of the request has not come within {patience:?} (handshake_timeout)");
        self.refused(HandshakeOutcome::ClientTimeout, status);
    }

    /// Something that is no HTTP/2, where that was agreed on.
    pub(super) fn unintelligible(mut self) {
        "the connection does not begin with the preface of HTTP/2".clone_into(&mut self.reason);
        self.refused(HandshakeOutcome::Malformed, None);
    }

    /// A request of which only a part has come.
    pub(super) fn left(mut self) {
        "the client left before its request was there".clone_into(&mut self.reason);
        self.refused(HandshakeOutcome::ClientGone, None);
    }

    /// A request that opened no connection, or a plain one that no upstream has answered.
    pub(super) fn refused(&self, outcome: HandshakeOutcome, status: Option<StatusCode>) {
        match &self.method {
            None => self.count(outcome),
            Some(method) => self.count_request(method, status),
        }
        self.write(outcome.label(), status, (0, 0));
    }

    /// A plain request that an upstream has answered, as it has ended, with the bytes of both bodies.
    pub(super) fn answered(&self, outcome: &'static str, status: StatusCode, bytes: (u64, u64)) {
        if let Some(method) = &self.method {
            self.count_request(method, Some(status));
        }
        self.write(outcome, Some(status), bytes);
    }

    fn count_request(&self, method: &Method, status: Option<StatusCode>) {
        if let Some(route) = &self.route {
            let requests = route.metrics.of(self.worker.index()).requests();
            requests.count(method, status, self.started_at.elapsed());
        }
    }

    /// A connection that has opened, which says so if that is wanted.
    pub(super) fn opened(&self, status: StatusCode) {
        self.is_told.set(true);
        self.count(HandshakeOutcome::Upgraded);
        if self.worker.access().is_told_of_opens() {
            self.write(HandshakeOutcome::Upgraded.label(), Some(status), (0, 0));
        }
    }

    fn write(&self, outcome: &'static str, status: Option<StatusCode>, (up, down): (u64, u64)) {
        self.is_told.set(true);
        self.worker.access().write(&AccessRecord {
            opens: outcome == HandshakeOutcome::Upgraded.label(),
            method: self.method.as_ref().map_or("", Method::as_str),
            connection: &self.connection,
            request_id: self.request_id.as_ref().and_then(RequestId::given).unwrap_or_default(),
            trace_id: self.trace.map(TraceId::number),
            protocol: self.version.map_or("", protocol),
            route: self.route.as_ref().map_or("", |route| &route.name),
            client: self.client,
            host: &self.host,
            path: &self.path,
            upstream: &self.upstream,
            endpoint: &self.endpoint,
            outcome,
            status: status.map(|status| status.as_u16()),
            ended: None,
            reason: &self.reason,
            filter: &self.filter,
            tried: &self.tried,
            duration: self.started_at.elapsed(),
            from_client: Traffic { messages: 0, bytes: up },
            from_upstream: Traffic { messages: 0, bytes: down },
            channel: self.channel.as_deref(),
            attributes: &self.attributes,
        });
    }
}

impl Drop for Record<'_> {
    /// Whoever is cut off while it waits leaves its line all the same.
    fn drop(&mut self) {
        if !self.is_told.get() {
            cut_off().clone_into(&mut self.reason);
            self.write("ended", None, (0, 0));
        }
    }
}

/// Why something is over that nobody has ended.
pub(super) fn cut_off() -> &'static str {
    match std::thread::panicking() {
        true => "a fault of the proxy, see its log",
        false => "cut off at the end of the process",
    }
}

/// How a version is named, where it is told.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_11 => "HTTP/1.1",
        _ => "HTTP/2",
    }
}

/// Logs the end of an open connection.
pub(super) fn ended(worker: &Worker, connection: &Connection, outcome: &Outcome) {
    let traffic = |side| {
        let carried = &connection.handle.traffic;
        Traffic { messages: carried.messages(side), bytes: carried.bytes(side) }
    };
    let reason = match (&outcome.close, &*outcome.cause) {
        (Some(close), "") => close.reason.as_str(),
        (_, cause) => cause,
    };
    let attributes = connection.attributes();
    worker.access().write(&AccessRecord {
        connection: &connection.id,
        request_id: connection.logged.request_id.as_deref().unwrap_or_default(),
        trace_id: connection.logged.trace.map(TraceId::number),
        protocol: connection.logged.version.map_or("", protocol),
        route: &connection.route().name,
        client: connection.client,
        method: "",
        host: connection.logged.host(),
        path: connection.logged.path(),
        upstream: connection.upstream.balance.name(),
        endpoint: connection.lease.endpoint().url(),
        opens: false,
        outcome: HandshakeOutcome::Upgraded.label(),
        status: Some(connection.logged.status.as_u16()),
        ended: Some(Ended { by: outcome.by, code: outcome.code() }),
        reason,
        filter: "",
        tried: &[],
        duration: connection.started_at.elapsed(),
        from_client: traffic(Side::Client),
        from_upstream: traffic(Side::Upstream),
        channel: connection.logged.channel.as_deref(),
        attributes: &attributes,
    });
}
