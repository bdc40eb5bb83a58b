//! What keeps web pages away from a port on loopback, where a browser on the same machine can reach it.
//!
//! A page cannot read answers of another origin, but it can send them a POST, and it can make its own host name resolve
//! to 127.0.0.1 (DNS rebinding), after which it reads everything. So a POST that a page sent, which always carries an
//! `Origin`, is refused unless the page came from here; and a `Host` must be something that no stranger's DNS decides:
//! an address, `localhost`, a name without a dot, or a name that the operator configured.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{HOST, HeaderName, ORIGIN};
use http::uri::{Authority, Uri};

/// Which requests are answered at all.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    hosts: Vec<String>,
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unwelcome {
    #[error("the Host header names neither an address, nor localhost, nor a host that the admin listener is known by")]
    Host,
    #[error("a web page of another origin may not do this")]
    Origin,
}

impl Guard {
    /// Also answers requests for these host names, compared without regard to case and port.
    pub fn new(hosts: impl IntoIterator<Item = String>) -> Self {
        Self { hosts: hosts.into_iter().collect() }
    }

    /// Checks the `Host` of any request. Without one (HTTP/1.0) no browser sent it.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), Unwelcome> {
        if !headers.contains_key(HOST) {
            return Ok(());
        }
        let authority =
            single(headers, &HOST).and_then(|host| host.parse::<Authority>().ok()).ok_or(Unwelcome::Host)?;
        let host = authority.host();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let is_ours = bare.parse::<IpAddr>().is_ok()
            || !host.contains('.')
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(host));
        if is_ours { Ok(()) } else { Err(Unwelcome::Host) }
    }

    /// Checks the `Origin` of a request that changes something.
    pub(super) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Unwelcome> {
        if !headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let origin = single(headers, &ORIGIN).and_then(|origin| origin.parse::<Uri>().ok());
        let host = single(headers, &HOST).and_then(|host| host.parse::<Authority>().ok());
        match (origin.as_ref().and_then(Uri::authority), host) {
            (Some(origin), Some(host)) if *origin == host => Ok(()),
            _ => Err(Unwelcome::Origin),
        }
    }
}

/// The value of a field that may come once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(HeaderName, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_host_that_no_strangers_dns_decides_is_welcome() {
        let guard = Guard::new(["Admin.Example.com".to_owned()]);
        for host in [
            "127.0.0.1",
            "127.0.0.1:9900",
            "10.1.2.3:9900",
            "[::1]:9900",
            "localhost:9900",
            "LOCALHOST",
            "tidegate:9900",
            "admin.example.com:9900",
        ] {
            assert_eq!(guard.check_host(&headers(&[(HOST, host)])), Ok(()), "{host}");
        }
    }

    #[test]
    fn a_host_that_somebody_elses_dns_decides_is_not() {
        let guard = Guard::new(["admin.example.com".to_owned()]);
        for host in [
            "evil.example",
            "evil.example:9900",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "",
            "a b",
            "x@evil.example",
        ] {
            assert_eq!(guard.check_host(&headers(&[(HOST, host)])), Err(Unwelcome::Host), "{host}");
        }
    }

    #[test]
    fn an_origin_must_be_the_host_itself() {
        let cases = [
            ("http://127.0.0.1:9900", Ok(())),
            ("http://127.0.0.1", Err(Unwelcome::Origin)),
            ("http://127.0.0.1:8080", Err(Unwelcome::Origin)),
            ("https://evil.example", Err(Unwelcome::Origin)),
            ("null", Err(Unwelcome::Origin)),
            ("", Err(Unwelcome::Origin)),
        ];
        for (origin, expected) in cases {
            let headers = headers(&[(HOST, "127.0.0.1:9900"), (ORIGIN, origin)]);
            assert_eq!(Guard::default().check_origin(&headers), expected, "{origin}");
        }
    }

    #[test]
    fn a_request_that_no_browser_sent_needs_no_origin() {
        assert_eq!(Guard::default().check_origin(&headers(&[(HOST, "127.0.0.1:9900")])), Ok(()));
    }
}
