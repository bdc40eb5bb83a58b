//! Which web pages may connect (RFC 6455 section 10.2).

use http::header::{self, HeaderMap, HeaderValue};

/// The origins a route allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins(Vec<Origin>);

/// One of them, or several at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// This one, as browsers write it: `https://chat.example.com`, or `null`.
    Exact(Box<str>),
    /// Those of all names below a host, with this beginning, `https://`, and this end, `.example.com` with a port behind it
    /// if it is not the usual one.
    Subdomains(Box<str>, Box<str>),
    /// That of the host which was asked.
    Same,
}

impl Origins {
    /// Allows these; an empty list allows all.
    pub fn new(origins: impl IntoIterator<Item = Origin>) -> Self {
        Self(origins.into_iter().collect())
    }

    /// Whether a request may connect. One without an `Origin` may: it comes from no web page, because browsers always
    /// send one. `null`, and more than one origin, match only if they are listed so. `own` is the origin of what was asked, where
    /// that can be told.
    pub fn allow(&self, headers: &HeaderMap, own: impl Fn() -> Option<String>) -> bool {
        let allows = |origin: &HeaderValue| self.0.iter().any(|allowed| allowed.allows(origin.as_bytes(), &own));
        self.0.is_empty() || headers.get_all(header::ORIGIN).iter().all(allows)
    }
}

impl Origin {
    fn allows(&self, origin: &[u8], own: impl Fn() -> Option<String>) -> bool {
        match self {
            Self::Exact(allowed) => allowed.as_bytes().eq_ignore_ascii_case(origin),
            Self::Subdomains(begin, end) => {
                let name = origin.len().checked_sub(end.len()).and_then(|at| origin.split_at_checked(at));
                name.is_some_and(|(front, rest)| {
                    let label = front.split_at_checked(begin.len());
                    rest.eq_ignore_ascii_case(end.as_bytes())
                        && label.is_some_and(|(scheme, name)| {
                            scheme.eq_ignore_ascii_case(begin.as_bytes())
                                && !name.is_empty()
                                && name.iter().all(is_of_a_name)
                        })
                })
            }
            Self::Same => own().is_some_and(|own| own.as_bytes().eq_ignore_ascii_case(origin)),
        }
    }
}

/// What may stand in a name: no port, no path, and nobody else's host.
fn is_of_a_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listed_origin_and_a_request_without_one_may_connect() {
        let exact = |origin: &str| Origin::Exact(origin.into());
        let origins = Origins::new([exact("https://chat.example.com"), exact("http://localhost:3000")]);
        let allow = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            values.iter().for_each(|value| {
                headers.append(header::ORIGIN, value.parse().unwrap());
            });
            origins.allow(&headers, || None)
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
        assert!(Origins::default().allow(&HeaderMap::from_iter([(header::ORIGIN, "null".parse().unwrap())]), || None));
    }

    fn allows(origin: &Origin, own: Option<&str>, text: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::ORIGIN, text.parse().unwrap())]);
        Origins::new([origin.clone()]).allow(&headers, || own.map(str::to_owned))
    }

    #[test]
    fn a_wildcard_stands_for_names_below_a_host_and_for_nothing_else() {
        let usual = Origin::Subdomains("https://".into(), ".example.com".into());
        let port = Origin::Subdomains("https://".into(), ".example.com:8443".into());
        assert!(allows(&usual, None, "https://chat.example.com") && allows(&usual, None, "HTTPS://a.b.Example.com"));
        assert!(allows(&port, None, "https://chat.example.com:8443"));
        for refused in [
            "https://example.com",
            "https://.example.com",
            "http://chat.example.com",
            "https://chat.example.com:8443",
            "https://evil.example/.example.com",
            "https://evil.example:1@x.example.com",
            "https://chat.example.com.evil.example",
            "https://notexample.com",
            "null",
            "",
        ] {
            assert!(!allows(&usual, None, refused), "{refused}");
        }
        assert!(!allows(&port, None, "https://chat.example.com"));
    }

    #[test]
    fn the_same_origin_is_that_of_the_host_that_was_asked() {
        assert!(allows(&Origin::Same, Some("https://chat.example.com"), "https://Chat.example.com"));
        assert!(!allows(&Origin::Same, Some("https://chat.example.com"), "http://chat.example.com"));
        assert!(!allows(&Origin::Same, None, "https://chat.example.com"));
    }
}
