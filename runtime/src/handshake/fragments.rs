//! Which requests of a connection have a fragment in their target, which `Uri` leaves out without a word.
//!
//! The bytes are looked at on their way to hyper. Where one request ends and the next begins is known as long as none has
//! a body; behind one that has, no fragment is seen.

use std::collections::VecDeque;

/// In the extensions of a request whose target has a fragment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fragment;

/// What was seen of the requests that are not taken yet.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    at: At,
    seen: VecDeque<bool>,
}

/// Where the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    RequestLine { is_empty: bool, has_fragment: bool },
    Field { is_empty: bool },
    Nowhere,
}

impl Default for At {
    fn default() -> Self {
        Self::RequestLine { is_empty: true, has_fragment: false }
    }
}

impl Fragments {
    /// Looks at what was read.
    pub(super) fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.at = match (self.at, byte) {
                (At::Nowhere, _) => return,
                // Empty lines before a request are none of its own (RFC 9112 section 2.2).
                (at @ At::RequestLine { is_empty: true, .. }, b'\r' | b'\n') => at,
                (At::RequestLine { has_fragment, .. }, b'\n') => {
                    self.seen.push_back(has_fragment);
                    At::Field { is_empty: true }
                }
                (At::RequestLine { has_fragment, .. }, byte) => {
                    At::RequestLine { is_empty: false, has_fragment: has_fragment || *byte == b'#' }
                }
                (At::Field { is_empty: true }, b'\n') => At::default(),
                (At::Field { .. }, b'\n') => At::Field { is_empty: true },
                (at @ At::Field { .. }, b'\r') => at,
                (At::Field { .. }, _) => At::Field { is_empty: false },
            };
        }
    }

    /// Whether the next request has one.
    pub(super) fn take(&mut self, has_body: bool) -> bool {
        let has_fragment = self.seen.pop_front().unwrap_or(false);
        if has_body {
            *self = Self { at: At::Nowhere, seen: VecDeque::new() };
        }
        has_fragment
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_request_has_its_own() {
        let mut fragments = Fragments::default();
        fragments.read(b"\r\nGET /a HTTP/1.1\r\nx: #\r\n\r\nGET /b#c HTTP/1.1\nx: y\n\n\r\nGET /d HTTP/1.1\r\n");
        assert_eq!([false, true, false].map(|_| fragments.take(false)), [false, true, false]);
        fragments.read(b"x: #\r\n\r\nPOST /e# HTTP/1.1\r\ncontent-length: 5\r\n\r\n");
        assert!(fragments.take(true));
        fragments.read(b"#\n\n#\nGET /# HTTP/1.1\r\n");
        assert!(!fragments.take(false));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_split_of_the_bytes_sees_the_same(text in "[#a\r\n]{0,40}", at in 0..40_usize) {
            let (mut whole, mut split) = (Fragments::default(), Fragments::default());
            whole.read(text.as_bytes());
            let (first, second) = text.as_bytes().split_at(at.min(text.len()));
            split.read(first);
            split.read(second);
            prop_assert_eq!((whole.at, whole.seen), (split.at, split.seen));
        }
    }
}
