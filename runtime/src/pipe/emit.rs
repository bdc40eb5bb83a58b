//! From items and what the filters made of them back to bytes on the wire.

use std::ops::Range;

use super::chain::{Batch, Passing, seen, unmasked};
use super::deflate::Compressing;
use super::item::{Boundary, Finds, Found, Item, Part, Slice};
use crate::peer::{MessageKind, Side};
use crate::ws::{CloseFrame, FrameHeader, Opcode, extend_masked};

/// What goes on of one walk.
pub(super) struct Emission<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) finds: &'a Finds,
    pub(super) batch: &'a Batch,
    /// Who receives it.
    pub(super) to: Side,
    /// How compressed messages go on; `None` where none is inflated.
    pub(super) compressing: Option<Compressing<'a>>,
}

impl Emission<'_> {
    /// The one run of bytes that is all that goes on, where something goes on and nothing was changed,
    /// cut out or delayed.
    pub(super) fn untouched(&self) -> Option<(Range<usize>, Boundary)> {
        let in_step = self.compressing.as_ref().is_none_or(|compressing| compressing.receiver.is_in_step());
        if !in_step || !self.batch.is_untouched(self.finds) {
            return None;
        }
        let mut run: Option<(Range<usize>, Boundary)> = None;
        for item in &self.finds.items {
            let (raw, end) = match item {
                Item::Pass { raw, end } | Item::Part(Part { raw, end, .. }) => (raw, *end),
                Item::Message(Found { assembled: Some(_), .. } | Found { reframed: true, .. }) => return None,
                Item::Message(Found { raw, end, .. }) => (raw, *end),
                Item::Slice(slice) if slice.reframed => return None,
                Item::Slice(Slice { raw, end, .. }) => (raw, *end),
            };
            run = match run {
                None => Some((raw.clone(), end)),
                Some((before, _)) if before.end == raw.start => Some((before.start..raw.end, end)),
                Some(_) => return None,
            };
        }
        run
    }

    /// Appends what goes on of some items to `wire`. Says where it ends; `None` when nothing goes on.
    pub(super) fn render(&mut self, items: Range<usize>, wire: &mut Vec<u8>) -> Option<Boundary> {
        let batch = self.batch;
        let first = batch.passing.partition_point(|passing| passing.item < items.start);
        let mut passing = batch.passing.get(first..).unwrap_or_default().iter().peekable();
        let mut ended = None;
        for (index, item) in self.finds.items.iter().enumerate().take(items.end).skip(items.start) {
            let end = match item {
                Item::Pass { raw, end } => {
                    wire.extend_from_slice(self.raw(raw));
                    Some(*end)
                }
                Item::Part(part) => self.part(part, wire),
                Item::Slice(slice) => Some(self.slice(slice, wire)),
                Item::Message(found) => {
                    let mut end = None;
                    let mut original = false;
                    while let Some(passing) = passing.next_if(|passing| passing.item == index) {
                        original |= passing.made.is_none();
                        end = self.message(found, passing, wire).or(end);
                    }
                    if found.compressed
                        && !original
                        && let Some(compressing) = &mut self.compressing
                    {
                        compressing.part();
                    }
                    end
                }
            };
            ended = end.or(ended);
        }
        ended
    }

    /// Appends one message, as it came or as it was made.
    fn message(&mut self, found: &Found, passing: &Passing, wire: &mut Vec<u8>) -> Option<Boundary> {
        let compressing = self.compressing.as_mut().filter(|_| found.compressed);
        if found.reframed {
            let payload = passing.made.as_deref().unwrap_or_else(|| seen(found, self.bytes, self.finds));
            encode(opcode(passing.kind), false, payload, self.to, wire);
            return Some(Boundary::Frame);
        }
        if let Some(payload) = &passing.made {
            match compressing {
                Some(compressing) => compressing.made(opcode(passing.kind), payload, self.to, wire),
                None => encode(opcode(passing.kind), true, payload, self.to, wire),
            }
            return Some(Boundary::Message);
        }
        if let Some(compressing) = compressing
            && let Some(end) = compressing.begin(found, seen(found, self.bytes, self.finds), self.to, wire)
        {
            return end;
        }
        if let Some(assembled) = &found.assembled {
            // Without raw bytes behind it, what was assembled is the whole message.
            let fin = found.raw.is_empty();
            let reserved = if found.compressed { FrameHeader::RSV1 } else { 0 };
            encode_frame(
                FrameHeader { fin, reserved, ..FrameHeader::new(opcode(found.kind), 0) },
                assembled,
                self.to,
                wire,
            );
        }
        wire.extend_from_slice(self.raw(&found.raw));
        Some(found.end)
    }

    /// Appends a further part of a message, as it came or as it was made.
    fn slice(&self, slice: &Slice, wire: &mut Vec<u8>) -> Boundary {
        if !slice.reframed {
            wire.extend_from_slice(self.raw(&slice.raw));
            return slice.end;
        }
        let is_last = slice.end == Boundary::Message;
        let came = || unmasked(&slice.payload, self.bytes, self.finds);
        let payload = self.batch.slice.as_deref().unwrap_or_else(came);
        encode(Opcode::Continuation, is_last, payload, self.to, wire);
        if is_last { Boundary::Message } else { Boundary::Frame }
    }

    /// Appends a part of a compressed message.
    fn part(&mut self, part: &Part, wire: &mut Vec<u8>) -> Option<Boundary> {
        if let Some(compressing) = &mut self.compressing {
            let plain = self.finds.inflated.get(part.plain.clone()).unwrap_or_default();
            if let Some(end) = compressing.part_of(part, plain, self.to, wire) {
                return end;
            }
        }
        wire.extend_from_slice(self.raw(&part.raw));
        Some(part.end)
    }

    fn raw(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

/// Appends a frame without reserved bits to `wire` as `to` expects it.
pub(super) fn encode(opcode: Opcode, fin: bool, payload: &[u8], to: Side, wire: &mut Vec<u8>) {
    encode_frame(FrameHeader { fin, ..FrameHeader::new(opcode, 0) }, payload, to, wire);
}

/// Appends a frame to `wire` as `to` expects it: masked with a fresh key for an upstream, plain for a client. The header
/// gets its mask and length here.
pub(super) fn encode_frame(header: FrameHeader, payload: &[u8], to: Side, wire: &mut Vec<u8>) {
    let mask = match to {
        Side::Client => None,
        Side::Upstream => Some(rand::random()),
    };
    FrameHeader { mask, payload_len: payload.len() as u64, ..header }.encode(wire);
    match mask {
        Some(key) => extend_masked(wire, payload, key),
        None => wire.extend_from_slice(payload),
    }
}

/// A close frame as `to` expects it; empty without a code.
pub(super) fn encode_close(close: Option<&CloseFrame>, to: Side) -> Vec<u8> {
    let mut wire = Vec::new();
    encode(Opcode::Close, true, &close.map(CloseFrame::body).unwrap_or_default(), to, &mut wire);
    wire
}

/// The opcode of a message's first frame.
pub(super) fn opcode(kind: MessageKind) -> Opcode {
    match kind {
        MessageKind::Text => Opcode::Text,
        MessageKind::Binary => Opcode::Binary,
    }
}
