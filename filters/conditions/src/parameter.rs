//! What a condition looks at: the part of a handshake that it names.
//!
//! A parameter yields every value that came under its name, because a client can send a header, a cookie or a query
//! parameter twice and only one of the two is what the upstream goes by. For the same reason a header yields those of
//! names that the upstream may take for its own.

use std::borrow::Cow;

use tidegate_guest::Handshake;

/// A part of the handshake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Parameter {
    /// The path with its percent-encoding undone, but for an encoded `/` or `%`, and without parameters (`;x=y`), which
    /// no route is found by either.
    Path,
    /// The query parameter of that name, decoded.
    Query(String),
    /// The header field of that name, which is in lower case.
    Header(String),
    /// The cookie of that name.
    Cookie(String),
    /// The host that the client asked for, without a port or brackets, in lower case.
    Host,
    /// The client's address.
    Ip,
    /// The request method.
    Method,
}

impl Parameter {
    /// All values of this parameter in the order in which they came. Text that is no UTF-8 shows U+FFFD in its place.
    pub(crate) fn values<'a>(&'a self, handshake: &'a Handshake) -> Vec<Cow<'a, str>> {
        match self {
            Self::Path => vec![decode_path(&handshake.path)],
            Self::Query(name) => handshake.query_parameters_named(name).collect(),
            Self::Header(name) => handshake.headers_resembling(name).map(String::from_utf8_lossy).collect(),
            Self::Cookie(name) => handshake.cookies_named(name).map(Cow::Borrowed).collect(),
            Self::Host => vec![Cow::Owned(host(&handshake.authority))],
            Self::Ip => vec![Cow::Borrowed(&handshake.client_address)],
            Self::Method => vec![Cow::Borrowed(&handshake.method)],
        }
    }

    /// Whether this parameter came under its very name, if it came at all.
    pub(crate) fn is_named(&self, handshake: &Handshake) -> bool {
        match self {
            Self::Header(name) => handshake.header(name).is_some(),
            _ => true,
        }
    }
}

fn host(authority: &str) -> String {
    let host = match authority.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    host.to_ascii_lowercase()
}

fn decode_path(path: &str) -> Cow<'_, str> {
    if !path.contains(';') {
        return decode(path);
    }
    let segments: Vec<_> = path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    Cow::Owned(decode(&segments.join("/")).into_owned())
}

/// An encoded `/` stays encoded, so that it separates no segments, and so does `%`, so that `%252F` differs from it.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match encoded_byte(after).filter(|_| *first == b'%') {
            Some(byte) => {
                rest = after.get(2..).unwrap_or_default();
                match byte {
                    b'/' => decoded.extend_from_slice(b"%2F"),
                    b'%' => decoded.extend_from_slice(b"%25"),
                    _ => decoded.push(byte),
                }
            }
            None => decoded.push(*first),
        }
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}

/// The byte that the two hexadecimal digits at the start of `text` stand for.
fn encoded_byte(text: &[u8]) -> Option<u8> {
    let [high, low, ..] = text else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(*high)? << 4 | digit(*low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handshake() -> Handshake {
        Handshake {
            method: "GET".into(),
            authority: "Chat.Example.com:8080".into(),
            path: "/ws;v=1/caf%C3%A9%2fbar%3B/50%25+;x".into(),
            query: Some("room=a+b%26c&flag&room=d&%72oom=e&=x&&bad=%zz%4".into()),
            headers: vec![
                ("x-tenant".into(), b"gold".to_vec()),
                ("cookie".into(), b"session=abc==; theme = dark;broken; Theme=x".to_vec()),
                ("x-tenant".into(), vec![0xff]),
                ("x_tenant".into(), b"lead".to_vec()),
                ("cookie".into(), b"theme=light".to_vec()),
            ],
            client_address: "10.0.0.1".into(),
            ..Handshake::default()
        }
    }

    #[test]
    fn a_parameter_yields_every_value_under_its_name_in_order() {
        for (parameter, expected) in [
            (Parameter::Query("room".into()), vec!["a+b&c", "d", "e"]),
            (Parameter::Query("flag".into()), vec![""]),
            (Parameter::Query("Room".into()), vec![]),
            (Parameter::Query("bad".into()), vec!["%zz%4"]),
            (Parameter::Header("x-tenant".into()), vec!["gold", "\u{fffd}", "lead"]),
            (Parameter::Header("x-absent".into()), vec![]),
            (Parameter::Cookie("theme".into()), vec!["dark", "light"]),
            (Parameter::Cookie("session".into()), vec!["abc=="]),
            (Parameter::Cookie("broken".into()), vec![]),
            (Parameter::Host, vec!["chat.example.com"]),
            (Parameter::Ip, vec!["10.0.0.1"]),
            (Parameter::Method, vec!["GET"]),
        ] {
            let handshake = handshake();
            assert_eq!(parameter.values(&handshake), expected, "{parameter:?}");
        }
    }

    #[test]
    fn an_encoded_slash_in_a_path_separates_nothing() {
        assert_eq!(Parameter::Path.values(&handshake()), ["/ws/café%2Fbar;/50%25+"]);
    }

    #[test]
    fn a_host_loses_its_port_and_brackets() {
        for (authority, expected) in
            [("example.com", "example.com"), ("[::1]:80", "::1"), ("[FD00::1]", "fd00::1"), (":80", ""), ("", "")]
        {
            assert_eq!(host(authority), expected);
        }
    }
}
