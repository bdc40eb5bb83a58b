//! The walk over messages that are shown part by part.

use super::{Parts, Rest, Walk, append, turned};
use crate::peer::MessageKind;
use crate::pipe::item::{Boundary, Finds, Item, Seen, Slice};

impl Walk {
    /// How much of the start of a message of this kind has to be there at once.
    pub(super) fn head_of(&self, kind: MessageKind) -> u64 {
        let head = self.heads.get(kind as usize).copied().unwrap_or_default();
        u64::from(head).min(self.limits.max_message_size as u64)
    }

    /// Shows what is here of the current frame's payload as a part of its message, and gives where that ends; `None` when
    /// nothing is here.
    pub(super) fn slice(
        &mut self,
        rest: Rest,
        Parts { reframed }: Parts,
        bytes: &[u8],
        position: usize,
        finds: &mut Finds,
    ) -> Option<usize> {
        let here = usize::try_from(rest.left).unwrap_or(usize::MAX).min(bytes.len() - position);
        if here == 0 && rest.left > 0 {
            return None;
        }
        let (next, left) = (position + here, rest.left - here as u64);
        let payload = match rest.mask {
            Some(key) => {
                let start = finds.unmasked.len();
                append(&mut finds.unmasked, bytes.get(position..next).unwrap_or_default(), Some(key));
                Seen::Unmasked(start..finds.unmasked.len())
            }
            None => Seen::Buffer(position..next),
        };
        finds.tally.bytes += here as u64;
        let end = Boundary::within(left, rest.fin);
        self.rest = (left > 0).then_some(Rest { left, mask: rest.mask.map(|key| turned(key, here)), ..rest });
        if end == Boundary::Message {
            finds.count(rest.kind);
            self.parts = None;
        }
        finds.items.push(Item::Slice(Slice { kind: rest.kind, raw: position..next, payload, end, reframed }));
        Some(next)
    }
}
