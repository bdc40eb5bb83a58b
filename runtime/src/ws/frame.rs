//! Frame headers (RFC 6455 section 5.2).

use super::Violation;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of the message under way.
    Continuation,
    /// The first fragment of a text message.
    Text,
    /// The first fragment of a binary message.
    Binary,
    /// The start or the answer of the closing handshake.
    Close,
    /// A question whether the peer is there.
    Ping,
    /// The answer to a ping, or a sign of life.
    Pong,
}

impl Opcode {
    /// Whether it is a control frame: at most 125 bytes, never fragmented, allowed between fragments.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether this frame ends its message.
    pub fin: bool,
    /// The reserved bits RSV1, RSV2 and RSV3, as 4, 2 and 1.
    pub reserved: u8,
    /// What the frame is.
    pub opcode: Opcode,
    /// The masking key, on frames from a client.
    pub mask: Option<[u8; 4]>,
    /// Payload length in bytes, at most 2^63 - 1.
    pub payload_len: u64,
}

impl FrameHeader {
    /// The longest header: two bytes, eight of length, four of mask.
    pub const MAX_LEN: usize = 14;

    /// The most payload that a control frame may have.
    pub const MAX_CONTROL_PAYLOAD: u64 = 125;

    /// RSV1, which permessage-deflate sets on the first frame of a compressed message.
    pub const RSV1: u8 = 4;

    /// An unmasked final frame without reserved bits.
    pub fn new(opcode: Opcode, payload_len: u64) -> Self {
        Self { fin: true, reserved: 0, opcode, mask: None, payload_len }
    }

    /// Reads a header at the start of `bytes`, with its length; `None` when more bytes are needed.
    ///
    /// # Errors
    /// What no frame may look like, whatever came before it: an unknown opcode, a length not minimally encoded or over
    /// 2^63 - 1, a fragmented or over-long control frame.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        let fin = first & 0x80 != 0;
        let opcode = match first & 0x0F {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            unknown => return Err(Violation::Opcode(unknown)),
        };
        let short_len = second & 0x7F;
        if opcode.is_control() {
            if !fin {
                return Err(Violation::FragmentedControl);
            }
            if u64::from(short_len) > Self::MAX_CONTROL_PAYLOAD {
                return Err(Violation::ControlTooLong);
            }
        }
        let (payload_len, rest) = match short_len {
            126 => {
                let Some((bytes, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
                let len = u64::from(u16::from_be_bytes(*bytes));
                if len < 126 {
                    return Err(Violation::LengthNotMinimal);
                }
                (len, rest)
            }
            127 => {
                let Some((bytes, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
                let len = u64::from_be_bytes(*bytes);
                if len > i64::MAX as u64 {
                    return Err(Violation::LengthTooLarge);
                }
                if len <= u64::from(u16::MAX) {
                    return Err(Violation::LengthNotMinimal);
                }
                (len, rest)
            }
            len => (u64::from(len), rest),
        };
        let (mask, rest) = if second & 0x80 == 0 {
            (None, rest)
        } else {
            let Some((key, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
            (Some(*key), rest)
        };
        let header = Self { fin, reserved: (first >> 4) & 0x7, opcode, mask, payload_len };
        Ok(Some((header, bytes.len() - rest.len())))
    }

    /// Appends the header as it stands on the wire.
    pub fn encode(&self, wire: &mut Vec<u8>) {
        wire.push((u8::from(self.fin) << 7) | ((self.reserved & 0x7) << 4) | self.opcode.bits());
        let masked = u8::from(self.mask.is_some()) << 7;
        match self.payload_len {
            len @ 0..126 => wire.push(masked | (len & 0x7F) as u8),
            len => match u16::try_from(len) {
                Ok(len) => {
                    wire.push(masked | 126);
                    wire.extend_from_slice(&len.to_be_bytes());
                }
                Err(_) => {
                    wire.push(masked | 127);
                    wire.extend_from_slice(&len.to_be_bytes());
                }
            },
        }
        if let Some(key) = self.mask {
            wire.extend_from_slice(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn opcode() -> impl Strategy<Value = Opcode> {
        prop_oneof![Just(Opcode::Continuation), Just(Opcode::Text), Just(Opcode::Binary)]
    }

    proptest! {
        #[test]
        fn a_header_reads_back_as_it_was_written(
            fin: bool, reserved in 0u8..8, opcode in opcode(), mask: Option<[u8; 4]>, payload_len in 0..=i64::MAX as u64,
        ) {
            let header = FrameHeader { fin, reserved, opcode, mask, payload_len };
            let mut wire = Vec::new();
            header.encode(&mut wire);
            for short in 0..wire.len() {
                prop_assert_eq!(FrameHeader::parse(&wire[..short]), Ok(None));
            }
            prop_assert_eq!(FrameHeader::parse(&wire), Ok(Some((header, wire.len()))));
        }

        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
            let _ = FrameHeader::parse(&bytes);
        }
    }

    #[test]
    fn what_no_frame_may_look_like_is_refused() {
        let cases: [(&[u8], Violation); 7] = [
            (&[0x83, 0], Violation::Opcode(3)),
            (&[0x8B, 0], Violation::Opcode(11)),
            (&[0x09, 0], Violation::FragmentedControl),
            (&[0x89, 126, 0, 126], Violation::ControlTooLong),
            (&[0x82, 126, 0, 125], Violation::LengthNotMinimal),
            (&[0x82, 127, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF], Violation::LengthNotMinimal),
            (&[0x82, 127, 0x80, 0, 0, 0, 0, 0, 0, 0], Violation::LengthTooLarge),
        ];
        for (bytes, violation) in cases {
            assert_eq!(FrameHeader::parse(bytes), Err(violation));
        }
    }
}
