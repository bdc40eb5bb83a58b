//! What hyper does not tell of the head of a request: that its target has a fragment, which `Uri` leaves out without a word,
//! and that its body is framed in two ways at once, of which hyper takes one and forgets the other.
//!
//! The bytes are looked at on their way to hyper. Where a request ends and the next begins is known by its framing, which
//! is read here as far as that needs; whatever is out of order is hyper's to refuse, and nothing is looked at behind it.

use std::collections::VecDeque;

use memchr::memchr;

/// In the extensions of a request: what is odd about its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Oddities {
    /// Its target has a fragment.
    pub(super) has_fragment: bool,
    /// It has both `Content-Length` and `Transfer-Encoding`, so that readers may differ about where it ends (RFC 9112
    /// section 6.1).
    pub(super) is_ambiguous: bool,
}

impl Oddities {
    /// Whether there are any.
    pub(super) fn is_odd(self) -> bool {
        self != Self::default()
    }
}

/// What was seen of the requests that are not taken yet.
#[derive(Debug, Default)]
pub(super) struct Heads {
    at: At,
    head: Head,
    /// The start of a line that has not ended.
    line: Vec<u8>,
    /// Whether that line is longer than what is kept of it.
    is_long: bool,
    seen: VecDeque<Oddities>,
}

/// What is known of the head that is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Head {
    oddities: Oddities,
    length: Option<u64>,
    is_chunked: bool,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    RequestLine,
    Field,
    /// So many bytes of a body are left.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk are left, with the end of its line.
    Chunk(u64),
    Trailer,
    Nowhere,
}

impl Heads {
    /// Looks at what was read.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.at {
                At::Nowhere => return,
                At::Body(left) | At::Chunk(left) => {
                    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= u64::try_from(count).unwrap_or_default();
                    bytes = bytes.get(count..).unwrap_or_default();
                    if *left == 0 {
                        self.at = if matches!(self.at, At::Body(_)) { At::RequestLine } else { At::ChunkSize };
                    }
                }
                At::RequestLine | At::Field | At::ChunkSize | At::Trailer => {
                    let end = memchr(b'\n', bytes);
                    let (line, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    bytes = rest;
                    if self.at == At::RequestLine {
                        self.head.oddities.has_fragment |= line.contains(&b'#');
                    }
                    if end.is_some() && self.line.is_empty() {
                        self.end(line, false);
                        continue;
                    }
                    let room = LINE.saturating_sub(self.line.len());
                    self.is_long |= line.len() > room;
                    self.line.extend_from_slice(line.get(..line.len().min(room)).unwrap_or_default());
                    if end.is_some() {
                        let (line, is_long) = (std::mem::take(&mut self.line), std::mem::take(&mut self.is_long));
                        self.end(&line, is_long);
                    }
                }
            }
        }
    }

    /// A line has ended; one that is too long is known by its start.
    fn end(&mut self, line: &[u8], is_long: bool) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        self.at = match self.at {
            // Empty lines before a request are none of its own (RFC 9112 section 2.2).
            At::RequestLine if line.is_empty() => At::RequestLine,
            At::RequestLine => At::Field,
            At::Field if line.is_empty() => self.end_of_head(),
            At::Field => {
                self.field(line, is_long);
                At::Field
            }
            At::ChunkSize => match chunk_size(line) {
                Some(0) => At::Trailer,
                // With the end of the line behind it.
                Some(size) => size.checked_add(2).map_or(At::Nowhere, At::Chunk),
                None => At::Nowhere,
            },
            At::Trailer if line.is_empty() => At::RequestLine,
            at => at,
        };
    }

    fn field(&mut self, line: &[u8], is_long: bool) {
        // Few fields begin with these, and all that matter do.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return;
        }
        let Some(colon) = memchr(b':', line) else { return };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
            self.head.oddities.is_ambiguous |= self.head.is_chunked || is_long;
            self.head.length = Some(length.unwrap_or(u64::MAX));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.head.oddities.is_ambiguous |= self.head.length.is_some() || is_long;
            self.head.is_chunked = true;
        }
    }

    fn end_of_head(&mut self) -> At {
        let Head { oddities, length, is_chunked } = std::mem::take(&mut self.head);
        self.seen.push_back(oddities);
        match length {
            _ if is_chunked => At::ChunkSize,
            None | Some(0) => At::RequestLine,
            Some(length) => At::Body(length),
        }
    }

    /// What is odd about the next request.
    pub(super) fn take(&mut self) -> Oddities {
        self.seen.pop_front().unwrap_or_default()
    }
}

/// The size in the line before a chunk, which may be followed by extensions (RFC 9112 section 7.1.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| !byte.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What is kept of a line that comes in pieces: no name that matters is longer, nor is a value that hyper takes.
const LINE: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn odd(has_fragment: bool, is_ambiguous: bool) -> Oddities {
        Oddities { has_fragment, is_ambiguous }
    }

    #[test]
    fn each_request_has_its_own() {
        let mut heads = Heads::default();
        heads
            .read(b"\r\nGET /a HTTP/1.1\r\nx: #\r\n\r\nGET /b#c HTTP/1.1\nx: y\n\n\r\nGET /d HTTP/1.1\r\nx: #\r\n\r\n");
        assert_eq!([(); 3].map(|()| heads.take().has_fragment), [false, true, false]);
    }

    #[test]
    fn what_follows_a_body_is_looked_at_again() {
        for body in [
            "content-length: 9\r\n\r\n#\n\n#\nGET ",
            "Transfer-Encoding: chunked\r\n\r\n4;x=#\r\n#\n\n#\r\n0A\r\n0123456789\r\n0\r\nx: #\r\n\r\n",
            "Content-Length: 0\r\n\r\n",
        ] {
            let mut heads = Heads::default();
            heads.read(format!("POST /e HTTP/1.1\r\n{body}GET /f# HTTP/1.1\r\n\r\n").as_bytes());
            assert_eq!([heads.take(), heads.take()], [odd(false, false), odd(true, false)], "{body:?}");
        }
    }

    #[test]
    fn two_framings_are_seen_in_any_order_and_any_case() {
        for fields in [
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "Transfer-Encoding: chunked\r\nx: y\r\nCONTENT-LENGTH:0\r\n",
            "content-length: 5\r\ntransfer-encoding: x\r\n",
        ] {
            let mut heads = Heads::default();
            heads.read(format!("POST / HTTP/1.1\r\n{fields}\r\n").as_bytes());
            assert_eq!(heads.take(), odd(false, true), "{fields:?}");
        }
        let mut heads = Heads::default();
        heads.read(b"POST / HTTP/1.1\r\ncontent-length: 5\r\ncontent-type: transfer-encoding: chunked\r\n\r\n");
        assert_eq!(heads.take(), odd(false, false));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_split_of_the_bytes_sees_the_same(text in "(#|a|\r|\n|4\r\n|content-length:3\r\n|transfer-encoding:x\r\n){0,40}", at in 0..400_usize) {
            let (mut whole, mut split) = (Heads::default(), Heads::default());
            whole.read(text.as_bytes());
            let (first, second) = text.as_bytes().split_at(at.min(text.len()));
            split.read(first);
            split.read(second);
            prop_assert_eq!((whole.at, whole.head, whole.seen), (split.at, split.head, split.seen));
        }
    }
}
