//! Sending requests that came in clear text to where TLS is spoken.

use http::header::HeaderValue;
use http::{Response, StatusCode, header};

use super::body::AnswerBody;
use super::refused::text;
use super::target::Target;

/// Where requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The port at which TLS is spoken.
    pub port: u16,
}

impl Redirect {
    /// The url of a request with the scheme `https` and this port; `None` for one that names no host.
    pub fn location(self, target: &Target<'_>) -> Option<HeaderValue> {
        let Target { host, .. } = target;
        let port = if self.port == HTTPS { String::new() } else { format!(":{}", self.port) };
        let location = format!("https://{host}{port}{}", target.origin_form());
        HeaderValue::try_from(location).ok().filter(|_| !host.is_empty())
    }
}

/// Tells a client to ask there instead, by the same method, now and ever (RFC 9110 section 15.4.9).
pub fn redirect(location: HeaderValue) -> Response<AnswerBody> {
    let mut response = text(StatusCode::PERMANENT_REDIRECT, "TLS is spoken here, and this was clear text");
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// The port that needs no mention (RFC 9110 section 4.2.2).
const HTTPS: u16 = 443;

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;
    use crate::http::Paths;

    #[test]
    fn the_url_is_that_of_the_request_over_tls() {
        let request = |method: &str, target: &str, host: &str| {
            Request::builder().method(method).uri(target).header("host", host).body(()).unwrap().into_parts().0
        };
        for (method, target, host, port, location) in [
            ("GET", "/", "Chat.example.com", 443, "https://chat.example.com/"),
            ("GET", "/a%20b?x=//y", "chat.example.com:80", 443, "https://chat.example.com/a%20b?x=//y"),
            (
                "POST",
                "//other.example/a",
                "chat.example.com:8080",
                8443,
                "https://chat.example.com:8443//other.example/a",
            ),
            ("GET", "http://other.example", "chat.example.com", 443, "https://other.example/"),
            ("OPTIONS", "*", "[2001:DB8::1]:80", 443, "https://[2001:db8::1]/"),
        ] {
            let parts = request(method, target, host);
            let target = Target::of(&parts, Paths::Canonical).unwrap();
            assert_eq!(Redirect { port }.location(&target).unwrap(), location);
        }
        let mut parts = request("GET", "/", "");
        parts.version = http::Version::HTTP_10;
        let target = Target::of(&parts, Paths::Canonical).unwrap();
        assert_eq!(Redirect { port: 443 }.location(&target), None);
    }
}
