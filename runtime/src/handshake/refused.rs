//! Answers other than 101.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use thiserror::Error;

use super::body::AnswerBody;
use crate::component::Refusal;
use crate::http::InvalidPath;
use crate::http::{Answer, field_names, fields};
use crate::metrics::HandshakeOutcome;

/// A request that is no opening handshake for any route. The text is for the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// 404.
    #[error("no route for this host and path")]
    NoRoute,
    /// 405.
    #[error("a WebSocket handshake is a GET request")]
    Method,
    /// 405: another method on a route whose plain requests become messages.
    #[error("a message is sent by POST")]
    BridgeMethod {
        /// Whether one may also listen, by GET.
        has_events: bool,
    },
    /// 426: a plain request on a route that is for WebSockets only.
    #[error("this is a WebSocket endpoint: ask for an upgrade to websocket")]
    UpgradeRequired,
    /// 426: another version of the protocol.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    Version,
    /// 405: a plain request over HTTP/2 on a route that is for WebSockets only. HTTP/2 knows no upgrade, and has no place for
    /// the field that a 426 needs (RFC 9113 section 8.2.2, RFC 9110 section 15.5.22).
    #[error("this is a WebSocket endpoint: ask by CONNECT with the :protocol websocket")]
    ConnectRequired,
    /// 400: another version of the protocol, over HTTP/2.
    #[error("only version 13 of the WebSocket protocol is spoken here")]
    OtherVersion,
    /// 501: an extended `CONNECT` for another protocol (RFC 9220 section 3 says so of HTTP/3).
    #[error("the only :protocol that is spoken here is websocket")]
    UnknownProtocol,
    /// 501: a plain request that this proxy carries to nobody.
    #[error("{0}")]
    NotImplemented(&'static str),
    /// 417: a plain request that expects something else than `100-continue`.
    #[error("only 100-continue can be expected here")]
    Expectation,
    /// 400: an attempt at a handshake, with the mistake.
    #[error("{0}")]
    Malformed(&'static str),
    /// 400: the path is not one that is taken.
    #[error(transparent)]
    Path(#[from] InvalidPath),
    /// 414.
    #[error("the target of the request is too long")]
    TargetTooLong,
    /// 403: the listener or the route allows other networks.
    #[error("your network may not connect here")]
    Network,
    /// 403: the route allows other origins.
    #[error("this origin may not connect here")]
    Origin,
}

impl Refused {
    /// The status that tells the client.
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::Method | Self::ConnectRequired | Self::BridgeMethod { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::UnknownProtocol => StatusCode::NOT_IMPLEMENTED,
            Self::UpgradeRequired | Self::Version => StatusCode::UPGRADE_REQUIRED,
            Self::NotImplemented(_) => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::Malformed(_) | Self::Path(_) | Self::OtherVersion => StatusCode::BAD_REQUEST,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Network | Self::Origin => StatusCode::FORBIDDEN,
        }
    }

    /// The label of the handshake.
    pub fn outcome(self) -> HandshakeOutcome {
        match self {
            Self::NoRoute => HandshakeOutcome::NoRoute,
            Self::UpgradeRequired | Self::Version | Self::ConnectRequired | Self::OtherVersion => {
                HandshakeOutcome::UpgradeRequired
            }
            Self::Method
            | Self::BridgeMethod { .. }
            | Self::NotImplemented(_)
            | Self::Expectation
            | Self::Malformed(_)
            | Self::Path(_)
            | Self::TargetTooLong
            | Self::UnknownProtocol => HandshakeOutcome::Malformed,
            Self::Network => HandshakeOutcome::NetworkRefused,
            Self::Origin => HandshakeOutcome::OriginRefused,
        }
    }

    /// The answer. A malformed request ends the connection: where its successor starts is not certain.
    pub fn response(self) -> Response<AnswerBody> {
        let mut response = text(self.status(), self.to_string());
        let headers = response.headers_mut();
        match self {
            Self::Method => {
                headers.insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Self::BridgeMethod { has_events } => {
                let methods = if has_events { "GET, POST" } else { "POST" };
                headers.insert(header::ALLOW, HeaderValue::from_static(methods));
            }
            Self::UpgradeRequired => {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::ConnectRequired => {
                headers.insert(header::ALLOW, HeaderValue::from_static("CONNECT"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            Self::Version | Self::OtherVersion => {
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            // What stands behind a request whose framing is not understood is not taken for another.
            Self::Malformed(_) | Self::NotImplemented(_) => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Self::NoRoute
            | Self::Path(_)
            | Self::TargetTooLong
            | Self::Network
            | Self::Origin
            | Self::Expectation
            | Self::UnknownProtocol => {}
        }
        response
    }
}

/// An answer of our own: a status and one line of plain text, which may still take another form.
pub fn text(status: StatusCode, text: impl Into<String>) -> Response<AnswerBody> {
    let mut text = text.into();
    text.push('\n');
    let mut response = Response::new(AnswerBody::Own(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// The answer of another server to a question of ours, for the client: what was for that connection is left out.
pub fn told(answer: Response<Bytes>) -> Response<AnswerBody> {
    let (mut head, body) = answer.into_parts();
    fields::remove_for_hop_and(&mut head.headers, field_names::is_owned);
    head.version = http::Version::HTTP_11;
    Response::from_parts(head, AnswerBody::Whole(body))
}

/// What was asked for, as it is.
pub fn answer(body: &str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Bytes::copy_from_slice(body.as_bytes())));
    let kind = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A filter's refusal. Fields that belong to the connection are the proxy's and left out.
pub fn refusal(refusal: Refusal) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Whole(Bytes::from(refusal.body)));
    *response.status_mut() = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
    for (name, value) in refusal.headers {
        let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_maybe_shared(value))
        else {
            continue;
        };
        if !field_names::is_owned(name.as_str()) {
            // One that is full takes no further field, and `max_attachments` is far below.
            let _ = response.headers_mut().try_append(name, value);
        }
    }
    response
}

/// An upstream's answer, for the client.
pub fn relayed(answer: Answer) -> Response<AnswerBody> {
    let Answer { mut head, body } = answer;
    head.version = http::Version::HTTP_11;
    Response::from_parts(head, AnswerBody::Relayed(Box::new(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_would_have_been_right() {
        for (refused, status, fields) in [
            (Refused::NoRoute, 404, &[][..]),
            (Refused::Method, 405, &[("allow", "GET")]),
            (
                Refused::UpgradeRequired,
                426,
                &[("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-version", "13")],
            ),
            (Refused::Version, 426, &[("sec-websocket-version", "13")]),
            (Refused::ConnectRequired, 405, &[("allow", "CONNECT"), ("sec-websocket-version", "13")]),
            (Refused::OtherVersion, 400, &[("sec-websocket-version", "13")]),
            (Refused::UnknownProtocol, 501, &[]),
            (Refused::Malformed("why"), 400, &[("connection", "close")]),
            (Refused::NotImplemented("why"), 501, &[("connection", "close")]),
            (Refused::Expectation, 417, &[]),
            (Refused::Path(InvalidPath::AboveRoot), 400, &[]),
            (Refused::TargetTooLong, 414, &[]),
            (Refused::Network, 403, &[]),
            (Refused::Origin, 403, &[]),
        ] {
            let response = refused.response();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers().len(), fields.len() + 1, "{refused:?}");
            assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
            for (name, value) in fields {
                assert_eq!(response.headers()[*name], *value);
            }
        }
    }

    #[test]
    fn a_filter_cannot_touch_the_connection_by_its_refusal() {
        let response = refusal(Refusal {
            status: 401,
            headers: vec![
                ("www-authenticate".to_owned(), b"Bearer".to_vec()),
                ("content-length".to_owned(), b"99".to_vec()),
                ("transfer-encoding".to_owned(), b"chunked".to_vec()),
                ("connection".to_owned(), b"x".to_vec()),
            ],
            body: b"no".to_vec(),
        });
        assert_eq!((response.status().as_u16(), response.headers().len()), (401, 1));
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
    }
}
