//! Header fields as RFC 9110 section 5.6 writes them: lists, tokens, and which of them end at the next hop.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::field_names;
use super::spelling::spell;
use crate::ws::cost;

/// The fields of a head that was parsed from `bytes`, with which the values share memory; `None` when a name or a value
/// is not valid.
pub fn parsed(bytes: &Bytes, lines: &[httparse::Header<'_>]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(lines.len() + ADDED);
    for line in lines {
        let name = HeaderName::from_bytes(line.name.as_bytes()).ok()?;
        // An empty value is a slice of nowhere.
        let value = if line.value.is_empty() { Bytes::new() } else { bytes.slice_ref(line.value) };
        headers.append(name, HeaderValue::from_maybe_shared(value).ok()?);
    }
    Some(headers)
}

/// The length that a field tells: digits and nothing else (RFC 9110 section 8.6).
pub fn length(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// Appends the fields as lines, and the empty line that ends a head (RFC 9112 section 2.1).
pub fn write<'a>(fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>, wire: &mut Vec<u8>) {
    write_lines(fields, wire);
    wire.extend_from_slice(b"\r\n");
}

/// Appends the fields as lines.
pub fn write_lines<'a>(fields: impl IntoIterator<Item = (&'a HeaderName, &'a HeaderValue)>, wire: &mut Vec<u8>) {
    for (name, value) in fields {
        let start = wire.len();
        wire.extend_from_slice(name.as_str().as_bytes());
        if let Some(name) = wire.get_mut(start..) {
            spell(name);
        }
        wire.extend_from_slice(b": ");
        wire.extend_from_slice(value.as_bytes());
        wire.extend_from_slice(b"\r\n");
    }
}

/// Room for what is added to most heads.
const ADDED: usize = 2;

/// The most fields of a head that is parsed without hyper; browsers send about twenty.
pub const MOST: usize = 64;

/// Whether one of the elements of a list field is this token, without regard to case.
pub fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value
            .as_bytes()
            .split(|byte| *byte == b',')
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// A field that may come in several lines as one value, joined as RFC 9110 section 5.3 allows; `None` when it is
/// absent.
pub fn combined(headers: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let first = values.next()?;
    let mut joined: Option<Vec<u8>> = None;
    for value in values {
        let joined = joined.get_or_insert_with(|| first.as_bytes().to_vec());
        joined.extend_from_slice(b", ");
        joined.extend_from_slice(value.as_bytes());
    }
    match joined {
        None => Some(first.clone()),
        Some(joined) => HeaderValue::from_maybe_shared(joined).ok(),
    }
}

/// The elements of a list, trimmed; empty ones are skipped, as RFC 9110 section 5.6.1 asks of a recipient.
pub fn elements(list: &str) -> impl Iterator<Item = &str> {
    let elements = list.split(',').inspect(|element| cost::spend(element.len() + 1));
    elements.map(|element| element.trim_matches([' ', '\t'])).filter(|element| !element.is_empty())
}

/// Whether a text is a token (RFC 9110 section 5.6.2).
pub fn is_token(text: &str) -> bool {
    cost::spend(text.len());
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Removes the fields that are for the next hop only (RFC 9110 section 7.6.1), those that `Connection` names among
/// them, the credentials meant for a proxy, and those of the opening handshake, which each hop makes anew (RFC 6455
/// section 4).
pub fn remove_for_hop(headers: &mut HeaderMap) {
    remove_for_hop_and(headers, |_| false);
}

/// The same, and all fields of names for which this holds.
pub fn remove_for_hop_and(headers: &mut HeaderMap, is_to_go: impl Fn(&str) -> bool) {
    let lists: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    // An element that is no name takes nothing from the others.
    let elements = lists.iter().flat_map(|list| list.as_bytes().split(|byte| *byte == b','));
    for name in elements.filter_map(|element| HeaderName::from_bytes(element.trim_ascii()).ok()) {
        headers.remove(name);
    }
    remove_where(headers, |name| field_names::is_hop_by_hop(name) || field_names::is_handshake(name) || is_to_go(name));
}

/// The names in which an underscore stands, for [`remove_all`].
pub fn with_underscores(headers: &HeaderMap) -> Vec<HeaderName> {
    headers.keys().filter(|name| name.as_str().contains('_')).cloned().collect()
}

/// Removes the fields of a name, also where it is spelled with underscores: a server that makes no difference between the
/// two would see what a client wrote in the place of what was to be there.
pub fn remove_all(headers: &mut HeaderMap, name: &HeaderName, with_underscores: &[HeaderName]) {
    let folded = field_names::folded(name.as_str());
    headers.remove(name);
    headers.remove(&*folded);
    for alias in with_underscores.iter().filter(|alias| field_names::folded(alias.as_str()) == folded) {
        headers.remove(alias);
    }
}

/// Removes what is about one connection of HTTP/1.1 and has no place in any later version (RFC 9113 section 8.2.2).
pub fn remove_connection_specific(headers: &mut HeaderMap) {
    for name in
        [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE, KEEP_ALIVE, PROXY_CONNECTION, header::TE]
    {
        headers.remove(name);
    }
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// Removes all fields of names for which this holds.
fn remove_where(headers: &mut HeaderMap, is_to_go: impl Fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_to_go(name.as_str())).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_token_is_found_in_any_line_and_any_case_but_only_whole() {
        let headers = headers(&[("connection", "keep-alive"), ("connection", " foo ,\tUpGrade")]);
        assert!(has_token(&headers, &header::CONNECTION, "upgrade"));
        assert!(has_token(&headers, &header::CONNECTION, "keep-alive"));
        assert!(!has_token(&headers, &header::CONNECTION, "up"));
        assert!(!has_token(&headers, &header::UPGRADE, "websocket"));
    }

    #[test]
    fn hop_by_hop_fields_go_and_so_does_what_connection_names() {
        let mut headers = headers(&[
            ("connection", "Upgrade, X-Secret"),
            ("connection", "x-other"),
            ("upgrade", "websocket"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic eA=="),
            ("x-secret", "1"),
            ("x-secret", "2"),
            ("x-other", "3"),
            ("cookie", "a=b"),
            ("cookie", "c=d"),
        ]);
        remove_for_hop(&mut headers);
        assert_eq!(headers.get_all("cookie").iter().count(), 2);
        assert_eq!(headers.len(), 2);
    }

    #[test]
    fn what_connection_names_goes_whatever_else_stands_in_the_list() {
        let mut headers = headers(&[("x-secret", "1"), ("x-other", "2"), ("proxy_connection", "x"), ("x-end", "3")]);
        let list = HeaderValue::from_bytes(b"\xff, X-Secret,, a b ,x-other").unwrap();
        headers.insert(header::CONNECTION, list);
        remove_for_hop(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["x-end"]);
    }

    #[test]
    fn several_lines_of_a_list_are_one_list() {
        let headers = headers(&[("sec-websocket-protocol", "a, b"), ("sec-websocket-protocol", "c")]);
        assert_eq!(combined(&headers, &header::SEC_WEBSOCKET_PROTOCOL).unwrap(), "a, b, c");
        assert_eq!(elements("a,, b ,\tc,").collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
