//! What a route matches a handshake by before its predicates: hosts and a path, and the origins it allows.

use std::net::Ipv6Addr;

use super::reader::{Fault, quoted};
use crate::http::{Path, Paths, canonical_host, origin, origin_authority, split_port};
use crate::route::{HostPattern, InvalidPattern, Origin, PathPattern};

/// A host, or all hosts below a domain.
pub(super) fn host_pattern(text: &str) -> Result<HostPattern, Fault> {
    if text == "*" {
        return Err(Fault::new("\"*\" is no host", "leave `hosts` out for any host"));
    }
    HostPattern::parse(text).or_else(|_| {
        let host = text.strip_prefix("*.").unwrap_or(text);
        host_within(host, text).map(HostPattern::Exact)
    })
}

/// One path alone.
pub(super) fn exact_path(text: &str) -> Result<PathPattern, Fault> {
    path_pattern(text, PathPattern::exact)
}

/// All paths that begin with these segments; slashes at the end say nothing.
pub(super) fn path_prefix(text: &str) -> Result<PathPattern, Fault> {
    match text.trim_end_matches('/') {
        "" if !text.is_empty() => Ok(PathPattern::any()),
        segments => path_pattern(segments, PathPattern::prefix),
    }
}

fn path_pattern(
    text: &str,
    pattern: impl FnOnce(&str) -> Result<PathPattern, InvalidPattern>,
) -> Result<PathPattern, Fault> {
    if !text.starts_with('/') {
        return Err(Fault::new(
            format!("the path {} does not begin with `/`", quoted(text)),
            format!("write {}", quoted(&format!("/{text}"))),
        ));
    }
    if text.contains('*') {
        let advice = match text.trim_end_matches('*').trim_end_matches('/') {
            "" => "leave `path` and `path_prefix` out for any path".to_owned(),
            prefix if !prefix.contains('*') => {
                format!("write `path_prefix = {}` for all that begins with it", quoted(prefix))
            }
            _ => "leave the pattern to the predicate `conditions`".to_owned(),
        };
        return Err(Fault::new(format!("the path {} holds a wildcard", quoted(text)), advice));
    }
    if text.contains(['?', '#']) {
        return Err(Fault::new(
            format!("the path {} holds a query or fragment", quoted(text)),
            "write the path alone; the predicate `conditions` can look at the query",
        ));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Fault::new(
            format!("the path {} holds a character that no request line may hold", quoted(text)),
            "percent-encode it, as in \"/caf%C3%A9\"",
        ));
    }
    pattern(text).map_err(|invalid| {
        let InvalidPattern::NotCanonical(fault) = invalid else { return Fault::new(invalid.to_string(), "") };
        let instead = Path::read(text, Paths::Canonical).map(|path| {
            let compared = path.compared();
            format!("write {compared:?}, as such paths are compared")
        });
        let instead = instead.unwrap_or_else(|_| "no request with such a path gets to a route".to_owned());
        Fault::new(format!("the path {text:?} is not canonical: {fault}"), instead)
    })
}

/// A host name or address in lower case.
pub(super) fn parse_host(text: &str) -> Result<String, Fault> {
    host_within(text, text)
}

/// Reads a host that is all or a part of what the operator wrote.
fn host_within(text: &str, written: &str) -> Result<String, Fault> {
    if let Some(host) = canonical_host(text) {
        return Ok(host);
    }
    let fault = |what: &str, instead: &str| Err(Fault::new(format!("the host {} {what}", quoted(written)), instead));
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return fault("needs brackets", &format!("write \"[{address}]\""));
    }
    if text.contains("://") || text.contains('/') {
        return fault("holds more than a host", "write the host alone, such as \"chat.example.com\"");
    }
    if text.contains('*') {
        return fault("has a wildcard elsewhere than as its first label", "write \"*.example.com\" for all subdomains");
    }
    if let Some((host, _)) = text.split_once(':') {
        return fault("has a port", &format!("write {host:?}: a route serves its hosts on every listener"));
    }
    if !text.is_ascii() {
        return fault("is not ASCII", "write its IDNA form, which begins with \"xn--\"");
    }
    fault("is no host name", "write a name such as \"chat.example.com\"")
}

/// An origin as browsers write it (RFC 6454 section 6.2): in lower case, without the default port of its scheme.
///
/// Also `same-origin`, and `https://*.example.com` for all names below a host.
pub(super) fn parse_origin(text: &str) -> Result<Origin, Fault> {
    match text {
        "null" => return Ok(Origin::Exact(text.into())),
        "same-origin" => return Ok(Origin::Same),
        _ => {}
    }
    let fault = |what: &str| {
        Fault::new(
            format!("the origin {} {what}", quoted(text)),
            "write a scheme and a host, such as \"https://chat.example.com\"",
        )
    };
    let (scheme, rest) = text.split_once("://").ok_or_else(|| fault("has no scheme"))?;
    let scheme_fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(scheme_fits) {
        return Err(fault("has no valid scheme"));
    }
    if rest.contains(['/', '?', '#']) {
        return Err(fault("has a path"));
    }
    let (host, port) = split_port(rest).ok_or_else(|| fault("has no valid port"))?;
    let scheme = scheme.to_ascii_lowercase();
    let (is_wildcard, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
    let host = parse_host(host).map_err(|_| fault("has no valid host"))?;
    Ok(match is_wildcard {
        true => {
            let end = format!(".{}", origin_authority(&scheme, &host, port));
            Origin::Subdomains(format!("{scheme}://").into(), end.into())
        }
        false => Origin::Exact(origin(&scheme, &host, port).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_lower_cased_and_wildcards_lead() {
        assert_eq!(host_pattern("Chat.Example.COM"), Ok(HostPattern::Exact("chat.example.com".to_owned())));
        assert_eq!(host_pattern("*.Example.com"), Ok(HostPattern::Subdomains("example.com".to_owned())));
        assert_eq!(host_pattern("[::1]"), Ok(HostPattern::Exact("[::1]".to_owned())));
        for refused in
            ["", "*", "*.", "a.*.b", "a*", "a:80", "http://a", "a/b", "a..b", "a.", "ä.de", "::1", "[::1]:80"]
        {
            assert!(host_pattern(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_slash_at_the_end_of_a_prefix_says_nothing() {
        assert_eq!(path_prefix("/ws/chat/").map(|path| path.to_string()), Ok("/ws/chat".to_owned()));
        assert_eq!(path_prefix("/"), Ok(PathPattern::any()));
        assert_eq!(exact_path("/ws/").map(|path| path.to_string()), Ok("/ws/".to_owned()));
        assert_eq!(path_prefix("//"), Ok(PathPattern::any()));
        for refused in ["", "ws", "/a*", "/a?b", "/a#b", "/a b", "/ä", "/a\n", "/a%", "/%00", "/.."] {
            assert!(path_prefix(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_path_is_kept_in_the_form_in_which_it_is_compared() {
        assert_eq!(exact_path("/%61%2fb/%40").map(|path| path.to_string()), Ok("/a%2Fb/@".to_owned()));
        for (text, instead) in [("/ws//chat", "/ws/chat"), ("/ws/x/../chat", "/ws/chat"), ("/ws;v=1/chat", "/ws/chat")]
        {
            let fault = exact_path(text).unwrap_err();
            assert!(fault.instead.contains(&format!("{instead:?}")), "{text}: {}", fault.instead);
        }
    }

    #[test]
    fn origins_are_as_browsers_write_them() {
        let read =
            ["https://Chat.example.com", "HTTPS://a:443", "http://a:8080", "null", "http://[::1]:80"].map(|text| {
                match parse_origin(text) {
                    Ok(Origin::Exact(origin)) => Some(String::from(origin)),
                    _ => None,
                }
            });
        let expected = ["https://chat.example.com", "https://a", "http://a:8080", "null", "http://[::1]"];
        assert_eq!(read, expected.map(|text| Some(text.to_owned())));
        for refused in [
            "",
            "a",
            "*",
            "https://",
            "https://a/",
            "https://a:0",
            "https://a:x",
            "://a",
            "https://a.*.b",
            "https://*",
            "same",
        ] {
            assert!(parse_origin(refused).is_err(), "{refused:?}");
        }
        assert_eq!(parse_origin("same-origin"), Ok(Origin::Same));
        let below = Origin::Subdomains("https://".into(), ".example.com".into());
        assert_eq!(parse_origin("HTTPS://*.Example.com:443"), Ok(below));
    }
}
