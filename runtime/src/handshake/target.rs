//! Where a request wants to go: the host and path that routes are compared with.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use bytes::Bytes;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Uri};
use http::{Method, Version, header};

use super::heads::Oddities;
use super::http2::Extended;
use super::refused::Refused;
use crate::http::{Path, Paths, UpstreamTarget};

/// The target of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target<'a> {
    /// The host in lower case, without a port and without the dot that may end a name; an IPv6 address in its shortest
    /// form (RFC 5952) in its brackets. Empty when the client named none.
    pub host: Cow<'a, str>,
    /// Host and port as the client sent them.
    pub authority: &'a str,
    /// The path; empty for a `CONNECT`, `*` for an `OPTIONS *`.
    pub path: Path<'a>,
    /// The query without its `?`, as it came.
    pub query: Option<&'a str>,
    uri: &'a Uri,
}

impl<'a> Target<'a> {
    /// Reads the target of a request. The authority of an absolute target overrides `Host` (RFC 9112 section 3.2.2).
    ///
    /// # Errors
    /// [`Refused::Malformed`] unless there is exactly one `Host` field (HTTP/1.0 may have none) and its value is valid
    /// (RFC 9112 section 3.2), and for a path that is not taken. The other forms of a target are those of other methods
    /// than `GET` (RFC 9112 sections 3.2.3 and 3.2.4).
    pub fn of(parts: &'a Parts, paths: Paths) -> Result<Self, Refused> {
        if let Some(oddities) = parts.extensions.get::<Oddities>() {
            return Err(Refused::Malformed(match oddities.is_ambiguous {
                true => {
                    "the request has both Content-Length and Transfer-Encoding, so that it is not certain where it ends"
                }
                false => "the target of the request has a fragment, which is for the client alone",
            }));
        }
        if parts.uri.path_and_query().is_some_and(|target| target.as_str().len() > LONGEST) {
            return Err(Refused::TargetTooLong);
        }
        let authority = parts.uri.authority().map(Authority::as_str);
        let mut hosts = parts.headers.get_all(header::HOST).iter();
        let host = match hosts.next() {
            Some(host) => host.to_str().map_err(|_| BAD_HOST)?,
            None if parts.version == Version::HTTP_10 => "",
            // Over HTTP/2 the authority stands for it.
            None if parts.version == Version::HTTP_2 && authority.is_some() => "",
            None => return Err(Refused::Malformed("the request has no Host field")),
        };
        if hosts.next().is_some() {
            return Err(Refused::Malformed("the request has more than one Host field"));
        }
        let is_contrary = |authority: &str| !host.is_empty() && !host.eq_ignore_ascii_case(authority);
        if parts.version == Version::HTTP_2 && authority.is_some_and(is_contrary) {
            return Err(Refused::Malformed("the Host field says other than :authority"));
        }
        let authority = authority.unwrap_or(host);
        let host = host_of(authority).ok_or(BAD_HOST)?;
        let path = match (&parts.method, parts.uri.path()) {
            (&Method::CONNECT, path) if Extended::of(parts).is_none() => Path::opaque(path),
            (&Method::OPTIONS, "*") => Path::opaque("*"),
            (_, path) => Path::read(path, paths).map_err(Refused::Path)?,
        };
        Ok(Self { host, authority, path, query: parts.uri.query(), uri: &parts.uri })
    }

    /// The path and the query as they came, `/` where the target has none (RFC 9112 section 3.2.1).
    pub fn origin_form(&self) -> &str {
        let target = self.uri.path_and_query().map(PathAndQuery::as_str);
        target.filter(|target| target.starts_with('/')).unwrap_or("/")
    }

    /// What of it goes to an upstream, on a route that matched so many segments of the path.
    ///
    /// # Errors
    /// [`Refused::Malformed`] for a target that cannot be sent.
    pub fn forwarded(&self, segments: usize) -> Result<UpstreamTarget, Refused> {
        let Self { path, query, uri, .. } = self;
        let whole = match (uri.path_and_query(), path.forwarded(), query) {
            (Some(came), path, _) if path == came.path() => came.clone(),
            (_, path, None) => sendable(path.to_owned())?,
            (_, path, Some(query)) => sendable([path, "?", query].concat())?,
        };
        let target = UpstreamTarget::new(whole, path.length_of(segments));
        Ok(if path.is_shown_as_forwarded() { target } else { target.shown(path.shown()) })
    }
}

fn sendable(target: String) -> Result<PathAndQuery, Refused> {
    PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Refused::Malformed("the target is no path"))
}

const BAD_HOST: Refused = Refused::Malformed("the Host field is not a host with an optional port");

/// The host of an authority as it is compared; `None` when it is not `host [":" port]` (RFC 3986 section 3.2). No name that
/// is looked up has an encoded character, and a reader that decodes one would see another host than the routes do.
fn host_of(authority: &str) -> Option<Cow<'_, str>> {
    let is_port = |port: &str| port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
    let ends = |rest: &str| rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
    if let Some(literal) = authority.strip_prefix('[') {
        let (address, rest) = literal.split_once(']')?;
        let address: Ipv6Addr = address.parse().ok()?;
        return ends(rest).then(|| Cow::Owned(format!("[{address}]")));
    }
    let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte);
    if !host.bytes().all(in_name) || !ends(rest) || (host.is_empty() && rest.len() > 1) {
        return None;
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if !host.is_empty() && name.split('.').any(str::is_empty) {
        return None;
    }
    let host = name;
    let is_lower = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    Some(if is_lower { Cow::Borrowed(host) } else { Cow::Owned(host.to_ascii_lowercase()) })
}

/// The bytes of the longest target: less than a `Uri` holds by what an endpoint's path may add to it.
const LONGEST: usize = 60_000;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::http::InvalidPath;

    fn parts(target: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header("host", *host);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn the_host_is_compared_without_port_case_and_final_dot() {
        for (host, expected) in [
            ("chat.example.com", "chat.example.com"),
            ("Chat.Example.COM:8080", "chat.example.com"),
            ("chat.example.com.", "chat.example.com"),
            ("chat.example.com.:443", "chat.example.com"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[2001:DB8::1]:8080", "[2001:db8::1]"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]:80", "[::1]"),
            ("[2001:0DB8::0:1]", "[2001:db8::1]"),
            ("", ""),
        ] {
            let parts = parts("/ws", &[host]);
            let target = Target::of(&parts, Paths::Canonical).unwrap();
            assert_eq!((target.host.as_ref(), target.authority), (expected, host));
        }
    }

    #[test]
    fn an_absolute_target_overrides_the_host_field() {
        let parts = parts("http://Other.example:81/ws/%2f/a?b=%20", &["chat.example.com"]);
        let target = Target::of(&parts, Paths::Canonical).unwrap();
        assert_eq!((target.host.as_ref(), target.authority), ("other.example", "Other.example:81"));
        assert_eq!((target.path.shown(), target.query), ("/ws/%2f/a", Some("b=%20")));
    }

    #[test]
    fn a_missing_repeated_or_invalid_host_is_refused() {
        for hosts in [
            &[][..],
            &["a", "a"],
            &["a b"],
            &["a/b"],
            &["user@a"],
            &["ch%61t.example.com"],
            &["a]"],
            &["a:b"],
            &["a:123456"],
            &["[::1"],
            &["[x]"],
            &["[::1]x"],
            &[":80"],
            &["."],
            &["a.."],
            &[".a"],
            &["a..b"],
        ] {
            assert!(
                matches!(Target::of(&parts("/ws", hosts), Paths::Canonical), Err(Refused::Malformed(_))),
                "{hosts:?}"
            );
        }
    }

    #[test]
    fn an_asterisk_and_an_authority_are_no_targets_of_a_get() {
        for target in ["*", "chat.example.com:80"] {
            let mut parts = parts(target, &["chat.example.com"]);
            assert_eq!(Target::of(&parts, Paths::Canonical), Err(Refused::Path(InvalidPath::NoSlash)), "{target}");
            parts.method = if target == "*" { Method::OPTIONS } else { Method::CONNECT };
            assert!(Target::of(&parts, Paths::Canonical).is_ok(), "{target}");
        }
    }

    #[test]
    fn a_target_is_refused_that_an_endpoints_path_could_make_too_long() {
        for (length, refused) in [(LONGEST, None), (LONGEST + 1, Some(Refused::TargetTooLong))] {
            let parts = parts(&format!("/{}", "x".repeat(length - 1)), &["a"]);
            assert_eq!(Target::of(&parts, Paths::Canonical).err(), refused);
        }
    }

    #[test]
    fn http_1_0_may_have_no_host() {
        let mut parts = parts("/ws", &[]);
        parts.version = Version::HTTP_10;
        assert_eq!(Target::of(&parts, Paths::Canonical).unwrap().host, "");
    }
}
