//! Which frame may follow which (RFC 6455 sections 5.1, 5.4 and 5.5).

use std::num::NonZeroU32;

use super::{FrameHeader, Opcode, Violation};
use crate::peer::{MessageKind, Side};

/// The order of the frames that one peer sends.
#[derive(Debug)]
pub struct FrameSequence {
    sender: Side,
    /// Whether the handshake agreed on permessage-deflate, which gives RSV1 a meaning.
    compression: bool,
    message: Option<MessageKind>,
    /// Of those that carry little, how many the message under way has.
    small_fragments: u32,
}

/// The limits on the frames of one peer; `None` really is off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameLimits {
    /// The most payload that a frame may announce.
    pub max_size: Option<u64>,
    /// How many fragments of one message may carry less than [`FrameLimits::SMALL`] bytes.
    pub max_fragments: Option<NonZeroU32>,
}

impl FrameLimits {
    /// A fragment of fewer bytes counts for `max_fragments`. Those of more weigh by their bytes.
    pub const SMALL: u64 = 64;
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
    pub fn new(sender: Side, compression: bool) -> Self {
        Self { sender, compression, message: None, small_fragments: 0 }
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
    /// When that frame may not stand here, or goes beyond a limit; the sequence is of no use afterwards.
    #[inline]
    pub fn accept(&mut self, header: &FrameHeader, limits: &FrameLimits) -> Result<FramePlace, Violation> {
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
                if let Some(limit) = limits.max_size.filter(|limit| header.payload_len > *limit) {
                    return Err(Violation::FrameTooLarge { limit });
                }
                if matches!(place, FramePlace::First(_)) {
                    self.small_fragments = 0;
                }
                self.message = (!header.fin).then_some(kind);
                if matches!(place, FramePlace::Further(_)) || !header.fin {
                    self.count_fragment(header.payload_len, limits)?;
                }
            }
        }
        Ok(place)
    }

    fn count_fragment(&mut self, payload_len: u64, limits: &FrameLimits) -> Result<(), Violation> {
        let Some(limit) = limits.max_fragments.filter(|_| payload_len < FrameLimits::SMALL) else { return Ok(()) };
        self.small_fragments += 1;
        if self.small_fragments > limit.get() {
            return Err(Violation::Fragments { limit: limit.get() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(fin: bool, opcode: Opcode) -> FrameHeader {
        FrameHeader { fin, reserved: 0, opcode, mask: None, payload_len: 1 }
    }

    const LIMITS: FrameLimits = FrameLimits { max_size: Some(10), max_fragments: None };

    fn upstream() -> FrameSequence {
        FrameSequence::new(Side::Upstream, false)
    }

    #[test]
    fn control_frames_may_stand_between_fragments() {
        let mut sequence = upstream();
        let places =
            [(false, Opcode::Text), (true, Opcode::Ping), (false, Opcode::Continuation), (true, Opcode::Continuation)]
                .map(|(fin, opcode)| sequence.accept(&frame(fin, opcode), &LIMITS));
        assert_eq!(
            places,
            [
                Ok(FramePlace::First(MessageKind::Text)),
                Ok(FramePlace::Control),
                Ok(FramePlace::Further(MessageKind::Text)),
                Ok(FramePlace::Further(MessageKind::Text)),
            ]
        );
        assert_eq!(sequence.accept(&frame(true, Opcode::Binary), &LIMITS), Ok(FramePlace::First(MessageKind::Binary)));
    }

    #[test]
    fn what_may_not_stand_here_is_refused() {
        assert_eq!(
            upstream().accept(&frame(true, Opcode::Continuation), &LIMITS),
            Err(Violation::ContinuationWithoutStart)
        );
        let mut open = upstream();
        open.accept(&frame(false, Opcode::Text), &LIMITS).unwrap();
        assert_eq!(open.accept(&frame(true, Opcode::Binary), &LIMITS), Err(Violation::DataInsideMessage));
        let masked = FrameHeader { mask: Some([0; 4]), ..frame(true, Opcode::Text) };
        assert_eq!(upstream().accept(&masked, &LIMITS), Err(Violation::Masked));
        let mut client = FrameSequence::new(Side::Client, false);
        assert_eq!(client.accept(&frame(true, Opcode::Text), &LIMITS), Err(Violation::Unmasked));
        let large = FrameHeader { payload_len: 11, ..frame(true, Opcode::Text) };
        assert_eq!(upstream().accept(&large, &LIMITS), Err(Violation::FrameTooLarge { limit: 10 }));
    }

    #[test]
    fn a_message_has_so_many_fragments_that_carry_little_and_as_many_as_it_likes_that_carry_more() {
        let limits = FrameLimits { max_fragments: NonZeroU32::new(3), ..FrameLimits::default() };
        let mut sequence = FrameSequence::new(Side::Upstream, false);
        let sized = |fin, opcode, payload_len| FrameHeader { payload_len, ..frame(fin, opcode) };
        for _ in 0..10 {
            sequence.accept(&sized(true, Opcode::Text, 0), &limits).unwrap();
        }
        sequence.accept(&sized(false, Opcode::Text, 63), &limits).unwrap();
        for _ in 0..10 {
            sequence.accept(&sized(false, Opcode::Continuation, 64), &limits).unwrap();
        }
        sequence.accept(&sized(false, Opcode::Continuation, 0), &limits).unwrap();
        sequence.accept(&sized(true, Opcode::Continuation, 0), &limits).unwrap();
        sequence.accept(&sized(false, Opcode::Binary, 0), &limits).unwrap();
        sequence.accept(&sized(false, Opcode::Continuation, 0), &limits).unwrap();
        sequence.accept(&sized(true, Opcode::Ping, 0), &limits).unwrap();
        sequence.accept(&sized(false, Opcode::Continuation, 0), &limits).unwrap();
        let one_more = sequence.accept(&sized(true, Opcode::Continuation, 0), &limits);
        assert_eq!(one_more, Err(Violation::Fragments { limit: 3 }));
    }

    #[test]
    fn a_reserved_bit_needs_an_extension_that_gives_it_a_meaning() {
        let compressed = FrameHeader { reserved: FrameHeader::RSV1, ..frame(true, Opcode::Text) };
        assert_eq!(upstream().accept(&compressed, &LIMITS), Err(Violation::ReservedBits));
        let mut sequence = FrameSequence::new(Side::Upstream, true);
        assert_eq!(sequence.accept(&compressed, &LIMITS), Ok(FramePlace::First(MessageKind::Text)));
        let ping = FrameHeader { reserved: FrameHeader::RSV1, ..frame(true, Opcode::Ping) };
        assert_eq!(sequence.accept(&ping, &LIMITS), Err(Violation::ReservedBits));
    }
}
