//! Why a request opens no connection, what the client is told, and how it is counted.
//!
//! The failures of all stages come together here, and a new variant does not compile before it has a label and an answer.
//! Which status a request that we do not serve gets, and a dial that failed, their own errors say.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::limit::Denied;
use super::per_client::TooMany;
use super::record::Record;
use crate::authorize;
use crate::bridge;
use crate::component::{Failure, Kind, Refusal as FilterRefusal};
use crate::handshake::{self, AnswerBody, Refused, Stream, Streams};
use crate::metrics::HandshakeOutcome;
use crate::token;
use crate::upstream::DialError;

/// Why a request opens no connection.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request is not one that we serve.
    Request(Refused),
    /// `max_connections` of the route.
    Full,
    /// `handshakes_per_second` of the route.
    TooFast,
    /// A limit for each client.
    Client(Gate, TooMany),
    /// An authority of certificates asks for this.
    Challenge(Arc<str>),
    /// Who lets it in sends it elsewhere, with this.
    Redirect(Gate, Box<Response<AnswerBody>>),
    /// The route has this for everybody.
    Answer(Box<Response<AnswerBody>>),
    /// There is no token that holds, and the route asks for one.
    Token(token::Refused),
    /// Whoever was asked about it lets it not in.
    NotAuthorized(Box<Response<Bytes>>),
    /// The application that would be told of it does not want it.
    Application(Box<Response<Bytes>>),
    /// Nobody has answered who was asked about it.
    Unauthorized(authorize::Failure),
    /// A filter's decision.
    Filter(FilterRefusal),
    /// A component of this kind, which decides about this handshake, failed.
    Component(Kind, Failure),
    /// The upstream has no endpoint for it.
    NoEndpoint,
    /// No attempt to reach the upstream succeeded; the last one's error.
    Dial(DialError),
    /// The body of a plain request is larger than this key of the route allows.
    BodyTooLarge(&'static str),
    /// The client took too long over the body of a plain request.
    BodyTimeout,
    /// A plain request was ended before its answer, because of this.
    Ended(&'static str),
    /// No message has become of a plain request, or it is not known what has become of it.
    Bridge(bridge::Failure),
    /// The client left.
    ClientGone,
}

/// What lets clients in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Listener,
    Route,
}

impl Refusal {
    /// Somebody was denied.
    pub(super) fn denied(denied: Denied, by: Gate) -> Self {
        match denied {
            Denied::Network => Self::Request(Refused::Network),
            Denied::Full => Self::Full,
            Denied::TooFast => Self::TooFast,
            Denied::Client(too_many) => Self::Client(by, too_many),
        }
    }

    /// The label of the handshake.
    fn outcome(&self) -> HandshakeOutcome {
        match self {
            Self::Request(refused) => refused.outcome(),
            Self::Challenge(_) => HandshakeOutcome::AcmeChallenge,
            Self::Redirect(..) => HandshakeOutcome::Redirected,
            Self::Answer(_) => HandshakeOutcome::Answered,
            Self::Full | Self::TooFast | Self::Client(..) => HandshakeOutcome::Limited,
            Self::Token(token::Refused::NoKeys) => HandshakeOutcome::IssuerFailed,
            Self::Token(_) => HandshakeOutcome::TokenRefused,
            Self::NotAuthorized(_) => HandshakeOutcome::NotAuthorized,
            Self::Unauthorized(_) => HandshakeOutcome::AuthorizationFailed,
            Self::Application(_) => HandshakeOutcome::UpstreamAnswered,
            Self::Filter(_) => HandshakeOutcome::FilterRefused,
            Self::Component(..) => HandshakeOutcome::ComponentFailed,
            Self::NoEndpoint => HandshakeOutcome::NoEndpoint,
            Self::Dial(error) if error.is_shortage() => HandshakeOutcome::Shortage,
            Self::Dial(
                DialError::Unresolved(_)
                | DialError::Refused(_)
                | DialError::Cut(_)
                | DialError::Tls(_)
                | DialError::InvalidAnswer(_),
            ) => HandshakeOutcome::UpstreamFailed,
            Self::Dial(
                DialError::ResolveTimeout
                | DialError::ConnectTimeout
                | DialError::HandshakeTimeout
                | DialError::AnswerTimeout,
            ) => HandshakeOutcome::UpstreamTimeout,
            Self::Dial(DialError::Answered(_) | DialError::Unwell(_)) => HandshakeOutcome::UpstreamAnswered,
            Self::BodyTooLarge(_) => HandshakeOutcome::Limited,
            Self::BodyTimeout => HandshakeOutcome::ClientTimeout,
            Self::Ended(_) | Self::Bridge(bridge::Failure::Busy | bridge::Failure::NoRoom) => HandshakeOutcome::Limited,
            Self::Bridge(bridge::Failure::Lost) => HandshakeOutcome::UpstreamFailed,
            Self::Bridge(bridge::Failure::Late) => HandshakeOutcome::UpstreamTimeout,
            Self::ClientGone => HandshakeOutcome::ClientGone,
        }
    }

    /// Answers a stream with it, unless the client has left. Gives what its connection has to bring beside it.
    pub(super) async fn answer(self, stream: Stream, mut record: Record<'_>) -> Option<Streams> {
        let route = record.route.as_ref().map_or("", |route| &route.name);
        self.log(route, &record.connection);
        record.reason = self.reason();
        let outcome = self.outcome();
        let Some(response) = self.response() else {
            record.refused(outcome, None);
            return None;
        };
        let response = record.formed(response, outcome);
        let status = response.status();
        let further = stream.refuse(response).await;
        record.refused(outcome, Some(status));
        further
    }

    /// The answer; `None` where nobody is there to read it. Its text names no address, because it is for the client.
    pub(super) fn response(self) -> Option<Response<AnswerBody>> {
        let unavailable = |text| handshake::text(StatusCode::SERVICE_UNAVAILABLE, text);
        let too_many = |text| {
            let mut response = handshake::text(StatusCode::TOO_MANY_REQUESTS, text);
            // Rates come back within a second, and connections when they may (RFC 6585 section 4).
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
            response
        };
        Some(match self {
            Self::Request(refused) => refused.response(),
            Self::Full => unavailable("this route has no place for another connection"),
            Self::TooFast => too_many("too many connections at once; try again"),
            Self::Challenge(answer) => handshake::answer(&answer),
            Self::Redirect(_, response) | Self::Answer(response) => *response,
            Self::Client(_, TooMany::Connections) => too_many("you have as many connections as you may"),
            Self::Client(_, TooMany::Handshakes) => too_many("you come too often; try again"),
            Self::Token(refused) => challenged(&refused),
            Self::NotAuthorized(answer) | Self::Application(answer) => handshake::told(*answer),
            Self::Unauthorized(_) => unavailable("nobody answers who could let you in; try again"),
            Self::Filter(refusal) => handshake::refusal(refusal),
            Self::Component(Kind::Predicate, _) => unavailable("a predicate of this route failed"),
            Self::Component(Kind::Filter, _) => unavailable("a filter of this route failed"),
            Self::Component(Kind::Balancer, _) => unavailable("the balancer of this route's upstream failed"),
            Self::NoEndpoint => unavailable("no endpoint is available"),
            Self::Dial(error) if error.is_shortage() => unavailable("this proxy has no place for another connection"),
            Self::Dial(error) => {
                let status = error.status();
                let text = match error {
                    DialError::Answered(answer) => return Some(handshake::relayed(*answer)),
                    DialError::Unresolved(_) => "the upstream's name does not resolve",
                    DialError::Refused(_) => "the upstream refused the connection",
                    DialError::Cut(_) => "the upstream cut the connection",
                    DialError::Tls(_) => "the upstream could not be asked over TLS",
                    DialError::InvalidAnswer(_) => "the upstream gave an invalid answer",
                    DialError::Unwell(_) => "the upstream has no answer",
                    DialError::ResolveTimeout
                    | DialError::ConnectTimeout
                    | DialError::HandshakeTimeout
                    | DialError::AnswerTimeout => "the upstream took too long",
                };
                handshake::text(status, text)
            }
            Self::BodyTooLarge(_) => {
                closing(handshake::text(StatusCode::PAYLOAD_TOO_LARGE, "the body of the request is too large"))
            }
            Self::BodyTimeout => {
                closing(handshake::text(StatusCode::REQUEST_TIMEOUT, "the body of the request did not come in time"))
            }
            Self::Ended(_) => {
                let mut response = closing(unavailable("the request was ended; try again"));
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
            Self::Bridge(failure) => {
                let status = match failure {
                    bridge::Failure::Busy | bridge::Failure::NoRoom => StatusCode::SERVICE_UNAVAILABLE,
                    bridge::Failure::Lost => StatusCode::BAD_GATEWAY,
                    bridge::Failure::Late => StatusCode::GATEWAY_TIMEOUT,
                };
                let mut response = handshake::text(status, failure.to_string());
                if failure == bridge::Failure::NoRoom {
                    // The rest of the body is not wanted either.
                    response = closing(response);
                }
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                }
                response
            }
            Self::ClientGone => return None,
        })
    }

    /// What the access log says beside the label; what was dialled in vain it tells by itself.
    fn reason(&self) -> String {
        match self {
            Self::Request(refused) => refused.to_string(),
            Self::Full => "max_connections of the route is reached".to_owned(),
            Self::TooFast => "handshakes_per_second of the route is reached".to_owned(),
            Self::Client(gate, too_many) => {
                let key = match too_many {
                    TooMany::Connections => "max_connections_per_client",
                    TooMany::Handshakes => "handshakes_per_second_per_client",
                };
                let gate = match gate {
                    Gate::Listener => "listener",
                    Gate::Route => "route",
                };
                format!("{key} of the {gate} is reached by the client's network")
            }
            Self::Component(_, failure) => format!("component {}: {}", failure.component, failure.message),
            Self::NoEndpoint => "no endpoint is enabled, or the balancer picked none".to_owned(),
            Self::Token(refused) => refused.to_string(),
            Self::NotAuthorized(answer) => format!("the server of `authorize` says {}", answer.status()),
            Self::Unauthorized(failure) => format!("authorize: {failure}"),
            Self::Application(answer) => format!("the application says {}", answer.status()),
            Self::Filter(refusal) => told_by(refusal),
            Self::Challenge(_) => "an authority of certificates asks whether a name is ours".to_owned(),
            Self::Redirect(Gate::Listener, _) => "the listener sends everything to where TLS is spoken".to_owned(),
            Self::Redirect(Gate::Route, _) | Self::Answer(_) => String::new(),
            Self::ClientGone => "the client left before its answer".to_owned(),
            Self::BodyTooLarge(key) => format!("the body is larger than {key} of the route"),
            Self::BodyTimeout => "the client sent nothing of its body for request_timeout of the route".to_owned(),
            Self::Ended(reason) => (*reason).to_owned(),
            Self::Bridge(failure) => failure.to_string(),
            Self::Dial(_) => String::new(),
        }
    }

    /// What an operator may have to act on; everything else is in the access log alone.
    fn log(&self, route: &str, connection: &str) {
        match self {
            // The component's own line, which is limited in rate, is the warning.
            Self::Component(_, failure) => {
                tracing::debug!(route, connection, %failure, "a component failed; the handshake is refused");
            }
            Self::Dial(DialError::Answered(_)) => {}
            Self::Dial(error) => {
                tracing::debug!(route, connection, %error, "no attempt to reach the upstream succeeded")
            }
            _ => {}
        }
    }
}

/// An answer behind which no further request is read.
fn closing(mut response: Response<AnswerBody>) -> Response<AnswerBody> {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The answer to who has no token that holds (RFC 6750 section 3).
fn challenged(refused: &token::Refused) -> Response<AnswerBody> {
    let mut response = handshake::text(refused.status(), refused.to_string());
    if let Some(challenge) = refused.challenge() {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// What a filter tells the client: the first line of its text; where it tells nothing, the status.
fn told_by(refusal: &FilterRefusal) -> String {
    let text = std::str::from_utf8(&refusal.body).unwrap_or_default();
    match text.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => line.chars().take(MOST_TOLD).collect(),
        None => format!("the filter refuses it with {}", refusal.status),
    }
}

/// More of a filter's text no line of a log needs.
const MOST_TOLD: usize = 200;

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;
    use crate::metrics::FailureReason;

    #[tokio::test]
    async fn a_client_is_told_what_kind_of_component_has_failed() {
        for (kind, told) in
            [(Kind::Predicate, "a predicate of this route failed"), (Kind::Filter, "a filter of this route failed")]
        {
            let (component, message) = ("gate".to_owned(), "unreachable".to_owned());
            let failure = Failure { component, reason: FailureReason::Trap, message };
            let response = Refusal::Component(kind, failure).response().unwrap();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert!(body.starts_with(told.as_bytes()), "{body:?}");
        }
    }
}
