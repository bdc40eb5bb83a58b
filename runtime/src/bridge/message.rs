//! The body of a request as a message, and a message as the body of an answer.

use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderValue};
use thiserror::Error;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

/// A body that is said to be text, or nothing at all, and is not in UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the body is not text in UTF-8: send bytes as application/octet-stream")]
pub struct NotText;

/// The message that a body is: binary where its type is `application/octet-stream`, and text where it is anything else.
///
/// # Errors
/// When it is not in UTF-8 and has to be.
pub fn message(headers: &HeaderMap, body: Bytes) -> Result<Message, NotText> {
    let essence = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()?.split(';').next());
    match essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(OCTETS)) {
        true => Ok(Message::Binary(body)),
        false => Utf8Bytes::try_from(body).map(Message::Text).map_err(|_| NotText),
    }
}

/// The body that a message is, and its type.
pub fn body(message: Message) -> (HeaderValue, Bytes) {
    match message {
        Message::Text(text) => (HeaderValue::from_static("text/plain; charset=utf-8"), text.into()),
        message => (HeaderValue::from_static(OCTETS), message.into_data()),
    }
}

const OCTETS: &str = "application/octet-stream";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_text_unless_it_is_said_to_be_bytes() {
        let typed = |kind: &'static str| HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(kind))]);
        let body = Bytes::from_static(b"{}");
        for kind in ["text/plain", "application/json; charset=utf-8", "application/octet", ""] {
            assert_eq!(message(&typed(kind), body.clone()), Ok(Message::text("{}")), "{kind}");
        }
        assert_eq!(message(&HeaderMap::new(), body.clone()), Ok(Message::text("{}")));
        for kind in ["application/octet-stream", "Application/Octet-Stream ; x=y"] {
            assert_eq!(message(&typed(kind), body.clone()), Ok(Message::Binary(body.clone())), "{kind}");
        }
        assert_eq!(message(&HeaderMap::new(), Bytes::from_static(&[0xff])), Err(NotText));
    }
}
