//! What an application pushes to one of its connections: the body of the request is the message.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::timeout;

use crate::bridge::{NotText, Outgoing, Unintelligible, asked_to_close, message};
use crate::session::{Pushed, Scope};

/// Something for the client of a connection.
#[derive(Debug)]
pub struct Push {
    /// The connection's id.
    pub connection: String,
    /// The routes that who asks has to do with.
    pub scope: Scope,
    /// What it is.
    pub outgoing: Outgoing,
}

/// Why a request is nothing that could be pushed.
#[derive(Debug, Error)]
pub(super) enum Unpushable {
    #[error("no route takes messages of more than {0} bytes from an application (max_message_size)")]
    TooLarge(usize),
    #[error("the body has not come within {0:?}")]
    Late(Duration),
    #[error("the body broke off")]
    BrokenOff,
    #[error(transparent)]
    NotText(#[from] NotText),
    #[error("X-Tidegate-Close says a code that may be sent and a reason, such as `4001 bye`")]
    Close(#[source] Unintelligible),
}

impl Unpushable {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Late(_) => StatusCode::REQUEST_TIMEOUT,
            Self::BrokenOff | Self::NotText(_) | Self::Close(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads it. Without a body, and with the wish to close, there is no message.
pub(super) async fn read(headers: &HeaderMap, body: Incoming, most: usize) -> Result<Outgoing, Unpushable> {
    let close = asked_to_close(headers).map_err(Unpushable::Close)?;
    let body = match timeout(BODY_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(Unpushable::TooLarge(most)),
        Ok(Err(_)) => return Err(Unpushable::BrokenOff),
        Err(_) => return Err(Unpushable::Late(BODY_TIMEOUT)),
    };
    outgoing(headers, body, close)
}

fn outgoing(headers: &HeaderMap, body: Bytes, close: Option<crate::ws::CloseFrame>) -> Result<Outgoing, Unpushable> {
    let message = match body.is_empty() && close.is_some() {
        true => None,
        false => Some(message(headers, body)?),
    };
    Ok(Outgoing { message, close })
}

/// What has become of it: the status, and what was wrong with it.
pub(super) fn told(pushed: Option<Pushed>) -> (StatusCode, String) {
    match pushed {
        Some(Pushed::Taken) => (StatusCode::ACCEPTED, String::new()),
        Some(Pushed::Unknown) => {
            (StatusCode::NOT_FOUND, "no open connection that an application is told of has this id".to_owned())
        }
        Some(Pushed::Ended) => (StatusCode::NOT_FOUND, "the connection ends already".to_owned()),
        Some(Pushed::Forbidden) => {
            (StatusCode::FORBIDDEN, "this token is not for the route of the connection".to_owned())
        }
        Some(Pushed::TooLarge(most)) => {
            let told = format!("the route takes no messages of more than {most} bytes (max_message_size)");
            (StatusCode::PAYLOAD_TOO_LARGE, told)
        }
        Some(Pushed::Full) => {
            let told = "as much waits for the client as may (queue of the bridge); nothing was sent, try again";
            (StatusCode::SERVICE_UNAVAILABLE, told.to_owned())
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the worker is busy; it may be sent all the same".to_owned()),
    }
}

/// As for the head of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::ws::CloseFrame;

    #[test]
    fn a_body_is_the_message_and_without_one_a_connection_may_just_be_closed() {
        let kind = |kind| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let read = |headers: HeaderMap, body: &'static str| {
            let close = asked_to_close(&headers).map_err(Unpushable::Close)?;
            outgoing(&headers, Bytes::from_static(body.as_bytes()), close)
        };
        let closes = |text| {
            HeaderMap::from_iter([(HeaderName::from_static("x-tidegate-close"), HeaderValue::from_static(text))])
        };
        let bye = CloseFrame::new(4001, "bye");
        for (headers, body, message, close) in [
            (HeaderMap::new(), "a", Some(Message::text("a")), None),
            (kind("application/octet-stream"), "a", Some(Message::binary("a")), None),
            (HeaderMap::new(), "", Some(Message::text("")), None),
            (closes("4001 bye"), "a", Some(Message::text("a")), Some(bye.clone())),
            (closes("4001 bye"), "", None, Some(bye)),
        ] {
            assert_eq!(read(headers, body).unwrap(), Outgoing { message, close });
        }
        assert_eq!(read(closes("5000"), "").unwrap_err().status(), 400);
    }
}
