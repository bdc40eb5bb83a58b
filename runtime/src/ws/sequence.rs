//! Which frame may follow which (RFC 6455 sections 5.1, 5.4 and 5.5).

use super::{FrameHeader, Opcode, Violation};
use crate::metrics::{MessageKind, Side};

/// The order of the frames that one peer sends, and the limits on them.
#[derive(Debug)]
pub struct FrameSequence {
    sender: Side,
    /// Whether the handshake agreed on permessage-deflate, which gives RSV1 a meaning.
    compression: bool,
    max_frame_size: Option<u64>,
    message: Option<MessageKind>,
}

/// A frame's place in the sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FramePlace {
    /// The first frame of a message.
    First(MessageKind),
    /// A further frame of a message.
    Further(MessageKind),
    /// A control frame, alone or between the frames of a message.
    Control,
}

impl FrameSequence {
    /// The frames of `sender`, none yet.
    pub fn new(sender: Side, compression: bool, max_frame_size: Option<u64>) -> Self {
        Self { sender, compression, max_frame_size, message: None }
    }

    /// Whether messages may come compressed.
    pub fn may_compress(&self) -> bool {
        self.compression
    }

    /// Whether a message has started and not ended.
    pub fn inside_message(&self) -> bool {
        self.message.is_some()
    }

    /// Takes the next frame's header.
    ///
    /// # Errors
    /// When that frame may not stand here; the sequence is of no use afterwards.
    #[inline]
    pub fn accept(&mut self, header: &FrameHeader) -> Result<FramePlace, Violation> {
        match (self.sender, header.mask) {
            (Side::Client, None) => return Err(Violation::Unmasked),
            (Side::Upstream, Some(_)) => return Err(Violation::Masked),
            _ => {}
        }
        let place = match (header.opcode, self.message) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => FramePlace::Control,
            (Opcode::Continuation, Some(kind)) => FramePlace::Further(kind),
            (Opcode::Continuation, None) => return Err(Violation::ContinuationWithoutStart),
            (Opcode::Text, None) => FramePlace::First(MessageKind::Text),
            (Opcode::Binary, None) => FramePlace::First(MessageKind::Binary),
            (Opcode::Text | Opcode::Binary, Some(_)) => return Err(Violation::DataInsideMessage),
        };
        let allowed = match place {
            FramePlace::First(_) if self.compression => FrameHeader::RSV1,
            _ => 0,
        };
        if header.reserved & !allowed != 0 {
            return Err(Violation::ReservedBits);
        }
        match place {
            FramePlace::Control => {}
            FramePlace::First(kind) | FramePlace::Further(kind) => {
                if let Some(limit) = self.max_frame_size.filter(|limit| header.payload_len > *limit) {
                    return Err(Violation::FrameTooLarge { limit });
                }
                self.message = (!header.fin).then_some(kind);
            }
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(fin: bool, opcode: Opcode) -> FrameHeader {
        FrameHeader { fin, reserved: 0, opcode, mask: None, payload_len: 1 }
    }

    fn upstream() -> FrameSequence {
        FrameSequence::new(Side::Upstream, false, Some(10))
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        let mut sequence = upstream();
        let places =
            [(false, Opcode::Text), (true, Opcode::Ping), (false, Opcode::Continuation), (true, Opcode::Continuation)]
                .map(|(fin, opcode)| sequence.accept(&frame(fin, opcode)));
        assert_eq!(
            places,
            [
                Ok(FramePlace::First(MessageKind::Text)),
                Ok(FramePlace::Control),
                Ok(FramePlace::Further(MessageKind::Text)),
                Ok(FramePlace::Further(MessageKind::Text)),
            ]
        );
        assert_eq!(sequence.accept(&frame(true, Opcode::Binary)), Ok(FramePlace::First(MessageKind::Binary)));
    }

    #[test]
    fn what_may_not_stand_here_is_refused() {
        assert_eq!(upstream().accept(&frame(true, Opcode::Continuation)), Err(Violation::ContinuationWithoutStart));
        let mut open = upstream();
        open.accept(&frame(false, Opcode::Text)).unwrap();
        assert_eq!(open.accept(&frame(true, Opcode::Binary)), Err(Violation::DataInsideMessage));
        let masked = FrameHeader { mask: Some([0; 4]), ..frame(true, Opcode::Text) };
        assert_eq!(upstream().accept(&masked), Err(Violation::Masked));
        let mut client = FrameSequence::new(Side::Client, false, None);
        assert_eq!(client.accept(&frame(true, Opcode::Text)), Err(Violation::Unmasked));
        let large = FrameHeader { payload_len: 11, ..frame(true, Opcode::Text) };
        assert_eq!(upstream().accept(&large), Err(Violation::FrameTooLarge { limit: 10 }));
    }

    #[test]
    fn a_reserved_bit_needs_an_extension_that_gives_it_a_meaning() {
        let compressed = FrameHeader { reserved: FrameHeader::RSV1, ..frame(true, Opcode::Text) };
        assert_eq!(upstream().accept(&compressed), Err(Violation::ReservedBits));
        let mut sequence = FrameSequence::new(Side::Upstream, true, None);
        assert_eq!(sequence.accept(&compressed), Ok(FramePlace::First(MessageKind::Text)));
        let ping = FrameHeader { reserved: FrameHeader::RSV1, ..frame(true, Opcode::Ping) };
        assert_eq!(sequence.accept(&ping), Err(Violation::ReservedBits));
    }
}
