//! The messages that are sent, each of them a pure function of its connection, its sequence number and its size.
//!
//! That is what makes every echo checkable without keeping what was sent: the payload names itself, and the rest of it
//! is a window into a fixed pattern whose place depends on both numbers. Text payloads are JSON, so that a filter that
//! parses has something to parse.
//!
//! Compressible payloads hold JSON records instead of the pattern. They go out as a stored block with what names the
//! payload and a block of records that was compressed ahead of time, so that sending one costs a copy.

mod records;

use crate::deflate;
use crate::frame::Opcode;
use crate::random::Random;

/// Which kinds of message a connection sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mix {
    /// JSON text only.
    Text,
    /// Binary only.
    Binary,
    /// Text and binary in turn.
    Both,
}

/// A size too small to hold connection and sequence number.
#[derive(Debug, thiserror::Error)]
#[error("{kind} messages have at least {least} bytes, not {size}")]
pub struct TooSmall {
    kind: &'static str,
    least: usize,
    size: usize,
}

/// All payloads of a run.
#[derive(Debug)]
pub struct Payloads {
    size: usize,
    mix: Mix,
    letters: Vec<u8>,
    bytes: Vec<u8>,
    /// Records, and behind them the same with the payload's tail in compressed form; empty unless compressible.
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Payloads {
    /// Payloads of `size` bytes each.
    pub fn new(size: usize, mix: Mix) -> Result<Self, TooSmall> {
        if mix != Mix::Binary && size < TEXT_HEAD + TEXT_TAIL.len() {
            return Err(TooSmall { kind: "text", least: TEXT_HEAD + TEXT_TAIL.len(), size });
        }
        if size < BINARY_HEAD {
            return Err(TooSmall { kind: "binary", least: BINARY_HEAD, size });
        }
        let mut random = Random::new(0x7469_6465);
        let bytes: Vec<u8> = (0..size + PLACES).map(|_| random.byte()).collect();
        let letters = bytes.iter().map(|byte| ALPHABET[usize::from(byte % 64)]).collect();
        Ok(Self { size, mix, letters, bytes, records: Vec::new() })
    }

    /// Text of `size` bytes each that is compressed on the wire.
    pub fn compressed(size: usize) -> Result<Self, TooSmall> {
        let least = TEXT_HEAD + records::LEAST + TEXT_TAIL.len();
        let beyond = size.checked_sub(least).ok_or(TooSmall { kind: "compressed", least, size })?;
        let room = beyond + records::LEAST;
        let mut random = Random::new(0x6a73_6f6e);
        let record = |_| {
            let body = records::body(room, &mut random);
            let compressed = deflate::deflate(&[&body, TEXT_TAIL].concat());
            (body, compressed)
        };
        let records = (0..COMPRESSED_PLACES).map(record).collect();
        Ok(Self { size, mix: Mix::Text, letters: Vec::new(), bytes: Vec::new(), records })
    }

    /// Whether messages are compressed on the wire.
    pub fn are_compressed(&self) -> bool {
        !self.records.is_empty()
    }

    /// The most bytes that a message may have on the wire, whoever compressed it.
    pub fn longest(&self) -> usize {
        if self.are_compressed() { self.size + self.size / 8 + 64 } else { self.size }
    }

    /// Bytes of each payload, uncompressed.
    pub fn size(&self) -> usize {
        self.size
    }

    /// The kind of the message with this sequence number.
    pub fn opcode(&self, sequence: u64) -> Opcode {
        match self.mix {
            Mix::Text => Opcode::Text,
            Mix::Binary => Opcode::Binary,
            Mix::Both if sequence.is_multiple_of(2) => Opcode::Text,
            Mix::Both => Opcode::Binary,
        }
    }

    /// Appends the message as it goes on the wire.
    pub fn write(&self, connection: u32, sequence: u64, bytes: &mut Vec<u8>) {
        let (head, pattern, tail) = self.parts(connection, sequence);
        if let Some((_, compressed)) = self.record(connection, sequence) {
            deflate::store(head.bytes(), bytes);
            bytes.extend_from_slice(compressed);
        } else {
            bytes.extend_from_slice(head.bytes());
            bytes.extend_from_slice(pattern);
            bytes.extend_from_slice(tail);
        }
    }

    /// Bytes of the message on the wire.
    pub fn wire_size(&self, connection: u32, sequence: u64) -> usize {
        let record = self.record(connection, sequence);
        record.map_or(self.size, |(_, compressed)| deflate::stored_head(TEXT_HEAD).len() + TEXT_HEAD + compressed.len())
    }

    /// Whether `wire` is that message compressed just as it was sent.
    pub fn is_as_sent(&self, connection: u32, sequence: u64, wire: &[u8]) -> bool {
        self.record(connection, sequence).is_some_and(|(_, compressed)| {
            let head = Head::text(connection, sequence);
            wire.strip_prefix(&deflate::stored_head(TEXT_HEAD))
                .and_then(|rest| rest.strip_prefix(head.bytes()))
                .is_some_and(|rest| rest == compressed)
        })
    }

    /// Whether `payload` is exactly that message.
    pub fn matches(&self, connection: u32, sequence: u64, payload: &[u8]) -> bool {
        let (head, pattern, tail) = self.parts(connection, sequence);
        payload
            .strip_prefix(head.bytes())
            .and_then(|rest| rest.strip_suffix(tail))
            .is_some_and(|middle| middle == pattern)
    }

    /// The connection and sequence number that an undamaged payload names.
    pub fn identify(&self, opcode: Opcode, payload: &[u8]) -> Option<(u32, u64)> {
        let (connection, sequence) = match opcode {
            Opcode::Text => {
                let hexadecimal = |range| std::str::from_utf8(payload.get(range)?).ok();
                let connection = u32::from_str_radix(hexadecimal(6..14)?, 16).ok()?;
                (connection, u64::from_str_radix(hexadecimal(21..37)?, 16).ok()?)
            }
            _ => {
                let (connection, rest) = payload.split_first_chunk::<4>()?;
                (u32::from_be_bytes(*connection), u64::from_be_bytes(*rest.first_chunk::<8>()?))
            }
        };
        (self.opcode(sequence) == opcode && self.matches(connection, sequence, payload))
            .then_some((connection, sequence))
    }

    fn parts(&self, connection: u32, sequence: u64) -> (Head, &[u8], &'static [u8]) {
        if let Some((record, _)) = self.record(connection, sequence) {
            return (Head::text(connection, sequence), record, TEXT_TAIL);
        }
        let place = place(connection, sequence, PLACES);
        if self.opcode(sequence) == Opcode::Text {
            let length = self.size - TEXT_HEAD - TEXT_TAIL.len();
            (Head::text(connection, sequence), &self.letters[place..place + length], TEXT_TAIL)
        } else {
            (Head::binary(connection, sequence), &self.bytes[place..place + self.size - BINARY_HEAD], b"")
        }
    }

    fn record(&self, connection: u32, sequence: u64) -> Option<&(Vec<u8>, Vec<u8>)> {
        self.records.get(place(connection, sequence, self.records.len()))
    }
}

fn place(connection: u32, sequence: u64, places: usize) -> usize {
    let place = u64::from(connection).wrapping_mul(31).wrapping_add(sequence);
    place.checked_rem(places as u64).unwrap_or(0) as usize
}

/// The part of a payload that names it, on the stack.
struct Head {
    buffer: [u8; TEXT_HEAD],
    length: usize,
}

impl Head {
    fn text(connection: u32, sequence: u64) -> Self {
        let mut buffer = *b"{\"c\":\"00000000\",\"s\":\"0000000000000000\",\"p\":\"";
        write_hexadecimal(&mut buffer[6..14], u64::from(connection));
        write_hexadecimal(&mut buffer[21..37], sequence);
        Self { buffer, length: TEXT_HEAD }
    }

    fn binary(connection: u32, sequence: u64) -> Self {
        let mut buffer = [0; TEXT_HEAD];
        buffer[..4].copy_from_slice(&connection.to_be_bytes());
        buffer[4..BINARY_HEAD].copy_from_slice(&sequence.to_be_bytes());
        Self { buffer, length: BINARY_HEAD }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

fn write_hexadecimal(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number % 16) as usize];
        number /= 16;
    }
}

const TEXT_HEAD: usize = 44;
const TEXT_TAIL: &[u8] = b"\"}";
const BINARY_HEAD: usize = 12;
/// How many places the window can take; a prime, so that neighbours of a connection and of a sequence differ.
const PLACES: usize = 251;
/// The same for compressed payloads, each of which is kept.
const COMPRESSED_PLACES: usize = 61;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_names_itself_in_both_forms() {
        let payloads = Payloads::new(64, Mix::Both).unwrap();
        for sequence in [0, 1, 0xffff_ffff_fffe, 0xffff_ffff_ffff] {
            let mut bytes = Vec::new();
            payloads.write(0xbeef, sequence, &mut bytes);
            assert_eq!(bytes.len(), 64);
            assert_eq!(payloads.identify(payloads.opcode(sequence), &bytes), Some((0xbeef, sequence)));
        }
    }

    #[test]
    fn text_is_json() {
        let payloads = Payloads::new(100, Mix::Text).unwrap();
        let mut bytes = Vec::new();
        payloads.write(7, 8, &mut bytes);
        let json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        assert_eq!(json["s"], "0000000000000008");
    }

    #[test]
    fn a_compressed_message_is_json_of_the_right_size_once_inflated() {
        let payloads = Payloads::compressed(1024).unwrap();
        let mut inflater = deflate::Inflater::new();
        for sequence in 0..100 {
            let mut wire = Vec::new();
            payloads.write(7, sequence, &mut wire);
            assert_eq!(wire.len(), payloads.wire_size(7, sequence));
            assert!(wire.len() < 700 && payloads.is_as_sent(7, sequence, &wire));
            assert!(!payloads.is_as_sent(7, sequence + 1, &wire));
            let plain = inflater.message(&wire, 1024).unwrap();
            assert_eq!(payloads.identify(Opcode::Text, plain), Some((7, sequence)));
            let json: serde_json::Value = serde_json::from_slice(plain).unwrap();
            assert!(json["records"].as_array().unwrap().len() > 5);
        }
    }

    #[test]
    fn one_changed_byte_anywhere_is_noticed() {
        let payloads = Payloads::new(64, Mix::Binary).unwrap();
        let mut bytes = Vec::new();
        payloads.write(1, 2, &mut bytes);
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 0x20;
            assert!(!payloads.matches(1, 2, &damaged));
            assert_eq!(payloads.identify(Opcode::Binary, &damaged), None);
        }
    }
}
