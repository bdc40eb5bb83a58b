//! The messages that are sent, each of them a pure function of its connection, its sequence number and its size.
//!
//! That is what makes every echo checkable without keeping what was sent: the payload names itself, and the rest of it
//! is a window into a fixed pattern whose place depends on both numbers. Text payloads are JSON, so that a filter that
//! parses has something to parse.

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
        Ok(Self { size, mix, letters, bytes })
    }

    /// Bytes of each payload.
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

    /// Appends the payload to `bytes`.
    pub fn write(&self, connection: u32, sequence: u64, bytes: &mut Vec<u8>) {
        let (head, pattern, tail) = self.parts(connection, sequence);
        bytes.extend_from_slice(head.bytes());
        bytes.extend_from_slice(pattern);
        bytes.extend_from_slice(tail);
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
        let place = (u64::from(connection).wrapping_mul(31).wrapping_add(sequence) % PLACES as u64) as usize;
        if self.opcode(sequence) == Opcode::Text {
            let length = self.size - TEXT_HEAD - TEXT_TAIL.len();
            (Head::text(connection, sequence), &self.letters[place..place + length], TEXT_TAIL)
        } else {
            (Head::binary(connection, sequence), &self.bytes[place..place + self.size - BINARY_HEAD], b"")
        }
    }
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
