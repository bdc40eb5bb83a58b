//! Where a handshake carries its bearer token.

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

impl Source {
    pub(crate) fn find<'a>(&'a self, handshake: &'a Handshake) -> Option<&'a str> {
        let token = match self {
            Self::Authorization => {
                let value = str::from_utf8(handshake.header("authorization")?).ok()?;
                let (scheme, token) = value.split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())?
            }
            Self::Cookie(name) => handshake.cookie(name)?,
            Self::Query(name) => handshake.query_parameter(name)?,
        };
        (!token.is_empty()).then_some(token)
    }
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
