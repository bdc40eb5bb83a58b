//! From items and what the filters made of them back to bytes on the wire.

use std::ops::Range;

use super::chain::{Batch, Passing};
use super::item::{Boundary, Finds, Found, Item};
use super::outlet::Outlet;
use crate::metrics::{MessageKind, Side};
use crate::ws::{CloseFrame, FrameHeader, Opcode, extend_masked};

/// What goes on of one walk.
pub(super) struct Emission<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) finds: &'a Finds,
    pub(super) batch: &'a Batch,
    /// Who receives it.
    pub(super) to: Side,
}

impl Emission<'_> {
    /// The one run of bytes that is all that goes on, where nothing was changed, cut out or delayed.
    pub(super) fn untouched(&self) -> Option<(Range<usize>, Boundary)> {
        if !self.batch.is_untouched(self.finds) {
            return None;
        }
        let mut run: Option<(Range<usize>, Boundary)> = None;
        for item in &self.finds.items {
            let (raw, end) = match item {
                Item::Pass { raw, end } => (raw, *end),
                Item::Message(Found { assembled: Some(_), .. }) => return None,
                Item::Message(Found { raw, end, .. }) => (raw, *end),
            };
            run = match run {
                None => Some((raw.clone(), end)),
                Some((before, _)) if before.end == raw.start => Some((before.start..raw.end, end)),
                Some(_) => return None,
            };
        }
        Some(run.unwrap_or((0..0, Boundary::Message)))
    }

    /// Appends what goes on of some items to `wire`, and whatever of `outlet`'s own waits for a place among them. Says
    /// where it ends; `None` when nothing goes on.
    pub(super) fn render(
        &self,
        items: Range<usize>,
        mut outlet: Option<&mut Outlet>,
        wire: &mut Vec<u8>,
    ) -> Option<Boundary> {
        let first = self.batch.passing.partition_point(|passing| passing.item < items.start);
        let mut passing = self.batch.passing.get(first..).unwrap_or_default().iter().peekable();
        let mut ended = None;
        for (index, item) in self.finds.items.iter().enumerate().take(items.end).skip(items.start) {
            let end = match item {
                Item::Pass { raw, end } => {
                    wire.extend_from_slice(self.raw(raw));
                    Some(*end)
                }
                Item::Message(found) => {
                    let mut end = None;
                    while let Some(passing) = passing.next_if(|passing| passing.item == index) {
                        end = Some(self.message(found, passing, wire));
                    }
                    end
                }
            };
            if let Some(end) = end {
                ended = Some(end);
                if let Some(outlet) = &mut outlet {
                    outlet.place(end, wire);
                    if outlet.is_closed() {
                        return ended;
                    }
                }
            }
        }
        ended
    }

    /// Appends one message, as it came or as it was made.
    fn message(&self, found: &Found, passing: &Passing, wire: &mut Vec<u8>) -> Boundary {
        if let Some(payload) = &passing.made {
            encode(opcode(passing.kind), true, payload, self.to, wire);
            return Boundary::Message;
        }
        if let Some(assembled) = &found.assembled {
            // Without raw bytes behind it, what was assembled is the whole message.
            encode(opcode(found.kind), found.raw.is_empty(), assembled, self.to, wire);
        }
        wire.extend_from_slice(self.raw(&found.raw));
        found.end
    }

    fn raw(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

/// Appends a frame to `wire` as `to` expects it: masked with a fresh key for an upstream, plain for a client.
pub(super) fn encode(opcode: Opcode, fin: bool, payload: &[u8], to: Side, wire: &mut Vec<u8>) {
    let mask = match to {
        Side::Client => None,
        Side::Upstream => Some(rand::random()),
    };
    let header = FrameHeader { fin, mask, ..FrameHeader::new(opcode, payload.len() as u64) };
    header.encode(wire);
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
