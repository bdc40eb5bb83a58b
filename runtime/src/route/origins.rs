//! Which web pages may connect (RFC 6455 section 10.2).

use http::header::{self, HeaderMap};

/// The origins a route allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Box<str>>);

impl Origins {
    /// Allows these origins, for instance `https://chat.example.com`; an empty list allows all.
    pub fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Self {
        Self(origins.into_iter().map(Into::into).collect())
    }

    /// Whether a request may connect. One without an `Origin` may: it comes from no web page, because browsers always
    /// send one. `null`, and more than one origin, match only if they are listed so.
    pub fn allow(&self, headers: &HeaderMap) -> bool {
        self.0.is_empty()
            || headers
                .get_all(header::ORIGIN)
                .iter()
                .all(|origin| self.0.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_origin_and_a_request_without_one_may_connect() {
        let origins = Origins::new(["https://chat.example.com", "http://localhost:3000"]);
        let allow = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(header::ORIGIN, value.parse().unwrap());
            });
            origins.allow(&headers)
        };
        assert!(allow(&[]));
        assert!(allow(&["https://chat.example.com"]));
        assert!(allow(&["HTTPS://Chat.example.com"]));
        assert!(allow(&["http://localhost:3000"]));
        for refused in [
            "http://chat.example.com",
            "https://chat.example.com:8443",
            "https://chat.example.com.evil.example",
            "https://chat.example.com/",
            "null",
            "",
        ] {
            assert!(!allow(&[refused]), "{refused}");
        }
        assert!(!allow(&["https://chat.example.com", "https://evil.example"]));
        assert!(Origins::default().allow(&HeaderMap::from_iter([(header::ORIGIN, "null".parse().unwrap())])));
    }
}
