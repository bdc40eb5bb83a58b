//! What is asked.

use std::net::IpAddr;
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use http::{Request, Uri};
use http_body_util::Full;

/// Whom to ask, and what of the request and of the answer matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Absolute, `http` or `https`.
    pub url: Uri,
    /// How long the answer may take.
    pub timeout: Duration,
    /// The fields of the client that go with the question.
    pub headers: Vec<HeaderName>,
    /// The fields of the answer that go to the upstream. What the client has sent by these names goes nowhere.
    pub copy: Vec<HeaderName>,
    /// How long an admission is remembered; `None`: not at all.
    pub cache: Option<Duration>,
    /// As many questions are under way at most.
    pub max_pending: usize,
}

/// A request that wants to come in.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Its method.
    pub method: &'a str,
    /// `http` or `https`, as the client has spoken.
    pub scheme: &'static str,
    /// Host and port as the client sent them.
    pub authority: &'a str,
    /// The path and the query.
    pub uri: &'a str,
    /// The client; `None`: it has no address.
    pub client: Option<IpAddr>,
    /// All of its fields.
    pub headers: &'a HeaderMap,
}

/// What tells questions apart that may be answered otherwise.
pub(super) type Key = [u8; 32];

impl Question<'_> {
    /// The request that asks it.
    ///
    /// # Errors
    /// When a part of it can stand in no field: whoever is asked would judge something else.
    pub(super) fn request(&self, terms: &Terms) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::get(terms.url.clone()).body(Full::default())?;
        let fields = request.headers_mut();
        fields.insert(USER_AGENT, HeaderValue::from_static("tidegate"));
        for name in &terms.headers {
            fields.remove(name);
            for value in self.headers.get_all(name) {
                fields.append(name.clone(), value.clone());
            }
        }
        let client = self.client.map(|client| client.to_string());
        fields.remove("x-forwarded-for");
        for (name, value) in [
            ("x-forwarded-method", self.method),
            ("x-forwarded-proto", self.scheme),
            ("x-forwarded-host", self.authority),
            ("x-forwarded-uri", self.uri),
            ("x-forwarded-for", client.as_deref().unwrap_or_default()),
        ] {
            if !value.is_empty() {
                fields.insert(name, HeaderValue::from_bytes(value.as_bytes())?);
            }
        }
        Ok(request)
    }

    /// What tells it apart: the method, the host, the URI, and all fields that go with it. Credentials are not kept, only what
    /// comes of them.
    pub(super) fn key(&self, terms: &Terms) -> Key {
        let mut digest = Context::new(&SHA256);
        // With its length in front nothing becomes a part of something else.
        let mut add = |part: &[u8]| {
            digest.update(&(part.len() as u64).to_be_bytes());
            digest.update(part);
        };
        for part in [self.method, self.scheme, &self.authority.to_ascii_lowercase(), self.uri] {
            add(part.as_bytes());
        }
        for name in &terms.headers {
            let values = self.headers.get_all(name);
            add(&(values.iter().count() as u64).to_be_bytes());
            values.iter().for_each(|value| add(value.as_bytes()));
        }
        let mut key = Key::default();
        key.copy_from_slice(digest.finish().as_ref());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms() -> Terms {
        Terms {
            url: Uri::from_static("http://auth.internal/verify?for=chat"),
            timeout: Duration::from_secs(2),
            headers: ["authorization", "cookie"].map(HeaderName::from_static).to_vec(),
            copy: Vec::new(),
            cache: None,
            max_pending: 1,
        }
    }

    fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn question<'a>(uri: &'a str, headers: &'a HeaderMap) -> Question<'a> {
        let client = Some(IpAddr::from([192, 0, 2, 1]));
        Question { method: "GET", scheme: "https", authority: "Chat.example", uri, client, headers }
    }

    #[test]
    fn a_question_says_what_was_asked_for_and_shows_only_the_fields_that_are_named() {
        let sent = fields(&[("cookie", "a=1"), ("cookie", "b=2"), ("x-other", "3"), ("x-forwarded-uri", "/spoofed")]);
        let request = question("/ws?x=1", &sent).request(&terms()).unwrap();
        assert_eq!((request.method().as_str(), request.uri()), ("GET", &terms().url));
        let headers = request.headers();
        for (name, value) in [
            ("x-forwarded-method", "GET"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "Chat.example"),
            ("x-forwarded-uri", "/ws?x=1"),
            ("x-forwarded-for", "192.0.2.1"),
        ] {
            assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value], "{name}");
        }
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!((headers.get("x-other"), headers.get("authorization")), (None, None));
    }

    #[test]
    fn what_was_asked_for_is_told_whatever_bytes_it_has() {
        let none = HeaderMap::new();
        let request = question("/caf\u{e9}", &none).request(&terms()).unwrap();
        assert_eq!(request.headers()["x-forwarded-uri"].as_bytes(), "/caf\u{e9}".as_bytes());
        assert!(question("/a\r\nb", &none).request(&terms()).is_err());
    }

    #[test]
    fn whatever_goes_with_a_question_makes_another_of_it() {
        let terms = terms();
        let none = HeaderMap::new();
        let known = question("/ws", &none).key(&terms);
        assert_eq!(question("/ws", &fields(&[("x-other", "1")])).key(&terms), known);
        let others = [
            fields(&[("cookie", "a")]),
            fields(&[("cookie", "")]),
            fields(&[("authorization", "a")]),
            fields(&[("cookie", "a"), ("cookie", "b")]),
            fields(&[("cookie", "ab")]),
        ];
        let mut keys: Vec<_> = others.iter().map(|sent| question("/ws", sent).key(&terms)).collect();
        keys.extend([known, question("/ws?", &none).key(&terms)]);
        let other = Question { authority: "other.example", ..question("/ws", &none) };
        keys.push(other.key(&terms));
        let count = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), count);
        let spelled = Question { authority: "chat.EXAMPLE", ..question("/ws", &none) };
        assert_eq!(spelled.key(&terms), known);
    }
}
