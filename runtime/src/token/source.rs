//! Where a token stands in a request.

use std::fmt;
use std::str::FromStr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use super::refused::Refused;
use crate::http::{field_names, fields};

/// A place of a request that may hold a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A header field: `Authorization` has it behind `Bearer`, and any other may.
    Header(HeaderName),
    /// A parameter of the query, which goes to nobody else.
    Query(String),
    /// A cookie.
    Cookie(String),
    /// A subprotocol, `NAME.TOKEN`, or `NAME` and the token as the next one: what a browser can send. It goes to nobody else.
    Subprotocol(String),
}

/// A text that names no such place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this is no place for a token")]
pub struct InvalidSource;

impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        let (kind, name) = text.split_once(':').ok_or(InvalidSource)?;
        let in_query = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        match kind {
            "header" => HeaderName::try_from(name).map(Self::Header).map_err(|_| InvalidSource),
            "query" if !name.is_empty() && name.bytes().all(in_query) => Ok(Self::Query(name.to_owned())),
            "cookie" if fields::is_token(name) => Ok(Self::Cookie(name.to_owned())),
            "subprotocol" if fields::is_token(name) => Ok(Self::Subprotocol(name.to_owned())),
            _ => Err(InvalidSource),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(formatter, "header:{name}"),
            Self::Query(name) => write!(formatter, "query:{name}"),
            Self::Cookie(name) => write!(formatter, "cookie:{name}"),
            Self::Subprotocol(name) => write!(formatter, "subprotocol:{name}"),
        }
    }
}

impl Source {
    /// Whether the upstream sees what stands here.
    pub(super) fn goes_on(&self) -> bool {
        matches!(self, Self::Header(_) | Self::Cookie(_))
    }

    /// The token that stands here.
    ///
    /// # Errors
    /// [`Refused::Several`] where there are more, or others that an upstream could take for it, in what goes on to the upstream:
    /// it would not have to take the one that was verified.
    pub(super) fn find(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Option<String>, Refused> {
        let found = match self {
            Self::Header(name) => of_header(name, headers)?,
            // It goes on to nobody, however often it is there.
            Self::Query(name) => query.and_then(|query| query.split('&').find_map(|pair| valued(pair, name))),
            Self::Cookie(name) => of_cookie(name, headers)?,
            Self::Subprotocol(name) => {
                let list = fields::combined(headers, &header::SEC_WEBSOCKET_PROTOCOL);
                let list = list.as_ref().and_then(|list| list.to_str().ok()).unwrap_or_default();
                let offer = Offer::of(name, list);
                if offer.is_repeated(name) {
                    return Err(Refused::Several);
                }
                return Ok(offer.token.map(str::to_owned));
            }
        };
        Ok(found.filter(|token| !token.is_empty()).map(str::to_owned))
    }
}

/// Servers that take fields for variables of an environment make no difference between `-` and `_`.
fn of_header<'h>(name: &HeaderName, headers: &'h HeaderMap) -> Result<Option<&'h str>, Refused> {
    let folded = field_names::folded(name.as_str());
    let mut values = headers.iter().filter(|(other, _)| field_names::folded(other.as_str()) == folded);
    let Some((_, value)) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refused::Several);
    }
    let Some(value) = headers.get(name).filter(|own| *own == value).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    let value = value.trim();
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Some(token.trim()),
        _ => None,
    };
    Ok(token.or_else(|| (*name != header::AUTHORIZATION).then_some(value)))
}

/// Servers differ in which of several cookies of a name they take, and some read what is no text, or pass over spaces before `=`.
fn of_cookie<'h>(name: &str, headers: &'h HeaderMap) -> Result<Option<&'h str>, Refused> {
    let lines = headers.get_all(header::COOKIE).iter().map(HeaderValue::as_bytes);
    let mut values = lines.flat_map(|line| line.split(|byte| *byte == b';')).filter_map(|pair| {
        let at = pair.iter().position(|byte| *byte == b'=')?;
        let (own, value) = (pair.get(..at)?, pair.get(at + 1..)?);
        (own.trim_ascii() == name.as_bytes()).then(|| value.trim_ascii())
    });
    let first = values.next();
    if values.next().is_some() {
        return Err(Refused::Several);
    }
    first.map(|value| str::from_utf8(value).map_err(|_| Refused::Malformed)).transpose()
}

/// The value of a `name=value` of this name.
fn valued<'p>(pair: &'p str, name: &str) -> Option<&'p str> {
    pair.strip_prefix(name)?.strip_prefix('=')
}

/// A query without a parameter, however that is spelled.
pub(super) fn without_parameter(query: &str, name: &str) -> Option<String> {
    let is_it = |pair: &&str| pair.split('=').next().is_some_and(|own| spells(own, name));
    if !query.split('&').any(|pair| is_it(&pair)) {
        return Some(query.to_owned());
    }
    let kept: Vec<_> = query.split('&').filter(|pair| !is_it(pair)).collect();
    (!kept.is_empty()).then(|| kept.join("&"))
}

/// Whether text in percent-encoding (RFC 3986 section 2.1) is this.
fn spells(encoded: &str, text: &str) -> bool {
    let (mut bytes, mut text) = (encoded.bytes(), text.bytes());
    while let Some(byte) = bytes.next() {
        let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
        let byte = match byte {
            b'%' => match (digit(bytes.next()), digit(bytes.next())) {
                (Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
                _ => None,
            },
            byte => Some(byte),
        };
        if byte.is_none() || byte != text.next() {
            return false;
        }
    }
    text.next().is_none()
}

/// A list of subprotocols of which one may be a token.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Offer<'o> {
    /// The token.
    pub(super) token: Option<&'o str>,
    /// What was offered for it: the name, or the name with the token where that is one.
    pub(super) name: Option<&'o str>,
    /// What else is offered.
    pub(super) rest: Vec<&'o str>,
}

impl<'o> Offer<'o> {
    /// Whether there could be another token in what else is offered.
    fn is_repeated(&self, name: &str) -> bool {
        let is_another = |rest: &str| rest.is_empty() || rest.starts_with('.');
        self.name.is_some() && self.rest.iter().any(|other| other.strip_prefix(name).is_some_and(is_another))
    }

    pub(super) fn of(name: &str, list: &'o str) -> Self {
        let mut offer = Self { token: None, name: None, rest: Vec::new() };
        let mut elements = fields::elements(list).peekable();
        while let Some(element) = elements.next() {
            let joined = element.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
            match joined {
                _ if offer.name.is_some() => offer.rest.push(element),
                Some(token) if !token.is_empty() => (offer.token, offer.name) = (Some(token), Some(element)),
                _ if element == name => {
                    offer.name = Some(element);
                    offer.token = elements.next();
                }
                _ => offer.rest.push(element),
            }
        }
        offer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(source: &str, fields: &[(&str, &'static str)], query: Option<&str>) -> Result<Option<String>, Refused> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_static(value));
        }
        source.parse::<Source>().unwrap().find(&headers, query)
    }

    #[test]
    fn a_token_is_found_where_it_is_looked_for_and_nowhere_else() {
        for (source, fields, query, token) in [
            ("header:authorization", &[("authorization", "Bearer a.b.c")][..], None, Some("a.b.c")),
            ("header:authorization", &[("authorization", "bearer  a.b.c ")], None, Some("a.b.c")),
            ("header:authorization", &[("authorization", "Basic YTpi")], None, None),
            ("header:authorization", &[("authorization", "a.b.c")], None, None),
            ("header:x-token", &[("x-token", "a.b.c")], None, Some("a.b.c")),
            ("header:x-token", &[("x-token", "Bearer a.b.c")], None, Some("a.b.c")),
            ("query:token", &[], Some("x=1&token=a.b.c&y"), Some("a.b.c")),
            ("query:token", &[], Some("tokens=a&mytoken=b&token"), None),
            ("query:token", &[], Some("token="), None),
            ("cookie:session", &[("cookie", "a=b; session=a.b.c; c=d")], None, Some("a.b.c")),
            ("cookie:session", &[("cookie", "a=b"), ("cookie", "session=a.b.c")], None, Some("a.b.c")),
            ("cookie:session", &[("cookie", "xsession=a.b.c")], None, None),
            ("subprotocol:bearer", &[("sec-websocket-protocol", "chat, bearer, a.b.c")], None, Some("a.b.c")),
            ("subprotocol:bearer", &[("sec-websocket-protocol", "bearer.a.b.c, chat")], None, Some("a.b.c")),
            ("subprotocol:bearer", &[("sec-websocket-protocol", "bearer")], None, None),
            ("subprotocol:bearer", &[("sec-websocket-protocol", "bearers, a.b.c")], None, None),
        ] {
            let found = found(source, fields, query).unwrap();
            assert_eq!(found.as_deref(), token, "{source} {fields:?} {query:?}");
        }
    }

    #[test]
    fn what_an_upstream_could_take_for_the_token_does_not_stand_beside_it() {
        let protocols = "sec-websocket-protocol";
        for (source, fields) in [
            ("header:authorization", &[("authorization", "Bearer a"), ("authorization", "Bearer b")][..]),
            ("header:authorization", &[("authorization", "Bearer a"), ("authorization", "Basic YTpi")]),
            ("header:x-token", &[("x-token", "a"), ("x_token", "b")]),
            ("cookie:session", &[("cookie", "session=a; session=b")]),
            ("cookie:session", &[("cookie", "session=a"), ("cookie", "c=d; session =b")]),
            ("cookie:session", &[("cookie", "session=a; session=")]),
            ("subprotocol:bearer", &[(protocols, "bearer, a.b.c, bearer, d.e.f")]),
            ("subprotocol:bearer", &[(protocols, "bearer, a.b.c"), (protocols, "chat, bearer.d.e.f")]),
        ] {
            assert_eq!(found(source, fields, None), Err(Refused::Several), "{source} {fields:?}");
        }
        assert_eq!(found("header:x-token", &[("x_token", "a")], None), Ok(None));
        let unreadable = [b"session=a; x=\xff; ", &b"session=b"[..]].concat();
        let headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_bytes(&unreadable).unwrap())]);
        let cookie: Source = "cookie:session".parse().unwrap();
        assert_eq!(cookie.find(&headers, None), Err(Refused::Several));
    }

    #[test]
    fn a_text_is_a_place_or_is_refused() {
        for text in ["header:authorization", "query:access_token", "cookie:session", "subprotocol:bearer"] {
            assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
        }
        for text in ["authorization", "header:", "header:a b", "query:", "query:a&b", "cookie:a=b", "body:token", ""] {
            assert_eq!(text.parse::<Source>(), Err(InvalidSource), "{text}");
        }
    }

    #[test]
    fn a_parameter_is_taken_out_of_a_query_as_often_as_it_is_there() {
        for (query, rest) in [
            ("token=a", None),
            ("token=a&x=1&token=b&y", Some("x=1&y")),
            ("x=%2F&tokens=1", Some("x=%2F&tokens=1")),
            ("token&x", Some("x")),
            ("%74oke%6E=a&x=%74oken", Some("x=%74oken")),
            ("toke%6=a", Some("toke%6=a")),
            ("token%00=a", Some("token%00=a")),
        ] {
            assert_eq!(without_parameter(query, "token").as_deref(), rest, "{query}");
        }
    }

    #[test]
    fn what_is_offered_beside_a_token_stays_in_its_order() {
        for (list, token, name, rest) in [
            ("chat, bearer, a.b.c, other", Some("a.b.c"), Some("bearer"), &["chat", "other"][..]),
            ("bearer.a.b.c", Some("a.b.c"), Some("bearer.a.b.c"), &[]),
            ("chat", None, None, &["chat"]),
            ("chat, bearer", None, Some("bearer"), &["chat"]),
        ] {
            assert_eq!(Offer::of("bearer", list), Offer { token, name, rest: rest.to_vec() }, "{list}");
        }
    }
}
