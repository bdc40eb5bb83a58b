//! RFC 6455 section 5.2 frames, as much of them as a load tool needs: parse a header, write a header, mask.
//!
//! Sans-I/O: short input is `None` and consumes nothing. Payloads are never held here.

use serde::Serialize;

/// What a frame carries (RFC 6455 section 11.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Opcode {
    /// A later part of a fragmented message.
    Continuation,
    /// The only or first part of a text message.
    Text,
    /// The only or first part of a binary message.
    Binary,
    /// The closing handshake.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Result<Self, FrameError> {
        match bits {
            0 => Ok(Self::Continuation),
            1 => Ok(Self::Text),
            2 => Ok(Self::Binary),
            8 => Ok(Self::Close),
            9 => Ok(Self::Ping),
            10 => Ok(Self::Pong),
            _ => Err(FrameError::UnknownOpcode(bits)),
        }
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0,
            Self::Text => 1,
            Self::Binary => 2,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }

    /// Close, ping or pong.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// A frame header that no proxy in between should have let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Opcodes 3 to 7 and 11 to 15.
    #[error("opcode {0} is not defined")]
    UnknownOpcode(u8),
    /// A bit that no negotiated extension gives a meaning.
    #[error("a reserved bit is set")]
    ReservedBit,
    /// A compressed message that does not inflate (RFC 7692).
    #[error("a compressed message does not inflate")]
    NotDeflated,
    /// A control frame that is fragmented or carries more than 125 bytes.
    #[error("a control frame is fragmented or too long")]
    BadControl,
    /// The other side masks although it must not, or does not although it must.
    #[error("the mask bit is wrong for the sender")]
    WrongMask,
    /// A continuation without a start, or a start inside a message.
    #[error("a fragment is out of place")]
    FragmentOutOfPlace,
    /// Longer than any message this tool sends.
    #[error("a frame of {0} bytes is longer than anything that was sent")]
    TooLong(u64),
}

/// A parsed frame header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Last frame of its message.
    pub fin: bool,
    /// RSV1: its message is compressed (RFC 7692 section 6).
    pub compressed: bool,
    /// What the frame carries.
    pub opcode: Opcode,
    /// The masking key of a client's frame.
    pub mask: Option<[u8; 4]>,
    /// Bytes the header itself takes.
    pub length: usize,
    /// Bytes of payload that follow.
    pub payload: u64,
}

impl FrameHeader {
    /// Parses the header at the start of `bytes`; `None` asks for more. Whether compression was negotiated is for the
    /// caller to know.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let [first, second, rest @ ..] = bytes else {
            return Ok(None);
        };
        let opcode = Opcode::from_bits(first & 0x0f)?;
        let compressed = first & RSV1 != 0;
        let may_be_compressed = matches!(opcode, Opcode::Text | Opcode::Binary);
        if first & 0x30 != 0 || (compressed && !may_be_compressed) {
            return Err(FrameError::ReservedBit);
        }
        let fin = first & 0x80 != 0;
        let (payload, extended) = match second & 0x7f {
            126 => match rest.first_chunk::<2>() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
                None => return Ok(None),
            },
            127 => match rest.first_chunk::<8>() {
                Some(length) => (u64::from_be_bytes(*length), 8),
                None => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        if opcode.is_control() && (!fin || payload > 125) {
            return Err(FrameError::BadControl);
        }
        let (mask, length) = if second & 0x80 != 0 {
            match rest.get(extended..).and_then(|rest| rest.first_chunk::<4>()) {
                Some(key) => (Some(*key), 2 + extended + 4),
                None => return Ok(None),
            }
        } else {
            (None, 2 + extended)
        };
        Ok(Some(Self { fin, compressed, opcode, mask, length, payload }))
    }
}

/// Appends a frame header to `bytes`, with the shortest form of the length.
pub fn write_header(bytes: &mut Vec<u8>, fin: bool, opcode: Opcode, payload: u64, mask: Option<[u8; 4]>) {
    bytes.push(u8::from(fin) << 7 | opcode.bits());
    let mask_bit = u8::from(mask.is_some()) << 7;
    match (u8::try_from(payload), u16::try_from(payload)) {
        (Ok(length @ 0..=125), _) => bytes.push(mask_bit | length),
        (_, Ok(length)) => {
            bytes.push(mask_bit | 126);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            bytes.push(mask_bit | 127);
            bytes.extend_from_slice(&payload.to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask.unwrap_or_default()[..if mask.is_some() { 4 } else { 0 }]);
}

/// Sets the bit that marks the frame whose header starts at `start` as the first of a compressed message.
pub fn mark_compressed(bytes: &mut [u8], start: usize) {
    bytes[start] |= RSV1;
}

/// Applies `key` to `payload`, whose first byte is byte `offset` of its frame. Masking and unmasking are the same.
pub fn mask(payload: &mut [u8], key: [u8; 4], offset: usize) {
    let mut key = key;
    key.rotate_left(offset % 4);
    let word = u64::from(u32::from_ne_bytes(key));
    let word = word | word << 32;
    let mut words = payload.chunks_exact_mut(8);
    for chunk in &mut words {
        if let Ok(bytes) = <[u8; 8]>::try_from(&*chunk) {
            chunk.copy_from_slice(&(u64::from_ne_bytes(bytes) ^ word).to_ne_bytes());
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The code of a close frame's payload; an empty one has none (1005, RFC 6455 section 7.1.5).
pub fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk::<2>().map_or(1005, |code| u16::from_be_bytes(*code))
}

const RSV1: u8 = 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written_at_every_length_form() {
        for payload in [0, 125, 126, 65_535, 65_536, 1 << 40] {
            for key in [None, Some([1, 2, 3, 4])] {
                let mut bytes = Vec::new();
                write_header(&mut bytes, true, Opcode::Binary, payload, key);
                let header = FrameHeader::parse(&bytes).unwrap().unwrap();
                let (opcode, length) = (Opcode::Binary, bytes.len());
                assert_eq!(header, FrameHeader { fin: true, compressed: false, opcode, mask: key, length, payload });
                for short in 0..bytes.len() {
                    assert_eq!(FrameHeader::parse(&bytes[..short]), Ok(None));
                }
            }
        }
    }

    #[test]
    fn masking_in_pieces_equals_masking_at_once() {
        let whole: Vec<u8> = (0..=100).collect();
        let key = [0xa1, 0xb2, 0xc3, 0xd4];
        let mut at_once = whole.clone();
        mask(&mut at_once, key, 0);
        for cut in 0..whole.len() {
            let mut pieces = whole.clone();
            let (head, tail) = pieces.split_at_mut(cut);
            mask(head, key, 0);
            mask(tail, key, cut);
            assert_eq!(pieces, at_once);
        }
        assert_eq!(at_once[5], whole[5] ^ key[1]);
    }

    #[test]
    fn a_reserved_bit_is_an_error_unless_it_may_say_compressed() {
        assert!(FrameHeader::parse(&[0xc1, 0]).unwrap().unwrap().compressed);
        for first in [0xa1, 0x91, 0xc0, 0xc9] {
            assert_eq!(FrameHeader::parse(&[first, 0]), Err(FrameError::ReservedBit));
        }
    }
}
