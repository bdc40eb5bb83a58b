//! Texts as parts of urls (RFC 3986 section 2.1).

use std::fmt::Write;

/// Appends a text, and encodes each byte of it that does not stay.
pub fn escape(url: &mut String, text: &str, stays: fn(u8) -> bool) {
    for byte in text.bytes() {
        if stays(byte) {
            url.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(url, "%{byte:02X}");
        }
    }
}

/// A text as a value in a query, or as a segment of a path: only what is unreserved stays (RFC 3986 section 2.3).
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    escape(&mut escaped, text, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte));
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_unreserved_stays_in_a_value() {
        assert_eq!(escaped("aZ09-._~"), "aZ09-._~");
        assert_eq!(escaped("a b/c?d=e&f#%\u{e9}"), "a%20b%2Fc%3Fd%3De%26f%23%25%C3%A9");
    }
}
