//! The nouns that every kind of component shares.

use std::borrow::Cow;

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

    /// The values of all header fields that a server may take for one of that name, in the order of arrival; `name` in
    /// lower case. Those that make variables of fields see no difference between `x-key` and `x_key`, some none between
    /// any two signs. What is to keep a field away goes by these.
    pub fn headers_resembling<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let resembles = move |candidate: &str| {
            let mut bytes = candidate.bytes().zip(name.bytes());
            candidate.len() == name.len()
                && bytes
                    .all(|(one, other)| one == other || !(one.is_ascii_alphanumeric() || other.is_ascii_alphanumeric()))
        };
        self.headers.iter().filter(move |(candidate, _)| resembles(candidate)).map(|(_, value)| value.as_slice())
    }

    /// The value of the first cookie of that name.
    pub fn cookie<'a>(&'a self, name: &str) -> Option<&'a str> {
        self.cookies_named(name).next()
    }

    /// The values of all cookies of that name (RFC 6265 section 4.2), in the order in which they came, without the spaces
    /// around them. Fields that are no UTF-8 have none.
    pub fn cookies_named<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.headers_named("cookie")
            .filter_map(|value| str::from_utf8(value).ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .filter(move |(candidate, _)| candidate.trim() == name)
            .map(|(_, value)| value.trim())
    }

    /// The value of the first query parameter of that name, decoded like all of them.
    pub fn query_parameter<'a>(&'a self, name: &str) -> Option<Cow<'a, str>> {
        self.query_parameters_named(name).next()
    }

    /// The values of all query parameters of that name, in the order in which they came. In names and values `%XX` is
    /// decoded, and a `+` stays one: it is a space in forms alone, and in tokens it is not. A `%` without two hexadecimal
    /// digits stays as it is, and U+FFFD stands for what is no UTF-8 then. A parameter without `=` is empty.
    pub fn query_parameters_named<'a>(&'a self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        let pairs = self.query.as_deref().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        pairs.filter_map(move |pair| {
            let (candidate, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(candidate) == name).then(|| percent_decoded(value))
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

/// A text with each `%XX` decoded.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let encoded = match after {
            [high, low, behind @ ..] if *first == b'%' => digit(high).zip(digit(low)).map(|digits| (digits, behind)),
            _ => None,
        };
        match encoded {
            Some(((high, low), behind)) => {
                decoded.push(high << 4 | low);
                rest = behind;
            }
            None => {
                decoded.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> Handshake {
        Handshake {
            query: Some("room=7&debug&ro%6fm=8&&key=abc%2B%2fdef%3D%3D+x&bad=%zz%4%".into()),
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
    fn fields_that_servers_take_for_one_another_resemble_each_other() {
        let names = ["x-a-key", "x_a-key", "x.a_key", "xa-key", "x-a-keys", "x-b-key", "x0a-key"];
        let headers = names.map(|name| (name.into(), name.as_bytes().to_vec())).into();
        let handshake = Handshake { headers, ..Handshake::default() };
        assert_eq!(handshake.headers_resembling("x-a-key").collect::<Vec<_>>(), [b"x-a-key", b"x_a-key", b"x.a_key"]);
    }

    #[test]
    fn the_first_cookie_wins_and_keeps_its_equals_signs() {
        assert_eq!(handshake().cookie("session"), Some("x=y"));
        let values = [b"theme = dark;broken; Theme=x".to_vec(), b"theme=light".to_vec()];
        let headers = values.map(|value| ("cookie".into(), value)).into();
        let handshake = Handshake { headers, ..Handshake::default() };
        assert_eq!(handshake.cookies_named("theme").collect::<Vec<_>>(), ["dark", "light"]);
    }

    #[test]
    fn a_query_parameter_without_a_value_is_empty() {
        assert_eq!(handshake().query_parameter("room").as_deref(), Some("7"));
        assert_eq!(handshake().query_parameter("debug").as_deref(), Some(""));
        assert_eq!(handshake().query_parameter("rooms"), None);
    }

    #[test]
    fn a_query_parameter_is_decoded_and_a_plus_stays_one() {
        let handshake = handshake();
        assert_eq!(handshake.query_parameters_named("room").collect::<Vec<_>>(), ["7", "8"]);
        assert_eq!(handshake.query_parameter("key").as_deref(), Some("abc+/def==+x"));
        assert_eq!(handshake.query_parameter("bad").as_deref(), Some("%zz%4%"));
        let raw = Handshake { query: Some("a=%ff&b=caf%C3%A9".into()), ..Handshake::default() };
        assert_eq!(raw.query_parameter("a").as_deref(), Some("\u{fffd}"));
        assert_eq!(raw.query_parameter("b").as_deref(), Some("café"));
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
