//! Where an endpoint is: its url, parsed once when the configuration is loaded.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::HeaderValue;
use http::uri::Uri;
use thiserror::Error;

/// An endpoint's url (behaviour: one without a scheme means `ws://`, and `http` is accepted as `ws`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: String,
    authority: HeaderValue,
    pub(super) place: Place,
    path: Option<String>,
}

/// What a socket connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A literal address, which needs no resolver.
    Socket(SocketAddr),
    /// A name and a port.
    Name(String, u16),
}

/// Why a url cannot be an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// It is no url.
    #[error("not a url: {0}")]
    Syntax(String),
    /// A scheme that is not WebSocket's.
    #[error("scheme `{0}` is not one of ws, http")]
    Scheme(String),
    /// TLS towards upstreams does not exist yet.
    #[error("`wss` and `https` endpoints are not supported yet; use ws://")]
    Tls,
    /// No host.
    #[error("the url has no host")]
    NoHost,
    /// Something that would silently have no effect.
    #[error("an endpoint url has no {0}")]
    Unexpected(&'static str),
}

impl Address {
    /// Reads an endpoint's url.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("ws", text));
        match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => {}
            "wss" | "https" => return Err(AddressError::Tls),
            _ => return Err(AddressError::Scheme(scheme.to_owned())),
        }
        let url = format!("ws://{rest}");
        if rest.contains('#') {
            return Err(AddressError::Unexpected("fragment"));
        }
        let uri = Uri::from_str(&url).map_err(|error| AddressError::Syntax(error.to_string()))?;
        let authority = uri.authority().ok_or(AddressError::NoHost)?;
        if authority.as_str().contains('@') {
            return Err(AddressError::Unexpected("user or password"));
        }
        if uri.query().is_some() {
            return Err(AddressError::Unexpected("query"));
        }
        let host = authority.host();
        if host.is_empty() {
            return Err(AddressError::NoHost);
        }
        let port = match authority.as_str().get(host.len()..).and_then(|rest| rest.strip_prefix(':')) {
            None => DEFAULT_PORT,
            Some(port) => match port.parse() {
                Ok(port) if port != 0 => port,
                _ => return Err(AddressError::Syntax(format!("`{port}` is no port"))),
            },
        };
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let place = match literal.parse::<IpAddr>() {
            Ok(address) => Place::Socket(SocketAddr::new(address, port)),
            Err(_) => Place::Name(host.to_owned(), port),
        };
        let authority =
            HeaderValue::from_str(authority.as_str()).map_err(|error| AddressError::Syntax(error.to_string()))?;
        let path = rest.contains('/').then(|| uri.path().to_owned());
        Ok(Self { url, authority, place, path })
    }

    /// The url with its scheme, as components and metrics know it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port as configured: the `Host` field of a request to it.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// The path of the url, which takes the place of the part of the client's path that the route matched; without one
    /// the client's target is kept.
    pub(super) fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

/// The port of `ws` (RFC 6455 section 3).
const DEFAULT_PORT: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> Place {
        Place::Socket(text.parse().unwrap())
    }

    #[test]
    fn a_url_without_a_scheme_means_ws_and_http_is_accepted() {
        for (text, url, place) in [
            ("ws://127.0.0.1:9001", "ws://127.0.0.1:9001", socket("127.0.0.1:9001")),
            ("127.0.0.1:9001", "ws://127.0.0.1:9001", socket("127.0.0.1:9001")),
            ("HTTP://[::1]:9001/x", "ws://[::1]:9001/x", socket("[::1]:9001")),
            ("chat.internal", "ws://chat.internal", Place::Name("chat.internal".to_owned(), 80)),
            ("localhost:8080/a/b", "ws://localhost:8080/a/b", Place::Name("localhost".to_owned(), 8080)),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.url(), &address.place), (url, &place), "{text}");
        }
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        for (text, error) in [
            ("wss://h", AddressError::Tls),
            ("https://h", AddressError::Tls),
            ("ftp://h", AddressError::Scheme("ftp".to_owned())),
            ("ws://user:pw@h", AddressError::Unexpected("user or password")),
            ("ws://h/p?q=1", AddressError::Unexpected("query")),
            ("ws://h/p#f", AddressError::Unexpected("fragment")),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
        for text in ["", "ws://", "ws:///path", "ws://h:0", "ws://h:99999", "ws://h:x", "ws://a b"] {
            assert!(Address::parse(text).is_err(), "{text}");
        }
    }
}
