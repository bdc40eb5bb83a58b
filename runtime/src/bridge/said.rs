//! What an application says with its answer to an event: messages for the client, and that the connection is to end.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, SEC_WEBSOCKET_PROTOCOL};
use serde::Deserialize;
use thiserror::Error;
use tokio_tungstenite::tungstenite::Message;

use super::application::Form;
use super::message::{NotText, message};
use crate::ws::CloseFrame;

/// What an answer says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// For the client, in this order.
    pub messages: Vec<Message>,
    /// Behind them.
    pub close: Option<CloseFrame>,
    /// The subprotocol, of those that a handshake has offered.
    pub protocol: Option<String>,
}

/// An answer that says nothing that could be understood.
#[derive(Debug, Error)]
pub enum Unintelligible {
    /// It is compressed, which nobody has asked for.
    #[error("the answer has a coding, and none was asked for")]
    Coded,
    /// It is text and not in UTF-8.
    #[error(transparent)]
    NotText(#[from] NotText),
    /// It says that it is JSON, and is no such object as is taken.
    #[error("the answer is not what is taken in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// A message is in no base64.
    #[error("the answer has a message that is not in base64")]
    Base64,
    /// A message is two, or none.
    #[error("the answer has a message that is not either `text` or `base64`")]
    Message,
    /// It asks for an end that no peer may be told.
    #[error("the answer asks for a close with a code that may not be sent, or without one")]
    Close,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    #[serde(default)]
    messages: Vec<Part>,
    close: Option<Ending>,
    protocol: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    text: Option<String>,
    base64: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ending {
    code: u16,
    #[serde(default)]
    reason: String,
}

impl Said {
    /// What an answer of 2xx says. Without a body it has no message. Where events are JSON, `application/json` is an object
    /// with `messages`, `close` and `protocol`; any other body is one message.
    ///
    /// # Errors
    /// When it is not to be understood.
    pub fn read(form: Form, headers: &HeaderMap, body: Bytes) -> Result<Self, Unintelligible> {
        let identity = |value: &http::HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"identity");
        if headers.get_all(CONTENT_ENCODING).iter().any(|value| !identity(value)) {
            return Err(Unintelligible::Coded);
        }
        let protocol =
            headers.get(SEC_WEBSOCKET_PROTOCOL).map(|it| String::from_utf8_lossy(it.as_bytes()).into_owned());
        let mut said = Self { protocol, close: asked_to_close(headers)?, messages: Vec::new() };
        if body.is_empty() {
            return Ok(said);
        }
        if form == Form::Raw || !is_json(headers) {
            said.messages.push(message(headers, body)?);
            return Ok(said);
        }
        let Envelope { messages, close, protocol } = serde_json::from_slice(&body)?;
        said.messages = messages.into_iter().map(Part::message).collect::<Result<_, _>>()?;
        if let Some(Ending { code, reason }) = close {
            said.close = Some(closing(code, reason)?);
        }
        said.protocol = protocol.or(said.protocol);
        Ok(said)
    }
}

impl Part {
    fn message(self) -> Result<Message, Unintelligible> {
        match self {
            Self { text: Some(text), base64: None } => Ok(Message::text(text)),
            Self { text: None, base64: Some(base64) } => {
                BASE64.decode(base64).map(Message::binary).map_err(|_| Unintelligible::Base64)
            }
            _ => Err(Unintelligible::Message),
        }
    }
}

/// That a connection is to end, as `X-Tidegate-Close: CODE REASON` says it.
///
/// # Errors
/// When it may not end like that.
pub fn asked_to_close(headers: &HeaderMap) -> Result<Option<CloseFrame>, Unintelligible> {
    let Some(value) = headers.get(CLOSE) else { return Ok(None) };
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Unintelligible::Close)?.trim();
    let (code, reason) = text.split_once(' ').unwrap_or((text, ""));
    let code = code.parse().map_err(|_| Unintelligible::Close)?;
    closing(code, reason.trim().to_owned()).map(Some)
}

fn closing(code: u16, reason: String) -> Result<CloseFrame, Unintelligible> {
    match CloseFrame::is_sendable(code) {
        true => Ok(CloseFrame::new(code, reason)),
        false => Err(Unintelligible::Close),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
}

const CLOSE: HeaderName = HeaderName::from_static("x-tidegate-close");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(form: Form, fields: &[(&'static str, &'static str)], body: &'static str) -> Result<Said, String> {
        let fields =
            fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        Said::read(form, &fields.collect(), Bytes::from_static(body.as_bytes())).map_err(|error| error.to_string())
    }

    fn said(messages: &[Message], close: Option<(u16, &str)>, protocol: Option<&str>) -> Said {
        let close = close.map(|(code, reason)| CloseFrame::new(code, reason));
        Said { messages: messages.to_vec(), close, protocol: protocol.map(str::to_owned) }
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");

    #[test]
    fn an_answer_without_a_body_says_nothing_and_any_other_is_one_message() {
        for form in [Form::Json, Form::Raw] {
            assert_eq!(read(form, &[], ""), Ok(Said::default()));
            assert_eq!(read(form, &[JSON], ""), Ok(Said::default()));
            let html = ("content-type", "text/html");
            assert_eq!(read(form, &[html], "<p>"), Ok(said(&[Message::text("<p>")], None, None)));
            let bytes = ("content-type", "application/octet-stream");
            assert_eq!(read(form, &[bytes], "x"), Ok(said(&[Message::binary("x")], None, None)));
            let ends = ("x-tidegate-close", "4001  no more of it ");
            assert_eq!(read(form, &[ends], ""), Ok(said(&[], Some((4001, "no more of it")), None)));
            let chosen = ("sec-websocket-protocol", "chat");
            assert_eq!(read(form, &[chosen], ""), Ok(said(&[], None, Some("chat"))));
        }
        assert_eq!(read(Form::Raw, &[JSON], "{}"), Ok(said(&[Message::text("{}")], None, None)));
    }

    #[test]
    fn an_object_says_many_messages_and_an_end() {
        assert_eq!(read(Form::Json, &[JSON], "{}"), Ok(Said::default()));
        let text = r#"{"messages":[{"text":"a"},{"base64":"AP8="}],"close":{"code":1000},"protocol":"p"}"#;
        let expected = said(&[Message::text("a"), Message::binary(vec![0, 255])], Some((1000, "")), Some("p"));
        assert_eq!(read(Form::Json, &[JSON], text), Ok(expected));
    }

    #[test]
    fn what_is_not_understood_is_told() {
        for (fields, body, told) in [
            (vec![JSON], "[]", "not what is taken"),
            (vec![JSON], "{\"message\":[]}", "unknown field `message`"),
            (vec![JSON], "{\"messages\":[{}]}", "either `text` or `base64`"),
            (vec![JSON], "{\"messages\":[{\"text\":\"\",\"base64\":\"\"}]}", "either `text` or `base64`"),
            (vec![JSON], "{\"messages\":[{\"base64\":\"?\"}]}", "not in base64"),
            (vec![JSON], "{\"close\":{\"code\":1005}}", "may not be sent"),
            (vec![("x-tidegate-close", "999")], "", "may not be sent"),
            (vec![("x-tidegate-close", "now")], "", "may not be sent"),
            (vec![("content-encoding", "gzip")], "x", "coding"),
        ] {
            let error = read(Form::Json, &fields, body).unwrap_err();
            assert!(error.contains(told), "{body}: {error}");
        }
    }
}
