//! What RFC 6455 section 4.2.1 demands of a client's opening handshake.

use std::collections::HashSet;

use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::forwarding::{Client, apply};
use super::http2::Extended;
use super::refused::Refused;
use super::target::Target;
use crate::component::{Handshake, HeaderEdit};
use crate::http::{Accepted, extensions, fields};
use crate::peer::Shown;

/// A valid opening handshake: the parts of it that the proxy itself needs. Only [`validate`] makes one.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What the client wants an answer to; none over HTTP/2, where nothing could be mistaken for an answer.
    key: Option<HeaderValue>,
    /// The subprotocols offered, in one list.
    pub protocols: Option<HeaderValue>,
    /// What the answer names where the upstream chooses none: what a token was offered as, and nothing else was.
    pub only_protocol: Option<HeaderValue>,
    /// The extensions offered, in one list.
    pub extensions: Option<HeaderValue>,
}

/// Whether a request wants to open a WebSocket, be it with a mistake. Over HTTP/2 it does so by an extended `CONNECT`, and by
/// nothing else.
pub fn is_opening(parts: &Parts) -> bool {
    let headers = &parts.headers;
    if parts.version == Version::HTTP_2 {
        return Extended::of(parts).is_some();
    }
    fields::has_token(headers, &header::UPGRADE, "websocket") || headers.contains_key(header::SEC_WEBSOCKET_KEY)
}

/// Checks that a request is an opening handshake. What a path or host means is not looked at.
pub fn validate(parts: &Parts) -> Result<Opening, Refused> {
    let headers = &parts.headers;
    if parts.version == Version::HTTP_2 {
        return validate_extended(parts);
    }
    if parts.method != Method::GET {
        return Err(Refused::Method);
    }
    if !fields::has_token(headers, &header::UPGRADE, "websocket") {
        return Err(if headers.contains_key(header::SEC_WEBSOCKET_KEY) {
            Refused::Malformed("the Upgrade field lacks `websocket`; a proxy on the way may have removed it")
        } else {
            Refused::UpgradeRequired
        });
    }
    if !fields::has_token(headers, &header::CONNECTION, "upgrade") {
        return Err(Refused::Malformed("the Connection field lacks `upgrade`; a proxy on the way may have removed it"));
    }
    if parts.version < Version::HTTP_11 {
        return Err(Refused::Malformed("a WebSocket handshake needs HTTP/1.1"));
    }
    if has_body(headers) {
        return Err(Refused::Malformed("a WebSocket handshake has no body"));
    }
    let version = only(headers, &header::SEC_WEBSOCKET_VERSION)
        .ok_or(Refused::Malformed("a WebSocket handshake has exactly one Sec-WebSocket-Version field"))?;
    if version.as_bytes() != b"13" {
        return Err(Refused::Version);
    }
    if !headers.contains_key(header::SEC_WEBSOCKET_KEY) {
        return Err(Refused::Malformed(
            "no Sec-WebSocket-Key: a WebSocket handshake has exactly one, 16 bytes in base64",
        ));
    }
    let key = only(headers, &header::SEC_WEBSOCKET_KEY).filter(|key| is_key(key.as_bytes())).ok_or(
        Refused::Malformed("a WebSocket handshake has exactly one Sec-WebSocket-Key field: 16 bytes in base64"),
    )?;
    Opening::of(Some(key.clone()), headers)
}

/// The same for an extended `CONNECT` (RFC 8441 section 5).
fn validate_extended(parts: &Parts) -> Result<Opening, Refused> {
    let headers = &parts.headers;
    match Extended::of(parts) {
        None => return Err(Refused::ConnectRequired),
        Some(Extended { is_websocket: false }) => return Err(Refused::UnknownProtocol),
        Some(Extended { is_websocket: true }) => {}
    }
    if has_body(headers) {
        return Err(Refused::Malformed("a WebSocket handshake has no body"));
    }
    match only(headers, &header::SEC_WEBSOCKET_VERSION) {
        None => Err(Refused::Malformed("a WebSocket handshake has exactly one Sec-WebSocket-Version field")),
        Some(version) if version.as_bytes() != b"13" => Err(Refused::OtherVersion),
        Some(_) => Opening::of(None, headers),
    }
}

impl Opening {
    fn of(key: Option<HeaderValue>, headers: &HeaderMap) -> Result<Self, Refused> {
        Ok(Self { key, protocols: protocols(headers)?, only_protocol: None, extensions: offered_extensions(headers)? })
    }

    /// One of our own, which offers nothing, and whose answer nobody reads.
    pub fn own() -> Self {
        Self { key: None, protocols: None, only_protocol: None, extensions: None }
    }

    /// The fields of the answer to this handshake, over whatever it came: the upstream's, edited, and what was agreed on.
    pub fn answer<'a>(&self, accepted: Accepted, edits: impl IntoIterator<Item = &'a HeaderEdit>) -> HeaderMap {
        let Accepted { mut headers, protocol, extensions, .. } = accepted;
        apply(&mut headers, edits);
        if let Some(protocol) = protocol.or_else(|| self.only_protocol.clone()) {
            headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
        }
        if let Some(extensions) = extensions {
            headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, extensions);
        }
        headers
    }

    /// These fields, with those that a 101 has beside them (RFC 6455 section 4.2.2).
    pub fn switching(&self, mut headers: HeaderMap) -> HeaderMap {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        if let Some(key) = &self.key
            && let Ok(accept) = HeaderValue::from_maybe_shared(derive_accept_key(key.as_bytes()).into_bytes())
        {
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        }
        headers
    }
}

/// The handshake as components see it: all of what the client sent, valid or not, but for the path, which is the one
/// that is shown. The route is still to be filled in.
pub fn describe(parts: &Parts, target: &Target<'_>, client: &Client) -> Handshake {
    let protocols =
        parts.headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    Handshake {
        method: parts.method.as_str().to_owned(),
        scheme: client.scheme.name(),
        authority: target.authority.to_owned(),
        path: target.path.shown().to_owned(),
        query: target.query.map(str::to_owned),
        http_version: match parts.version {
            Version::HTTP_10 => "1.0",
            Version::HTTP_2 => "2",
            _ => "1.1",
        },
        headers: parts.headers.iter().map(|(name, value)| (name.as_str(), value)).collect(),
        protocols: protocols.flat_map(fields::elements).map(str::to_owned).collect(),
        client_address: Shown(client.address).to_string(),
        client_port: client.peer.map_or(0, |peer| peer.port()),
        connection_id: client.connection_id.clone(),
        route: String::new(),
        attributes: Vec::new(),
        bearer: None,
    }
}

/// The value of a field that may stand only once.
fn only<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Whether a body is announced.
fn has_body(headers: &HeaderMap) -> bool {
    let announced = |value: &HeaderValue| value.as_bytes().iter().any(|byte| *byte != b'0');
    headers.contains_key(header::TRANSFER_ENCODING) || headers.get_all(header::CONTENT_LENGTH).iter().any(announced)
}

/// 16 bytes in base64: 22 characters and the padding.
fn is_key(value: &[u8]) -> bool {
    match value.strip_suffix(b"==") {
        Some(digits) => {
            digits.len() == 22 && digits.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte))
        }
        None => false,
    }
}

/// The offer of subprotocols: distinct tokens (RFC 6455 section 4.1, item 10).
fn protocols(headers: &HeaderMap) -> Result<Option<HeaderValue>, Refused> {
    let malformed = Refused::Malformed("the Sec-WebSocket-Protocol field is not a list of distinct tokens");
    let Some(list) = fields::combined(headers, &header::SEC_WEBSOCKET_PROTOCOL) else {
        return Ok(None);
    };
    let text = list.to_str().map_err(|_| malformed)?;
    let mut seen = HashSet::new();
    if !fields::elements(text).all(|protocol| fields::is_token(protocol) && seen.insert(protocol)) {
        return Err(malformed);
    }
    Ok(cleaned(list))
}

/// A list without empty elements, which a sender may not write (RFC 9110 section 5.6.1.1); `None` when it has no others.
fn cleaned(list: HeaderValue) -> Option<HeaderValue> {
    let text = list.to_str().ok()?;
    let elements: Vec<&str> = fields::elements(text).collect();
    match elements.len() {
        0 => None,
        count if count == text.split(',').count() => Some(list),
        _ => HeaderValue::from_str(&elements.join(", ")).ok(),
    }
}

fn offered_extensions(headers: &HeaderMap) -> Result<Option<HeaderValue>, Refused> {
    let malformed = Refused::Malformed("the Sec-WebSocket-Extensions field is malformed");
    let Some(list) = fields::combined(headers, &header::SEC_WEBSOCKET_EXTENSIONS) else {
        return Ok(None);
    };
    extensions::parse(list.to_str().map_err(|_| malformed)?).map_err(|_| malformed)?;
    Ok(cleaned(list))
}

#[cfg(test)]
mod tests;
