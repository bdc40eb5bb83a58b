//! Which requests are carried to an upstream, of those that are no opening handshakes.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Version};

use crate::handshake::Refused;
use crate::http::fields;

/// Sees that a request can be carried, and that its framing is what it seems.
///
/// # Errors
/// When nobody would be served by carrying it.
pub fn check(parts: &Parts) -> Result<(), Refused> {
    let headers = &parts.headers;
    // A tunnel would be no request any more, and an echo would tell what proxies have added.
    if parts.method == Method::CONNECT || parts.method == Method::TRACE {
        return Err(Refused::NotImplemented("this method is not carried by this proxy"));
    }
    codings(parts)?;
    let mut expectations = headers.get_all(header::EXPECT).iter();
    if expectations.any(|it| !it.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        return Err(Refused::Expectation);
    }
    let is_asked = parts.version >= Version::HTTP_11 && fields::has_token(headers, &header::CONNECTION, "upgrade");
    match fields::combined(headers, &header::UPGRADE).filter(|_| is_asked) {
        Some(protocols) if !is_ignored(&protocols) => {
            Err(Refused::NotImplemented("no upgrade is carried by this proxy but that to websocket"))
        }
        _ => Ok(()),
    }
}

/// Sees that a body has no coding that this hop would have to undo (RFC 9112 section 6.1).
fn codings(parts: &Parts) -> Result<(), Refused> {
    let Some(codings) = fields::combined(&parts.headers, &header::TRANSFER_ENCODING) else { return Ok(()) };
    let codings = codings.to_str().map_err(|_| BAD_CODINGS)?;
    let mut codings = fields::elements(codings);
    match (codings.next(), codings.next()) {
        (Some(only), None) if only.eq_ignore_ascii_case("chunked") => Ok(()),
        (Some(first), _) if first.eq_ignore_ascii_case("chunked") => Err(BAD_CODINGS),
        (None, _) => Err(BAD_CODINGS),
        _ => Err(Refused::NotImplemented("no transfer coding is understood here but chunked")),
    }
}

const BAD_CODINGS: Refused = Refused::Malformed("the Transfer-Encoding field is not `chunked`");

/// Clients that would like HTTP/2 go on in HTTP/1.1 as well, so they are not refused for the wish (RFC 9110 section 7.8).
fn is_ignored(protocols: &HeaderValue) -> bool {
    let protocols = protocols.to_str().unwrap_or_default();
    fields::elements(protocols).all(|protocol| protocol.eq_ignore_ascii_case("h2c"))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(method: &str, fields: &[(&str, &str)]) -> Result<(), u16> {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        check(&request.body(()).unwrap().into_parts().0).map_err(|refused| refused.status().as_u16())
    }

    #[test]
    fn what_cannot_be_carried_is_refused() {
        for (method, fields, expected) in [
            ("GET", &[][..], Ok(())),
            ("CONNECT", &[], Err(501)),
            ("TRACE", &[], Err(501)),
            ("POST", &[("transfer-encoding", "Chunked")], Ok(())),
            ("POST", &[("transfer-encoding", "gzip, chunked")], Err(501)),
            ("POST", &[("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], Err(501)),
            ("POST", &[("transfer-encoding", "chunked, chunked")], Err(400)),
            ("POST", &[("transfer-encoding", "chunked, identity")], Err(400)),
            ("POST", &[("transfer-encoding", ",")], Err(400)),
            ("POST", &[("expect", "100-Continue")], Ok(())),
            ("POST", &[("expect", "a miracle")], Err(417)),
            ("GET", &[("upgrade", "h2c"), ("connection", "Upgrade, HTTP2-Settings")], Ok(())),
            ("GET", &[("upgrade", "tcp")], Ok(())),
            ("GET", &[("upgrade", "tcp"), ("connection", "upgrade")], Err(501)),
            ("GET", &[("upgrade", "h2c, tcp"), ("connection", "upgrade")], Err(501)),
        ] {
            assert_eq!(checked(method, fields), expected, "{method} {fields:?}");
        }
    }
}
