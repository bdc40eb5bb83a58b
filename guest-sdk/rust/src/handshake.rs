//! The nouns that every kind of component shares.

pub use crate::bindings::balancer::tidegate::edge::types::{CloseFrame, Handshake, Header, MessageKind, Side};

impl Handshake {
    /// The value of the first header field of that name; `name` in lower case.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_slice())
    }

    /// The values of all header fields of that name, in the order of arrival; `name` in lower case.
    pub fn headers_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.headers.iter().filter(move |(candidate, _)| candidate == name).map(|(_, value)| value.as_slice())
    }

    /// The value of the first cookie of that name (RFC 6265 section 4.2), as it came.
    pub fn cookie<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.headers_named("cookie")
            .filter_map(|value| str::from_utf8(value).ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .find_map(|(candidate, value)| (candidate == name).then_some(value))
    }

    /// The value of the first query parameter of that name, as it came: percent-encoded, and empty when it has no `=`.
    pub fn query_parameter<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.query.as_deref()?.split('&').find_map(|pair| {
            let (candidate, value) = pair.split_once('=').unwrap_or((pair, ""));
            (candidate == name).then_some(value)
        })
    }

    /// The value of an attribute; where several filters have attached one of that name, the last.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().rev().find(|(candidate, _)| candidate == name).map(|(_, value)| value.as_str())
    }
}

impl CloseFrame {
    /// A close frame's body. A reason longer than the 123 bytes that fit is cut at a character.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(MAX_REASON));
        Self { code, reason }
    }
}

/// What a control frame's 125 bytes leave beside the code (RFC 6455 section 5.5).
const MAX_REASON: usize = 123;

impl Side {
    /// The other peer.
    pub fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> Handshake {
        Handshake {
            query: Some("room=7&debug&room=8".into()),
            headers: vec![
                ("cookie".into(), b"a=1; session=x=y".to_vec()),
                ("x-tag".into(), b"one".to_vec()),
                ("cookie".into(), b"session=late".to_vec()),
                ("x-tag".into(), b"two".to_vec()),
            ],
            attributes: vec![("user".into(), "ann".into()), ("user".into(), "bob".into())],
            ..Handshake::default()
        }
    }

    #[test]
    fn header_fields_are_found_in_the_order_of_arrival() {
        let handshake = handshake();
        assert_eq!(handshake.header("x-tag"), Some(&b"one"[..]));
        assert_eq!(handshake.headers_named("x-tag").count(), 2);
        assert_eq!(handshake.header("x-none"), None);
    }

    #[test]
    fn the_first_cookie_wins_and_keeps_its_equals_signs() {
        assert_eq!(handshake().cookie("session"), Some("x=y"));
    }

    #[test]
    fn a_query_parameter_without_a_value_is_empty() {
        assert_eq!(handshake().query_parameter("room"), Some("7"));
        assert_eq!(handshake().query_parameter("debug"), Some(""));
        assert_eq!(handshake().query_parameter("rooms"), None);
    }

    #[test]
    fn the_last_attribute_wins() {
        assert_eq!(handshake().attribute("user"), Some("bob"));
    }

    #[test]
    fn a_close_reason_is_cut_to_what_a_control_frame_holds() {
        let frame = CloseFrame::new(1008, "ä".repeat(100));
        assert_eq!(frame.reason.len(), 122);
    }
}
