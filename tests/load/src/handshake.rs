//! The opening handshake of RFC 6455 section 4, both sides, with the least HTTP that every proxy accepts.

use sha1::{Digest, Sha1};

use crate::random::Random;

/// What a client asks for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The Host header.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Further header lines.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// Appends the request to `bytes` and returns the `Sec-WebSocket-Accept` that must come back.
    pub fn write(&self, random: &mut Random, bytes: &mut Vec<u8>) -> String {
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&random.word().to_be_bytes());
        nonce[8..].copy_from_slice(&random.word().to_be_bytes());
        let key = base64(&nonce);
        let mut text = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {key}\r\n",
            self.path, self.host
        );
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        bytes.extend_from_slice(text.as_bytes());
        accept(&key)
    }
}

/// The start line and headers of one HTTP/1.1 message, borrowed from the bytes read so far.
#[derive(Debug)]
pub struct Head<'a> {
    text: &'a str,
    /// Bytes of the head, its empty line included.
    pub length: usize,
}

impl<'a> Head<'a> {
    /// Finds a whole head at the start of `bytes`; text that is not UTF-8 never completes.
    pub fn find(bytes: &'a [u8]) -> Option<Self> {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        Some(Self { text: std::str::from_utf8(&bytes[..end]).ok()?, length: end + 4 })
    }

    /// The value of the first header called `name`.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.text.split("\r\n").skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    /// The target of a request's line.
    pub fn target(&self) -> &'a str {
        self.text.split(' ').nth(1).unwrap_or_default()
    }

    /// The status of a response's status line.
    pub fn status(&self) -> Option<u16> {
        self.text.split(' ').nth(1)?.parse().ok()
    }
}

/// The header of extensions, in offers and answers.
pub const EXTENSIONS: &str = "Sec-WebSocket-Extensions";

/// `Sec-WebSocket-Accept` for a key (RFC 6455 section 4.2.2).
pub fn accept(key: &str) -> String {
    let mut hash = Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(&hash.finalize())
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let byte = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= group.len() {
                text.push(char::from(ALPHABET[(bits >> (18 - 6 * place) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_value_is_that_of_the_example_in_the_rfc() {
        assert_eq!(accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let bytes = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n\x81";
        let head = Head::find(bytes).unwrap();
        assert_eq!((head.status(), head.header("Upgrade"), head.length), (Some(101), Some("websocket"), 56));
        assert!(Head::find(&bytes[..55]).is_none());
    }
}
