//! What of a handshake decides its endpoint.
//!
//! A handshake always has a key: where the part that the configuration names is absent or empty, the client's address
//! stands in for it, so that such clients are spread and not all sent to one endpoint.

use std::borrow::Cow;

use serde::Deserialize;
use tidegate_guest::Handshake;

/// The part of the handshake that is hashed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum Key {
    /// The client's IP address, without the port.
    #[default]
    ClientIp,
    /// The first header field of that name, which is in lower case.
    Header(String),
    /// The first cookie of that name.
    Cookie(String),
    /// The first query parameter of that name, decoded.
    Query(String),
}

impl Key {
    /// The bytes to hash for this handshake.
    pub(crate) fn of<'a>(&'a self, handshake: &'a Handshake) -> Cow<'a, [u8]> {
        let value = match self {
            Self::ClientIp => None,
            Self::Header(name) => handshake.header(name).map(Cow::Borrowed),
            Self::Cookie(name) => handshake.cookie(name).map(|value| Cow::Borrowed(value.as_bytes())),
            Self::Query(name) => handshake.query_parameter(name).map(|value| match value {
                Cow::Borrowed(value) => Cow::Borrowed(value.as_bytes()),
                Cow::Owned(value) => Cow::Owned(value.into_bytes()),
            }),
        };
        let value = value.filter(|value| !value.is_empty());
        value.unwrap_or(Cow::Borrowed(handshake.client_address.as_bytes()))
    }
}

impl TryFrom<String> for Key {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "client-ip" => Ok(Self::ClientIp),
            Some(("header", name)) if is_token(name) => Ok(Self::Header(name.to_ascii_lowercase())),
            Some(("cookie", name)) if is_token(name) => Ok(Self::Cookie(name.to_owned())),
            Some(("query", name)) if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            Some((part @ ("header" | "cookie" | "query"), name)) => {
                Err(format!("key: {name:?} is no name of a {part}; write \"{part}:NAME\""))
            }
            _ => Err(format!(
                "key: {text:?} is unknown; one of \"client-ip\", \"header:NAME\", \"cookie:NAME\", \"query:NAME\""
            )),
        }
    }
}

/// A token of RFC 9110 section 5.6.2, which the names of header fields and cookies are.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Result<Key, String> {
        Key::try_from(text.to_owned())
    }

    #[test]
    fn a_key_names_a_part_of_the_handshake() {
        let handshake = Handshake {
            client_address: "10.0.0.1".into(),
            query: Some("room=7&empty=&name=%61nn".into()),
            headers: vec![
                ("x-user".into(), b"ann".to_vec()),
                ("x-user".into(), b"bob".to_vec()),
                ("x-empty".into(), b"".to_vec()),
                ("cookie".into(), b"a=1; session=xyz".to_vec()),
            ],
            ..Handshake::default()
        };
        for (text, expected) in [
            ("client-ip", "10.0.0.1"),
            ("header:X-User", "ann"),
            ("header:x-absent", "10.0.0.1"),
            ("header:x-empty", "10.0.0.1"),
            ("cookie:session", "xyz"),
            ("cookie:Session", "10.0.0.1"),
            ("query:room", "7"),
            ("query:name", "ann"),
            ("query:empty", "10.0.0.1"),
            ("query:absent", "10.0.0.1"),
        ] {
            assert_eq!(key(text).expect(text).of(&handshake), expected.as_bytes(), "{text}");
        }
    }

    #[test]
    fn what_names_no_part_is_refused_with_what_to_write() {
        for (text, word) in [
            ("", "is unknown; one of \"client-ip\""),
            ("ip", "is unknown"),
            ("Header:x-user", "is unknown"),
            ("header", "is unknown"),
            ("header:", "write \"header:NAME\""),
            ("header:x user", "write \"header:NAME\""),
            ("cookie:a=b", "write \"cookie:NAME\""),
            ("query:", "write \"query:NAME\""),
        ] {
            let error = key(text).expect_err(text);
            assert!(error.starts_with("key: ") && error.contains(word), "{text}: {error}");
        }
    }
}
