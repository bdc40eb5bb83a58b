//! The check of an upstream's 101 (RFC 6455 section 4.1, what a client does with the server's response).

use http::header::{self, HeaderMap, HeaderValue};
use http::{Version, response};
use thiserror::Error;

use crate::http::extensions::{self, InvalidExtensions};
use crate::http::{Accepted, fields};
use crate::ws::Extensions;

/// An answer that is not an upgrade although it says so, or no HTTP at all.
#[derive(Debug, Error)]
pub enum InvalidAnswer {
    /// No HTTP, or a head over 64 KiB.
    #[error("the upstream did not answer in HTTP/1.1: {0}")]
    Http(String),
    /// HTTP/1.0 has no 101.
    #[error("the upstream's 101 is not of HTTP/1.1")]
    Version,
    /// It does not say what it switched to.
    #[error("the upstream's 101 lacks `upgrade: websocket`")]
    Upgrade,
    /// It does not say that it switched.
    #[error("the upstream's 101 lacks `connection: upgrade`")]
    Connection,
    /// Nobody has asked for an upgrade.
    #[error("the upstream switched to another protocol, for which it was not asked")]
    Unasked,
    /// It may be a cached answer, or one of a server that does not speak WebSocket.
    #[error("the upstream's sec-websocket-accept is not the answer to our key")]
    Accept,
    /// It is one to a plain request, and says nothing that could be understood.
    #[error("{0}")]
    Unintelligible(String),
    /// The client would have to fail the connection.
    #[error("the upstream chose a subprotocol that was not offered")]
    Protocol,
    /// The same, for an extension or its parameters.
    #[error(transparent)]
    Extensions(#[from] InvalidExtensions),
}

/// What was sent, for the answer to be compared with.
pub(super) struct Sent<'a> {
    /// The value of `Sec-WebSocket-Accept` that our key demands.
    pub accept: &'a str,
    pub protocols: Option<&'a HeaderValue>,
    pub extensions: Option<&'a HeaderValue>,
}

/// Checks a 101.
pub(super) fn check(answer: response::Parts, sent: &Sent<'_>) -> Result<Accepted, InvalidAnswer> {
    let headers = answer.headers;
    if answer.version != Version::HTTP_11 {
        return Err(InvalidAnswer::Version);
    }
    if !fields::has_token(&headers, &header::UPGRADE, "websocket") {
        return Err(InvalidAnswer::Upgrade);
    }
    if !fields::has_token(&headers, &header::CONNECTION, "upgrade") {
        return Err(InvalidAnswer::Connection);
    }
    let mut accepts = headers.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
    if accepts.next().is_none_or(|accept| accept != sent.accept) || accepts.next().is_some() {
        return Err(InvalidAnswer::Accept);
    }
    agree(headers, sent)
}

/// What the two have agreed on.
pub(super) fn agree(mut headers: HeaderMap, sent: &Sent<'_>) -> Result<Accepted, InvalidAnswer> {
    let protocol = protocol(&headers, sent)?;
    let (extensions, agreed) = extensions(&headers, sent)?;
    fields::remove_for_hop(&mut headers);
    headers.remove(header::CONTENT_LENGTH);
    Ok(Accepted { headers, protocol, extensions, agreed })
}

fn protocol(headers: &HeaderMap, sent: &Sent<'_>) -> Result<Option<HeaderValue>, InvalidAnswer> {
    let mut chosen = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let Some(protocol) = chosen.next() else {
        return Ok(None);
    };
    let name = protocol.to_str().map_err(|_| InvalidAnswer::Protocol)?;
    let offered = sent.protocols.and_then(|protocols| protocols.to_str().ok()).unwrap_or_default();
    if chosen.next().is_some() || !fields::elements(offered).any(|offer| offer == name) {
        return Err(InvalidAnswer::Protocol);
    }
    Ok(Some(protocol.clone()))
}

fn extensions(headers: &HeaderMap, sent: &Sent<'_>) -> Result<(Option<HeaderValue>, Extensions), InvalidAnswer> {
    let Some(chosen) = fields::combined(headers, &header::SEC_WEBSOCKET_EXTENSIONS) else {
        return Ok((None, Extensions::default()));
    };
    let answer = chosen.to_str().map_err(|_| InvalidExtensions::Malformed)?;
    let offer = sent.extensions.and_then(|extensions| extensions.to_str().ok()).unwrap_or_default();
    let agreed = extensions::check(offer, answer)?;
    // An empty list negotiates nothing, and the grammar does not let it be sent.
    Ok((agreed.agreed.then_some(chosen), agreed))
}

#[cfg(test)]
mod tests {
    use http::{Response, StatusCode};

    use super::*;

    fn answer(fields: &[(&str, &str)]) -> Result<Accepted, InvalidAnswer> {
        let mut answer = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
        for (name, value) in fields {
            answer = answer.header(*name, *value);
        }
        let protocols = HeaderValue::from_static("chat, superchat");
        let extensions = HeaderValue::from_static("permessage-deflate; client_max_window_bits");
        let sent =
            Sent { accept: "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", protocols: Some(&protocols), extensions: Some(&extensions) };
        check(answer.body(()).unwrap().into_parts().0, &sent)
    }

    const UPGRADE: (&str, &str) = ("upgrade", "WebSocket");
    const CONNECTION: (&str, &str) = ("connection", "keep-alive, Upgrade");
    const ACCEPT: (&str, &str) = ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");

    #[test]
    fn a_complete_answer_is_accepted_and_keeps_its_end_to_end_fields() {
        let accepted = answer(&[
            UPGRADE,
            CONNECTION,
            ACCEPT,
            ("sec-websocket-protocol", "superchat"),
            ("sec-websocket-extensions", "permessage-deflate"),
            ("set-cookie", "a=b"),
            ("set-cookie", "c=d"),
            ("server", "echo"),
        ])
        .unwrap();
        assert_eq!(accepted.protocol.unwrap(), "superchat");
        assert_eq!(accepted.extensions.unwrap(), "permessage-deflate");
        assert_eq!(accepted.headers.len(), 3);
        assert_eq!(accepted.headers.get_all("set-cookie").iter().count(), 2);
    }

    #[test]
    fn each_missing_or_wrong_part_of_the_answer_is_told() {
        let told = |fields: &[(&str, &str)]| answer(fields).unwrap_err().to_string();
        assert!(told(&[CONNECTION, ACCEPT]).contains("upgrade: websocket"));
        assert!(told(&[("upgrade", "h2c"), CONNECTION, ACCEPT]).contains("upgrade: websocket"));
        assert!(told(&[UPGRADE, ACCEPT]).contains("connection: upgrade"));
        assert!(told(&[UPGRADE, CONNECTION]).contains("sec-websocket-accept"));
        assert!(told(&[UPGRADE, CONNECTION, ("sec-websocket-accept", "x")]).contains("sec-websocket-accept"));
        assert!(told(&[UPGRADE, CONNECTION, ACCEPT, ACCEPT]).contains("sec-websocket-accept"));
        let protocol = |value| told(&[UPGRADE, CONNECTION, ACCEPT, ("sec-websocket-protocol", value)]);
        for value in ["other", "Chat", "chat, superchat", ""] {
            assert!(protocol(value).contains("subprotocol"), "{value}");
        }
        let extension = |value| told(&[UPGRADE, CONNECTION, ACCEPT, ("sec-websocket-extensions", value)]);
        assert!(extension("x-other").contains("not offered"));
        assert!(extension("permessage-deflate; server_max_window_bits=99").contains("fit no offer"));
    }
}
