//! A WebSocket frame as it stands on the wire (RFC 6455 section 5.2), for tests.
//!
//! It judges nothing: a frame with reserved bits or an unknown opcode can be built, written and read like any other,
//! and lengths are written minimally unless a test writes its own bytes.

use std::fmt;

/// The opcodes that have a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// A further fragment.
    Continuation = 0,
    /// UTF-8 text.
    Text = 1,
    /// Bytes.
    Binary = 2,
    /// The closing handshake.
    Close = 8,
    /// A ping.
    Ping = 9,
    /// A pong.
    Pong = 10,
}

/// One frame, unmasked.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// Whether it is the last of its message.
    pub fin: bool,
    /// RSV1 is 4, RSV2 is 2, RSV3 is 1.
    pub reserved: u8,
    /// The opcode's number, with or without a meaning.
    pub opcode: u8,
    /// The payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A final frame.
    pub fn new(opcode: Opcode, payload: impl AsRef<[u8]>) -> Self {
        Self {
            fin: true,
            reserved: 0,
            opcode: opcode as u8,
            payload: payload.as_ref().to_vec(),
        }
    }

    /// A text message in one frame.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::new(Opcode::Text, text.as_ref())
    }

    /// A binary message in one frame.
    pub fn binary(bytes: impl AsRef<[u8]>) -> Self {
        Self::new(Opcode::Binary, bytes)
    }

    /// A ping.
    pub fn ping(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Opcode::Ping, payload)
    }

    /// A pong.
    pub fn pong(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Opcode::Pong, payload)
    }

    /// A continuation that ends its message; see [`Frame::unfinished`].
    pub fn continuation(payload: impl AsRef<[u8]>) -> Self {
        Self::new(Opcode::Continuation, payload)
    }

    /// A close frame with a code and a reason.
    pub fn close(code: u16, reason: impl AsRef<[u8]>) -> Self {
        let mut body = code.to_be_bytes().to_vec();
        body.extend_from_slice(reason.as_ref());
        Self::new(Opcode::Close, body)
    }

    /// A close frame without a body.
    pub fn empty_close() -> Self {
        Self::new(Opcode::Close, [])
    }

    /// The same frame, not final.
    pub fn unfinished(mut self) -> Self {
        self.fin = false;
        self
    }

    /// The same frame with these reserved bits.
    pub fn with_reserved(mut self, bits: u8) -> Self {
        self.reserved = bits;
        self
    }

    /// The same frame with another opcode.
    pub fn with_opcode(mut self, opcode: u8) -> Self {
        self.opcode = opcode;
        self
    }

    /// Whether it has this opcode.
    pub fn is(&self, opcode: Opcode) -> bool {
        self.opcode == opcode as u8
    }

    /// The code of a close frame that has one.
    pub fn close_code(&self) -> Option<u16> {
        match self.payload.as_slice() {
            [high, low, ..] if self.is(Opcode::Close) => Some(u16::from_be_bytes([*high, *low])),
            _ => None,
        }
    }

    /// The reason of a close frame; empty when it has none.
    pub fn close_reason(&self) -> String {
        String::from_utf8_lossy(self.payload.get(2..).unwrap_or_default()).into_owned()
    }

    /// The payload as text.
    pub fn as_text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// The bytes on the wire, masked with `mask` as a client's frame, or unmasked.
    pub fn encode(&self, mask: Option<[u8; 4]>) -> Vec<u8> {
        let first = (u8::from(self.fin) << 7) | (self.reserved << 4) | self.opcode;
        let flag = if mask.is_some() { 0x80 } else { 0 };
        let mut bytes = vec![first];
        match self.payload.len() {
            length @ 0..=125 => bytes.push(flag | u8::try_from(length).unwrap()),
            length @ 126..=0xffff => {
                bytes.push(flag | 126);
                bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
            }
            length => {
                bytes.push(flag | 127);
                bytes.extend(u64::try_from(length).unwrap().to_be_bytes());
            }
        }
        bytes.extend(mask.into_iter().flatten());
        let mask = mask.unwrap_or_default();
        bytes.extend(
            self.payload
                .iter()
                .zip(mask.iter().cycle())
                .map(|(byte, key)| byte ^ key),
        );
        bytes
    }

    /// Takes one frame off the front of `bytes`, and whether it was masked; `None` while it is not all there.
    pub fn decode(bytes: &mut Vec<u8>) -> Option<(Self, bool)> {
        let (first, second) = (*bytes.first()?, *bytes.get(1)?);
        let masked = second & 0x80 != 0;
        let (length, mut header) = match second & 0x7f {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
            short => (u64::from(short), 2),
        };
        let mut mask = [0; 4];
        if masked {
            mask = bytes.get(header..header + 4)?.try_into().ok()?;
            header += 4;
        }
        let end = header.checked_add(usize::try_from(length).ok()?)?;
        let payload = bytes
            .get(header..end)?
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key)
            .collect();
        bytes.drain(..end);
        Some((
            Self {
                fin: first & 0x80 != 0,
                reserved: (first >> 4) & 7,
                opcode: first & 0xf,
                payload,
            },
            masked,
        ))
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.opcode {
            0 => "continuation",
            1 => "text",
            2 => "binary",
            8 => "close",
            9 => "ping",
            10 => "pong",
            _ => "opcode",
        };
        write!(formatter, "{name}({})", self.opcode)?;
        if !self.fin {
            formatter.write_str(" unfinished")?;
        }
        if self.reserved != 0 {
            write!(formatter, " rsv={:03b}", self.reserved)?;
        }
        match self.close_code() {
            Some(code) => write!(formatter, " {code} {:?}", self.close_reason()),
            None if self.payload.len() > 80 => write!(formatter, " [{} bytes]", self.payload.len()),
            None => write!(formatter, " {:?}", self.as_text()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_being_written_and_read() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let frame = Frame::binary(vec![9; length]).unfinished().with_reserved(5);
                let mut bytes = frame.encode(mask);
                assert_eq!(Frame::decode(&mut bytes.clone()[..bytes.len() - 1].to_vec()), None);
                assert_eq!(Frame::decode(&mut bytes), Some((frame, mask.is_some())));
                assert!(bytes.is_empty());
            }
        }
    }

    #[test]
    fn a_frame_is_written_as_in_the_examples_of_rfc_6455_section_5_7() {
        assert_eq!(Frame::text("Hello").encode(None), b"\x81\x05Hello");
        let masked = Frame::text("Hello").encode(Some([0x37, 0xfa, 0x21, 0x3d]));
        assert_eq!(masked, b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58");
    }
}
