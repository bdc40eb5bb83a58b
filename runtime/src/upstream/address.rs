//! Where an endpoint is: its url, parsed once, by whoever learns of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::header::HeaderValue;
use thiserror::Error;

use crate::http::{canonical_host, comparable_rule, split_port};

/// An endpoint's url, `ws://host:port/path` or `wss://…` for TLS, where the port and the path may be absent; one without a
/// scheme means `ws://`, and `http` and `https` are accepted as `ws` and `wss`. Or `unix:` and the path of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    url: String,
    authority: HeaderValue,
    is_secure: bool,
    place: Place,
    path: Option<String>,
}

/// What a socket connects to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A literal address, which needs no resolver.
    Socket(SocketAddr),
    /// A name in lower case, and a port.
    Name(String, u16),
    /// The absolute path of a unix socket.
    Unix(PathBuf),
}

/// Why a url cannot be an endpoint, as the end of a sentence that begins with it. Quotes nothing of it, but for
/// [`AddressError::Scheme`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AddressError {
    /// A scheme that is not WebSocket's.
    #[error("has the scheme {0:?}, and an endpoint `ws`, `wss` or `unix`")]
    Scheme(String),
    /// Nobody would be told them.
    #[error("holds a user or a password")]
    User,
    /// It begins with `unix:`, and nothing that a socket can have follows.
    #[error("names no socket: behind `unix:` stands an absolute path of at most {MOST_PATH} bytes")]
    Unix,
    /// Its port is none.
    #[error("has no valid port")]
    Port,
    /// Its host is none.
    #[error("has no valid host")]
    Host,
    /// A query, a fragment, a wildcard, or a path that is not canonical: it would not be what it seems.
    #[error("has more than a host, a port and a path")]
    Path,
}

impl Address {
    /// Reads an endpoint's url.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        Self::of(text, ["ws", "wss"])
    }

    /// The same of a server that is asked over HTTP and speaks no WebSocket; its url says so.
    pub fn of_http(text: &str) -> Result<Self, AddressError> {
        Self::of(text, ["http", "https"])
    }

    /// The url has one of these schemes then: that of clear text, or that of TLS.
    fn of(text: &str, [plain, secured]: [&str; 2]) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix(UNIX) {
            return Self::of_unix(path);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or((plain, text));
        let (is_secure, scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => (false, plain, 80),
            "wss" | "https" => (true, secured, 443),
            _ => return Err(AddressError::Scheme(scheme.to_owned())),
        };
        let (authority, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |end| rest.split_at(end));
        if authority.contains('@') {
            return Err(AddressError::User);
        }
        let (named, port) = split_port(authority).ok_or(AddressError::Port)?;
        let host = canonical_host(named).ok_or(AddressError::Host)?;
        let path = if path.is_empty() { None } else { Some(canonical(path).ok_or(AddressError::Path)?) };
        let authority = port.map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        let url = format!("{scheme}://{authority}{}", path.as_deref().unwrap_or_default());
        let port = port.unwrap_or(default_port);
        let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        let place = match literal.parse::<IpAddr>() {
            Ok(address) => Place::Socket(SocketAddr::new(address, port)),
            Err(_) => Place::Name(host, port),
        };
        let authority = HeaderValue::try_from(authority).map_err(|_| AddressError::Host)?;
        Ok(Self { url, authority, is_secure, place, path })
    }

    fn of_unix(path: &str) -> Result<Self, AddressError> {
        // No server there is known by a host; this is what others send to such sockets.
        let authority = HeaderValue::from_static("localhost");
        let is_path = path.starts_with('/')
            && !path.starts_with("//")
            && path.len() <= MOST_PATH
            && !path.contains(char::is_control);
        let place = if is_path { Place::Unix(path.into()) } else { return Err(AddressError::Unix) };
        Ok(Self { url: format!("{UNIX}{path}"), authority, is_secure: false, place, path: None })
    }

    /// The url with its scheme, as components and metrics know it; two endpoints are the same where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Host and port as configured: the `Host` field of a request to it. That of a unix socket is `localhost`.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// Whether TLS is spoken to it.
    pub fn is_secure(&self) -> bool {
        self.is_secure
    }

    /// Where it leads to.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The path of the url, which takes the place of the part of the client's path that the route matched; without one
    /// the client's target is kept.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

const UNIX: &str = "unix:";
/// The most that the address of a unix socket takes, less the zero behind it.
const MOST_PATH: usize = 107;

/// A path in the form in which paths are compared.
fn canonical(path: &str) -> Option<String> {
    let is_path = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#*".contains(&byte));
    comparable_rule(path).ok().filter(|_| is_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(text: &str) -> Place {
        Place::Socket(text.parse().unwrap())
    }

    #[test]
    fn a_url_without_a_scheme_means_ws_and_http_is_accepted() {
        let name = |name: &str, port| Place::Name(name.to_owned(), port);
        for (text, url, authority, place) in [
            ("ws://127.0.0.1:9001", "ws://127.0.0.1:9001", "127.0.0.1:9001", socket("127.0.0.1:9001")),
            ("127.0.0.1:9001", "ws://127.0.0.1:9001", "127.0.0.1:9001", socket("127.0.0.1:9001")),
            ("HTTP://[0::1]:9001/x", "ws://[::1]:9001/x", "[::1]:9001", socket("[::1]:9001")),
            ("Chat.internal", "ws://chat.internal", "chat.internal", name("chat.internal", 80)),
            ("http://a:80/x/", "ws://a:80/x/", "a:80", name("a", 80)),
            ("WSS://a/x", "wss://a/x", "a", name("a", 443)),
            ("https://127.0.0.1:8443", "wss://127.0.0.1:8443", "127.0.0.1:8443", socket("127.0.0.1:8443")),
            ("localhost:8080/a/b", "ws://localhost:8080/a/b", "localhost:8080", name("localhost", 8080)),
        ] {
            let address = Address::parse(text).unwrap();
            assert_eq!((address.url(), &address.place), (url, &place), "{text}");
            assert_eq!(address.authority(), authority, "{text}");
            assert_eq!(address.is_secure(), url.starts_with("wss"), "{text}");
        }
    }

    #[test]
    fn a_server_that_is_asked_over_http_is_known_as_such() {
        for (text, url, is_secure) in
            [("http://App:8000", "http://app:8000", false), ("https://app", "https://app", true)]
        {
            let address = Address::of_http(text).unwrap();
            assert_eq!((address.url(), address.is_secure()), (url, is_secure), "{text}");
        }
    }

    #[test]
    fn a_path_is_kept_in_the_form_in_which_paths_are_compared() {
        for (text, path) in [("a", None), ("a/", Some("/")), ("a/%7Ex/%2f/$%7Bx%7D", Some("/~x/%2F/$%7Bx%7D"))] {
            assert_eq!(Address::parse(text).unwrap().path(), path, "{text}");
        }
    }

    #[test]
    fn a_unix_socket_is_named_by_its_absolute_path() {
        let address = Address::parse("unix:/run/app: a.sock").unwrap();
        assert_eq!(address.url(), "unix:/run/app: a.sock");
        assert_eq!(address.place(), &Place::Unix("/run/app: a.sock".into()));
        assert_eq!((address.authority().to_str().unwrap(), address.path()), ("localhost", None));
        let longest = format!("unix:/{}", "x".repeat(MOST_PATH - 1));
        assert!(Address::parse(&longest).is_ok());
        for text in ["unix:", "unix:run/app.sock", "unix:///run", "unix:/a\nb", &format!("{longest}x")] {
            assert_eq!(Address::parse(text), Err(AddressError::Unix), "{text}");
        }
    }

    #[test]
    fn what_would_have_no_effect_is_refused() {
        for (text, error) in [
            ("ftp://h", AddressError::Scheme("ftp".to_owned())),
            ("ws://user:pw@h", AddressError::User),
            ("ws://h/p?q=1", AddressError::Path),
            ("h?x", AddressError::Path),
            ("ws://h/#f", AddressError::Path),
            ("ws://h/a/../b", AddressError::Path),
            ("ws://h/a*", AddressError::Path),
            ("", AddressError::Host),
            ("ws://", AddressError::Host),
            ("ws:///path", AddressError::Host),
            ("ws://a b", AddressError::Host),
            ("::1", AddressError::Host),
            ("ws://h:0", AddressError::Port),
            ("ws://h:65536", AddressError::Port),
            ("ws://h:x", AddressError::Port),
        ] {
            assert_eq!(Address::parse(text), Err(error), "{text}");
        }
    }
}
