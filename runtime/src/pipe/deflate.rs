//! Compressed messages on their way to the receiver: as they came, or deflated anew.
//!
//! With context takeover a compressed message may refer to those before it. So once the receiver was not given one as it
//! came, those that follow are deflated anew, each with an empty window. They fill the receiver's window with what
//! the sender's holds, and when they have filled it, both are equal and originals go on again. Uncompressed messages
//! enter no window, so they may be changed, dropped and put in at will: what the proxy says by itself is uncompressed.

use super::emit::{encode, encode_frame, opcode};
use super::item::{Boundary, Found, Part};
use crate::peer::{MessageKind, Side};
use crate::ws::{Deflater, FrameHeader, Opcode, SlidingWindow};

/// The receiver's sliding window, as far as it has to be known.
#[derive(Debug)]
pub(super) struct Receiver {
    window: SlidingWindow,
    /// How many bytes both windows have to take in alike until they are equal.
    apart: usize,
    /// The message under way, where it is deflated anew.
    anew: Option<Anew>,
}

#[derive(Clone, Copy, Debug)]
struct Anew {
    kind: MessageKind,
    /// Whether a frame of it has gone on.
    begun: bool,
}

impl Receiver {
    pub(super) fn new(window: SlidingWindow) -> Self {
        Self { window, apart: 0, anew: None }
    }

    /// Whether originals can go on.
    pub(super) fn is_in_step(&self) -> bool {
        self.apart == 0 && self.anew.is_none()
    }

    /// Says that the receiver will not have a compressed message as it came.
    fn part(&mut self) {
        if self.window.takeover {
            self.apart = self.window.size();
        }
    }
}

/// How a receiver gets compressed messages.
pub(super) struct Compressing<'a> {
    pub(super) receiver: &'a mut Receiver,
    pub(super) deflater: &'a mut Deflater,
    /// Room for one frame's payload.
    pub(super) deflated: &'a mut Vec<u8>,
}

impl Compressing<'_> {
    /// Says that a compressed message goes no further, or only as something else.
    pub(super) fn part(&mut self) {
        self.receiver.part();
    }

    /// Appends a message that a filter made of a compressed one. It is compressed where that makes it smaller.
    pub(super) fn made(&mut self, opcode: Opcode, payload: &[u8], to: Side, wire: &mut Vec<u8>) {
        // With a window of 8 bits nothing becomes smaller, see `Deflater::deflate`.
        if payload.len() >= Deflater::WORTH_DEFLATING && self.receiver.window.bits > 8 {
            self.deflate(payload, true);
            if self.deflated.len() < payload.len() {
                let header = FrameHeader { reserved: FrameHeader::RSV1, ..FrameHeader::new(opcode, 0) };
                return encode_frame(header, self.deflated, to, wire);
            }
        }
        encode(opcode, true, payload, to, wire);
    }

    /// Appends a message's start, of which `plain` has come, if it is to be deflated anew; `None` if it is not.
    pub(super) fn begin(
        &mut self,
        found: &Found,
        plain: &[u8],
        to: Side,
        wire: &mut Vec<u8>,
    ) -> Option<Option<Boundary>> {
        if self.receiver.apart == 0 {
            return None;
        }
        self.receiver.anew = Some(Anew { kind: found.kind, begun: false });
        Some(self.go_on(plain, found.end == Boundary::Message, to, wire))
    }

    /// The same for a part of a message that no filter decides about.
    pub(super) fn part_of(
        &mut self,
        part: &Part,
        plain: &[u8],
        to: Side,
        wire: &mut Vec<u8>,
    ) -> Option<Option<Boundary>> {
        match part.begins {
            Some(kind) if self.receiver.apart > 0 => self.receiver.anew = Some(Anew { kind, begun: false }),
            Some(_) => return None,
            None => _ = self.receiver.anew?,
        }
        Some(self.go_on(plain, part.end == Boundary::Message, to, wire))
    }

    /// Appends a frame with more of the message that is deflated anew. Says where it ends; `None` if there is nothing.
    fn go_on(&mut self, plain: &[u8], last: bool, to: Side, wire: &mut Vec<u8>) -> Option<Boundary> {
        let Anew { kind, begun } = self.receiver.anew.filter(|_| last || !plain.is_empty())?;
        self.deflate(plain, last);
        self.receiver.apart = self.receiver.apart.saturating_sub(plain.len());
        self.receiver.anew = (!last).then_some(Anew { kind, begun: true });
        let (opcode, reserved) = if begun { (Opcode::Continuation, 0) } else { (opcode(kind), FrameHeader::RSV1) };
        encode_frame(FrameHeader { fin: last, reserved, ..FrameHeader::new(opcode, 0) }, self.deflated, to, wire);
        Some(if last { Boundary::Message } else { Boundary::Frame })
    }

    fn deflate(&mut self, plain: &[u8], last: bool) {
        self.deflated.clear();
        self.deflater.deflate(self.receiver.window.bits, plain, last, self.deflated);
    }
}
