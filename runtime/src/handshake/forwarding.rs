//! The request that goes to the upstream, made of the client's.
//!
//! Every end-to-end field passes. What ends at this hop is removed, who the client was is added, the route's filters
//! have their say, and every connection gets a group id.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use uuid::Builder;

use super::claims::{is_claim, is_disguised};
use super::correlation::is_disguised_id;
use super::networks::Networks;
use super::opening::Opening;
use crate::component::HeaderEdit;
use crate::http::{Host, UpstreamRequest, UpstreamTarget, field_names, fields};

/// How the client spoke to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP.
    Ws,
    /// TLS.
    Wss,
}

impl Scheme {
    /// `ws` or `wss`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    /// The scheme of the HTTP request that opens the connection, as `X-Forwarded-Proto` and `Forwarded` name it.
    pub fn http(self) -> &'static str {
        match self {
            Self::Ws => "http",
            Self::Wss => "https",
        }
    }
}

/// Who sent a request.
#[derive(Clone, Debug)]
pub struct Client {
    /// The other end of the socket; `None`: it has no address, being a unix one.
    pub peer: Option<SocketAddr>,
    /// The client's own address: the peer's, or what trusted proxies say; see [`Networks::client`].
    pub address: Option<IpAddr>,
    /// How it spoke to the listener.
    pub scheme: Scheme,
    /// Names the connection, see the WIT.
    pub connection_id: String,
}

impl Client {
    /// The address of the other end, without its port.
    pub fn peer_address(&self) -> Option<IpAddr> {
        self.peer.map(|peer| peer.ip())
    }
}

/// What upstreams are told about clients.
#[derive(Clone, Debug)]
pub struct Forwarding {
    /// Whether `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` are appended; on by default.
    pub append: bool,
    /// Peers that are believed what they say about clients, in `X-Forwarded-*`, `Forwarded` and others; what others say is
    /// removed. None by default.
    pub trusted: Networks,
    /// The field that carries the id of a connection's group; `x-group-id` by default, `None` for none.
    pub group_id: Option<HeaderName>,
}

impl Default for Forwarding {
    fn default() -> Self {
        Self { append: true, trusted: Networks::default(), group_id: Some(HeaderName::from_static("x-group-id")) }
    }
}

impl Forwarding {
    /// Makes the upstream's request, of an opening handshake or a plain one. Also returns the group id of the former, which
    /// is the connection's channel id in the access log.
    /// [`Target::of`](super::Target::of) has accepted the request, so its host can be quoted; the caller sets
    /// [`UpstreamRequest::host`].
    pub fn request<'a>(
        &self,
        parts: Parts,
        target: UpstreamTarget,
        opening: Option<&Opening>,
        client: &Client,
        edits: impl IntoIterator<Item = &'a HeaderEdit>,
    ) -> (UpstreamRequest, Option<HeaderValue>) {
        let Parts { uri, mut headers, .. } = parts;
        let host = match uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => headers.get(header::HOST).cloned(),
        };
        let host = host.filter(|host| !host.is_empty());
        let is_believed = self.trusted.contains(client.peer_address());
        let is_said = if is_believed { is_disguised } else { is_claim };
        let is_said = |name: &str| is_said(name) || is_disguised_id(name);
        fields::remove_for_hop_and(&mut headers, |name| is_said(name) || name != "host" && field_names::is_owned(name));
        if self.append {
            self.tell(&mut headers, host.clone(), client);
        }
        apply(&mut headers, edits);
        let group_id = opening.and_then(|_| self.group(&mut headers));
        let (protocols, extensions) =
            opening.map(|opening| (opening.protocols.clone(), opening.extensions.clone())).unwrap_or_default();
        let client_host = host;
        let (introduction, host) = (None, Host::default());
        (UpstreamRequest { introduction, target, headers, client_host, host, protocols, extensions }, group_id)
    }

    /// Appends what this hop knows.
    fn tell(&self, headers: &mut HeaderMap, host: Option<HeaderValue>, client: &Client) {
        let peer = client.peer_address().map(|peer| peer.to_canonical());
        let proto = client.scheme.http();
        // A hop without an address has none to add.
        if let Some(peer) = peer {
            append_to_list(headers, X_FORWARDED_FOR, &peer.to_string());
        }
        if !headers.contains_key(X_FORWARDED_PROTO) {
            headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
        }
        let node = match peer {
            Some(IpAddr::V4(address)) => address.to_string(),
            Some(IpAddr::V6(address)) => format!("\"[{address}]\""),
            // RFC 7239 section 6.2.
            None => "unknown".to_owned(),
        };
        let element = match host.as_ref().and_then(|host| host.to_str().ok()) {
            None => format!("for={node};proto={proto}"),
            Some(host) if fields::is_token(host) => format!("for={node};host={host};proto={proto}"),
            Some(host) => format!("for={node};host=\"{host}\";proto={proto}"),
        };
        append_to_list(headers, header::FORWARDED, &element);
        if let Some(host) = host
            && !headers.contains_key(X_FORWARDED_HOST)
        {
            headers.insert(X_FORWARDED_HOST, host);
        }
    }

    /// The group id as it came, or a new one.
    fn group(&self, headers: &mut HeaderMap) -> Option<HeaderValue> {
        let name = self.group_id.as_ref()?;
        Some(match headers.get(name) {
            Some(id) if !id.is_empty() => id.clone(),
            _ => {
                let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
                // From the thread's generator: the system's costs a call for each connection.
                let uuid = Builder::from_random_bytes(rand::random()).into_uuid();
                let text = uuid.hyphenated().encode_lower(&mut text);
                let id = HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""));
                headers.insert(name.clone(), id.clone());
                id
            }
        })
    }
}

/// Applies a filter's edits in order. Beyond 16,384 names no further field is added: what a head and each filter may have
/// is far below, and a field that is to be replaced goes in any case.
pub fn apply<'a>(headers: &mut HeaderMap, edits: impl IntoIterator<Item = &'a HeaderEdit>) {
    let mut edits = edits.into_iter().peekable();
    if edits.peek().is_none() {
        return;
    }
    let aliases = fields::with_underscores(headers);
    for edit in edits {
        let (name, value) = match edit {
            HeaderEdit::Set(name, value) | HeaderEdit::Append(name, value) => (name, Some(value)),
            HeaderEdit::Remove(name) => (name, None),
        };
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else { continue };
        if field_names::is_owned(name.as_str()) {
            continue;
        }
        if !matches!(edit, HeaderEdit::Append(..)) {
            fields::remove_all(headers, &name, &aliases);
        }
        if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok())
            && headers.keys_len() < MOST_NAMES
        {
            headers.append(name, value);
        }
    }
}

fn append_to_list(headers: &mut HeaderMap, name: HeaderName, element: &str) {
    let value = match fields::combined(headers, &name) {
        Some(list) if !list.is_empty() => [list.as_bytes(), b", ", element.as_bytes()].concat(),
        _ => element.as_bytes().to_vec(),
    };
    if let Ok(value) = HeaderValue::from_maybe_shared(value) {
        headers.insert(name, value);
    }
}

/// A map of 24,576 names is full, and adding to it panics; the fields of the handshake are added to this one yet.
const MOST_NAMES: usize = 16_384;

pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(super) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(super) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

#[cfg(test)]
mod tests;
