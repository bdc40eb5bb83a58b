//! The head of a request over HTTP/2, brought into the form in which all requests are looked at.

use h2::ext::Protocol;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;

use crate::handshake::requests::{HeadLimits, ReadError};

/// A request is an extended `CONNECT` (RFC 8441 section 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::handshake) struct Extended {
    /// Whether it asks for the WebSocket protocol.
    pub(in crate::handshake) is_websocket: bool,
}

impl Extended {
    /// Whether a request is one, and of which kind.
    pub(in crate::handshake) fn of(parts: &Parts) -> Option<Self> {
        parts.extensions.get().copied()
    }
}

/// Sees that a head is within its limits.
pub(super) fn limit(parts: &Parts, limits: &HeadLimits) -> Result<(), ReadError> {
    if parts.headers.len() > limits.max_header_fields {
        return Err(ReadError::TooManyFields(limits.max_header_fields));
    }
    let fields: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + BETWEEN).sum();
    let target = parts.uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    match fields + target + authority > limits.max_header_bytes {
        true => Err(ReadError::TooLarge(limits.max_header_bytes)),
        false => Ok(()),
    }
}

/// Leaves nothing in a head that only HTTP/2 knows.
pub(super) fn settle(parts: &mut Parts) {
    let protocol = parts.extensions.remove::<Protocol>();
    parts.extensions.clear();
    if let Some(protocol) = protocol {
        parts.extensions.insert(Extended { is_websocket: protocol.as_str() == "websocket" });
    }
    join_cookies(&mut parts.headers);
}

/// Several fields of cookies are one that a client has cut, and no other version knows them (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(header::COOKIE, cookie);
    }
}

/// What a line of HTTP/1.1 has beyond a name and a value: a head is as large over either.
const BETWEEN: usize = 4;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn cookies_that_came_in_crumbs_are_one() {
        let request = Request::builder().header("cookie", "a=b").header("x", "1").header("cookie", "c=d");
        let mut parts = request.body(()).unwrap().into_parts().0;
        settle(&mut parts);
        assert_eq!(parts.headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=b; c=d"]);
    }

    #[test]
    fn a_head_may_have_so_many_fields_and_so_many_bytes() {
        let limits = HeadLimits { max_header_bytes: 30, max_header_fields: 2, ..HeadLimits::default() };
        let request = |fields: &[(&str, &str)]| {
            let request =
                fields.iter().fold(Request::builder().uri("/ws"), |it, (name, value)| it.header(*name, *value));
            request.body(()).unwrap().into_parts().0
        };
        assert!(limit(&request(&[("a", "1"), ("b", "2")]), &limits).is_ok());
        let many = limit(&request(&[("a", "1"), ("b", "2"), ("c", "3")]), &limits);
        assert!(matches!(many, Err(ReadError::TooManyFields(2))));
        assert!(limit(&request(&[("a", "1234567890123456789012")]), &limits).is_ok());
        let large = limit(&request(&[("a", "12345678901234567890123")]), &limits);
        assert!(matches!(large, Err(ReadError::TooLarge(30))));
    }
}
