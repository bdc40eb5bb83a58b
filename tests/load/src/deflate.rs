//! permessage-deflate (RFC 7692), as much of it as a load tool needs: an offer, an answer, messages that are compressed
//! ahead of time, and an inflater.
//!
//! What the generator sends never refers to an earlier message, which both modes allow, and the echo server sends the
//! compressed bytes back as they are, which makes it a correct peer as long as both directions have the same parameters.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use serde::Serialize;

use crate::frame::FrameError;

/// What the client offers, and insists on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Deflate {
    /// Each message is compressed by itself, in both directions (RFC 7692 section 7.1.1).
    NoContextTakeover,
    /// A message may refer to those before it, as browsers have it.
    ContextTakeover,
}

impl Deflate {
    /// The value of `Sec-WebSocket-Extensions` in the request.
    pub fn offer(self) -> &'static str {
        match self {
            Self::NoContextTakeover => WITHOUT_CONTEXT,
            Self::ContextTakeover => "permessage-deflate; client_max_window_bits",
        }
    }

    /// Whether the answer to that offer agrees to it, with parameters that this tool can keep.
    pub fn is_agreed_by(self, answer: &str) -> bool {
        let without_context = |side: &str| parameters(answer).any(|parameter| parameter == side);
        let (server, client) = (without_context(SERVER), without_context(CLIENT));
        let window = parameters(answer).any(|parameter| parameter.contains("_window_bits"));
        let agreed = answer.split(';').next().is_some_and(|name| name.trim() == NAME) && !answer.contains(',');
        agreed && !window && (self == Self::ContextTakeover || (server && client))
    }
}

/// A server's answer to an offer: the first element that it can keep.
///
/// Both directions get the same parameters, because what came in is what goes out.
pub fn answer(offers: &str) -> Option<&'static str> {
    let known = |offer: &&str| offer.split(';').next().is_some_and(|name| name.trim() == NAME);
    let keeps = |offer: &&str| !parameters(offer).any(|parameter| parameter.starts_with("server_max_window_bits"));
    let offer = offers.split(',').filter(known).find(keeps)?;
    Some(if parameters(offer).any(|parameter| parameter == SERVER) { WITHOUT_CONTEXT } else { NAME })
}

fn parameters(element: &str) -> impl Iterator<Item = &str> {
    element.split(';').skip(1).map(str::trim)
}

/// `plain` as the payload of a message, or the end of one, that refers to nothing before it.
pub fn deflate(plain: &[u8]) -> Vec<u8> {
    let mut stream = Compress::new(Compression::default(), false);
    let mut bytes = Vec::with_capacity(plain.len() + plain.len() / 8 + 64);
    // One call is enough: the room is more than the worst case.
    let _ = stream.compress_vec(plain, &mut bytes, FlushCompress::Sync);
    bytes.truncate(bytes.len().saturating_sub(TAIL.len()));
    bytes
}

/// Appends `bytes`, at most 65,535, as a stored block (RFC 1951 section 3.2.4), after which another block may follow.
pub fn store(bytes: &[u8], target: &mut Vec<u8>) {
    target.extend_from_slice(&stored_head(bytes.len()));
    target.extend_from_slice(bytes);
}

/// How a stored block of so many bytes begins when it starts on a byte's boundary and is not the last one.
pub fn stored_head(length: usize) -> [u8; 5] {
    let length = length as u16;
    let ([low, high], [low_inverse, high_inverse]) = (length.to_le_bytes(), (!length).to_le_bytes());
    [0, low, high, low_inverse, high_inverse]
}

/// The receiving end of a compressed direction.
#[derive(Debug)]
pub struct Inflater {
    stream: Decompress,
    plain: Vec<u8>,
}

impl Inflater {
    /// One that has seen nothing.
    pub fn new() -> Self {
        Self { stream: Decompress::new(false), plain: Vec::new() }
    }

    /// Forgets what it has seen.
    pub fn reset(&mut self) {
        self.stream.reset(false);
    }

    /// Inflates a whole message of at most `most` bytes.
    pub fn message(&mut self, payload: &[u8], most: usize) -> Result<&[u8], FrameError> {
        self.plain.clear();
        self.plain.reserve(most + 1);
        for part in [payload, &TAIL] {
            let before = self.stream.total_in();
            let status = self.stream.decompress_vec(part, &mut self.plain, FlushDecompress::Sync);
            let used = self.stream.total_in() - before;
            if self.plain.len() > most {
                return Err(FrameError::TooLong(self.plain.len() as u64));
            }
            if used != part.len() as u64 || !matches!(status, Ok(Status::Ok | Status::BufError)) {
                return Err(FrameError::NotDeflated);
            }
        }
        Ok(&self.plain)
    }
}

impl Default for Inflater {
    fn default() -> Self {
        Self::new()
    }
}

const NAME: &str = "permessage-deflate";
const SERVER: &str = "server_no_context_takeover";
const CLIENT: &str = "client_no_context_takeover";
const WITHOUT_CONTEXT: &str = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
/// What a sender takes off the end of every message, and a receiver puts back (RFC 7692 section 7.2).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_and_a_deflated_part_inflate_to_the_whole() {
        let (head, body) = (b"a head that is never the same twice ", b"body body body body body body");
        let mut message = Vec::new();
        store(head, &mut message);
        assert_eq!(message.len(), 5 + head.len());
        message.extend_from_slice(&deflate(body));
        let mut inflater = Inflater::new();
        for _ in 0..3 {
            let plain = inflater.message(&message, 100).unwrap();
            assert_eq!(plain, [&head[..], body].concat());
        }
    }

    #[test]
    fn the_hello_of_rfc_7692_inflates_with_and_without_context() {
        // Section 7.2.3.1 and 7.2.3.2: the second one refers to the first.
        let (first, second) = ([0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], [0xf2, 0x00, 0x11, 0x00, 0x00]);
        let mut inflater = Inflater::new();
        assert_eq!(inflater.message(&first, 5).unwrap(), b"Hello");
        assert_eq!(inflater.message(&second, 5).unwrap(), b"Hello");
        inflater.reset();
        assert_eq!(inflater.message(&first, 5).unwrap(), b"Hello");
        inflater.reset();
        assert!(inflater.message(&second, 5).is_err());
    }

    #[test]
    fn what_inflates_to_more_than_was_sent_is_an_error() {
        assert_eq!(Inflater::new().message(&deflate(&[b'x'; 1000]), 999), Err(FrameError::TooLong(1000)));
    }

    #[test]
    fn an_offer_is_answered_with_parameters_that_are_the_same_in_both_directions() {
        for mode in [Deflate::NoContextTakeover, Deflate::ContextTakeover] {
            assert!(mode.is_agreed_by(answer(mode.offer()).unwrap()));
        }
        assert_eq!(answer("permessage-deflate; server_no_context_takeover"), Some(WITHOUT_CONTEXT));
        assert_eq!(answer("permessage-deflate; server_max_window_bits=9, permessage-deflate"), Some(NAME));
        assert_eq!(answer("x-webkit-deflate-frame"), None);
        assert!(!Deflate::NoContextTakeover.is_agreed_by(NAME));
        assert!(!Deflate::ContextTakeover.is_agreed_by("permessage-deflate; client_max_window_bits=9"));
    }
}
