//! Where a handshake carries its bearer token.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use tidegate_guest::Handshake;

/// `authorization`, `cookie:NAME` or `query:NAME`: a browser cannot set header fields of a WebSocket handshake.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Source {
    #[default]
    Authorization,
    Cookie(String),
    Query(String),
}

/// What a handshake carries where its token is looked for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Credential<'a> {
    Token(Cow<'a, str>),
    /// No token.
    None,
    /// More than one, of which the upstream may believe another than we do.
    Ambiguous,
}

impl Source {
    pub(crate) fn find<'a>(&'a self, handshake: &'a Handshake) -> Credential<'a> {
        match self {
            // It is no list, so a second line is a mistake even if it says the same (RFC 9110 section 5.3).
            Self::Authorization => match handshake.headers_named("authorization").collect::<Vec<_>>().as_slice() {
                [] => Credential::None,
                [line] => bearer(line).map_or(Credential::None, |token| Credential::Token(Cow::Borrowed(token))),
                _ => Credential::Ambiguous,
            },
            Self::Cookie(name) => only(handshake.cookies_named(name).map(Cow::Borrowed)),
            Self::Query(name) => only(handshake.query_parameters_named(name)),
        }
    }
}

fn bearer(line: &[u8]) -> Option<&str> {
    let (scheme, token) = str::from_utf8(line).ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// The one token, which may come several times.
fn only<'a>(mut tokens: impl Iterator<Item = Cow<'a, str>>) -> Credential<'a> {
    let Some(first) = tokens.next() else { return Credential::None };
    if tokens.any(|other| other != first) {
        return Credential::Ambiguous;
    }
    if first.is_empty() { Credential::None } else { Credential::Token(first) }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.split_once(':') {
            None if text == "authorization" => Ok(Self::Authorization),
            Some(("cookie", name)) if !name.is_empty() => Ok(Self::Cookie(name.to_owned())),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err(serde::de::Error::custom(format_args!(
                "`credential` is {text:?}; write \"authorization\", \"cookie:NAME\" or \"query:NAME\""
            ))),
        }
    }
}
