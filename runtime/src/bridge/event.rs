//! What an application is told: that a connection opens, each of its messages, and that it has closed.
//!
//! In which form is the route's choice. As JSON an event is one object; raw, the body is the message and all else stands in
//! fields, so that whatever takes a request can take it.

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use serde_json::{Map, Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::application::Form;
use super::message::body;
use crate::metrics::Initiator;

/// A handshake.
#[derive(Clone, Debug)]
pub struct Opens {
    /// The route's name.
    pub route: String,
    /// The client's address, without a port; empty: it has none.
    pub client: String,
    /// `ws` or `wss`.
    pub scheme: &'static str,
    /// What it has asked for.
    pub host: String,
    /// The path as it came.
    pub path: String,
    /// The query without its `?`.
    pub query: Option<String>,
    /// The subprotocols on offer.
    pub protocols: Vec<String>,
    /// Its fields, as an upstream would get them.
    pub headers: HeaderMap,
    /// What filters and tokens say of it.
    pub attributes: Vec<(String, String)>,
}

/// The end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    /// 1005 without a code, 1006 without a close frame.
    pub code: u16,
    /// The reason of the close frame, or what happened.
    pub reason: String,
    /// Who ended it.
    pub by: Initiator,
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// Somebody would like to have a connection.
    Open(Box<Opens>),
    /// A message has come.
    Message(Message),
    /// The connection is no more.
    Close(Farewell),
}

impl Event {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Message(_) => "message",
            Self::Close(_) => "close",
        }
    }

    /// The fields and the body of the request that tells it, beside those that every event has. It is the so-manieth of its
    /// connection, counted from 0.
    pub fn request(self, form: Form, connection: &str, sequence: u64) -> (HeaderMap, Bytes) {
        let mut fields = HeaderMap::new();
        let mut insert = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                fields.insert(HeaderName::from_static(name), value);
            }
        };
        insert(CONNECTION, connection);
        insert(EVENT, self.name());
        insert(SEQUENCE, &sequence.to_string());
        let body = match form {
            Form::Json => {
                fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                self.object(connection, sequence).to_string().into()
            }
            Form::Raw => self.raw(&mut fields),
        };
        (fields, body)
    }

    fn raw(self, fields: &mut HeaderMap) -> Bytes {
        let mut insert = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
                fields.insert(name, value);
            }
        };
        match self {
            Self::Open(opens) => {
                let target = opens.query.as_ref().map(|query| [&opens.path, "?", query].concat());
                insert(HeaderName::from_static("x-forwarded-uri"), target.as_deref().unwrap_or(&opens.path));
                if !opens.protocols.is_empty() {
                    insert(SEC_WEBSOCKET_PROTOCOL, &opens.protocols.join(", "));
                }
                opens.headers.iter().for_each(|(name, value)| {
                    fields.append(name.clone(), value.clone());
                });
                Bytes::new()
            }
            Self::Message(message) => {
                let (kind, body) = body(message);
                fields.insert(CONTENT_TYPE, kind);
                body
            }
            Self::Close(Farewell { code, reason, by }) => {
                insert(HeaderName::from_static(CODE), &code.to_string());
                insert(HeaderName::from_static(REASON), &one_line(&reason));
                insert(HeaderName::from_static(INITIATOR), initiator(by));
                Bytes::new()
            }
        }
    }

    fn object(self, connection: &str, sequence: u64) -> Value {
        let mut object = json!({ "event": self.name(), "connection": connection, "sequence": sequence });
        let more = match self {
            Self::Open(opens) => {
                let Opens { route, client, scheme, host, path, query, protocols, headers, attributes } = *opens;
                let attributes: Map<String, Value> =
                    attributes.into_iter().map(|(name, value)| (name, value.into())).collect();
                json!({
                    "route": route, "client": client, "scheme": scheme, "host": host, "path": path, "query": query,
                    "protocols": protocols, "headers": listed(&headers), "attributes": attributes,
                })
            }
            Self::Message(Message::Text(text)) => json!({ "text": text.as_str() }),
            Self::Message(message) => json!({ "base64": BASE64.encode(message.into_data()) }),
            Self::Close(Farewell { code, reason, by }) => {
                json!({ "code": code, "reason": reason, "initiator": initiator(by) })
            }
        };
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        object
    }
}

/// All values of each field, in the order in which they came.
fn listed(headers: &HeaderMap) -> Value {
    let values = |name| headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into());
    headers
        .keys()
        .map(|name| (name.to_string(), values(name).collect::<Vec<Value>>().into()))
        .collect::<Map<_, _>>()
        .into()
}

/// What is the upstream elsewhere is the application here.
fn initiator(by: Initiator) -> &'static str {
    match by {
        Initiator::Client => "client",
        Initiator::Upstream => "application",
        Initiator::Proxy => "proxy",
    }
}

/// A reason may have whatever a peer likes in it, and no field may.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

/// Whether a client's field could be taken for one of ours.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || name.replace('_', "-").starts_with(PREFIX)
}

const PREFIX: &str = "x-tidegate-";
const CONNECTION: &str = "x-tidegate-connection";
const EVENT: &str = "x-tidegate-event";
const SEQUENCE: &str = "x-tidegate-sequence";
const CODE: &str = "x-tidegate-code";
const REASON: &str = "x-tidegate-reason";
const INITIATOR: &str = "x-tidegate-initiator";

#[cfg(test)]
mod tests {
    use super::*;

    fn told(event: Event, form: Form) -> (Vec<(String, String)>, String) {
        let (fields, body) = event.request(form, "c-1", 7);
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let mut fields: Vec<_> = fields.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        fields.sort();
        (fields, String::from_utf8(body.to_vec()).unwrap())
    }

    fn opens() -> Event {
        Event::Open(Box::new(Opens {
            route: "chat".to_owned(),
            client: "192.0.2.1".to_owned(),
            scheme: "wss",
            host: "chat.example".to_owned(),
            path: "/ws".to_owned(),
            query: Some("room=1".to_owned()),
            protocols: vec!["a".to_owned(), "b".to_owned()],
            headers: HeaderMap::from_iter([(HeaderName::from_static("cookie"), HeaderValue::from_static("s=1"))]),
            attributes: vec![("user".to_owned(), "ann".to_owned())],
        }))
    }

    fn closed() -> Event {
        Event::Close(Farewell { code: 1001, reason: "gone\r\naway".to_owned(), by: Initiator::Client })
    }

    fn fields(event: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let common = [(CONNECTION, "c-1"), (EVENT, event), (SEQUENCE, "7")];
        let all = common.iter().chain(more).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut all: Vec<_> = all.collect();
        all.sort();
        all
    }

    #[test]
    fn an_event_in_json_is_one_object_that_says_it_all() {
        let json = [("content-type", "application/json")];
        for (event, name, expected) in [
            (
                opens(),
                "open",
                json!({
                    "event": "open", "connection": "c-1", "sequence": 7, "route": "chat", "client": "192.0.2.1",
                    "scheme": "wss", "host": "chat.example", "path": "/ws", "query": "room=1", "protocols": ["a", "b"],
                    "headers": { "cookie": ["s=1"] }, "attributes": { "user": "ann" },
                }),
            ),
            (
                Event::Message(Message::text("h\u{e9}\n")),
                "message",
                json!({ "event": "message", "connection": "c-1", "sequence": 7, "text": "h\u{e9}\n" }),
            ),
            (
                Event::Message(Message::binary(vec![0, 255])),
                "message",
                json!({ "event": "message", "connection": "c-1", "sequence": 7, "base64": "AP8=" }),
            ),
            (
                closed(),
                "close",
                json!({
                    "event": "close", "connection": "c-1", "sequence": 7, "code": 1001, "reason": "gone\r\naway",
                    "initiator": "client",
                }),
            ),
        ] {
            let (sent, body) = told(event, Form::Json);
            assert_eq!(sent, fields(name, &json));
            assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
        }
    }

    #[test]
    fn a_raw_event_is_the_message_and_says_the_rest_in_fields() {
        let handshake = [("cookie", "s=1"), ("sec-websocket-protocol", "a, b"), ("x-forwarded-uri", "/ws?room=1")];
        let parting = [(CODE, "1001"), (REASON, "gone  away"), (INITIATOR, "client")];
        for (event, expected, body) in [
            (opens(), fields("open", &handshake), ""),
            (
                Event::Message(Message::text("hello")),
                fields("message", &[("content-type", "text/plain; charset=utf-8")]),
                "hello",
            ),
            (
                Event::Message(Message::binary("hello")),
                fields("message", &[("content-type", "application/octet-stream")]),
                "hello",
            ),
            (closed(), fields("close", &parting), ""),
        ] {
            assert_eq!(told(event, Form::Raw), (expected, body.to_owned()));
        }
    }

    #[test]
    fn no_client_writes_our_fields() {
        for (name, expected) in
            [("x-tidegate-event", true), ("x_tidegate_connection", true), ("x-tidegates", false), ("cookie", false)]
        {
            assert_eq!(is_ours(name), expected, "{name}");
        }
    }
}
