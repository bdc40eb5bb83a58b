//! Filters that are functions of a test, in the places of those that are components.

use super::chain::{Batch, Passing, apply, message, unmasked};
use super::item::{Boundary, Finds, Found, Item, Slice};
use crate::component::{Content, Interest, Message, Part, PartVerdict, Verdict};
use crate::peer::Side;

/// A filter without a component.
pub struct Scripted {
    /// What it wants.
    pub interest: Interest,
    /// What it decides, as a component may.
    pub decide: Box<dyn FnMut(Message<'_>) -> Verdict>,
    /// What it decides about parts, where it wants these.
    pub decide_part: Box<dyn FnMut(Part<'_>) -> PartVerdict>,
}

impl Scripted {
    /// A filter that wants no parts.
    pub fn of_messages(interest: Interest, decide: impl FnMut(Message<'_>) -> Verdict + 'static) -> Self {
        Self { interest, decide: Box::new(decide), decide_part: Box::new(|_| PartVerdict::Forward) }
    }

    /// A filter that wants parts.
    pub fn of_parts(interest: Interest, decide: impl FnMut(Part<'_>) -> PartVerdict + 'static) -> Self {
        Self { interest, decide: Box::new(|_| Verdict::Forward), decide_part: Box::new(decide) }
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scripted").field("interest", &self.interest).finish_non_exhaustive()
    }
}

/// Takes a loaded batch through the filters, as a chain of components does.
pub(super) fn run(scripted: &mut [Scripted], from: Side, bytes: &[u8], finds: &Finds, batch: &mut Batch) {
    let mut step = |scripted: &mut Scripted| {
        let selection = scripted.interest.from(from);
        let Batch { passing, verdicts, .. } = &mut *batch;
        verdicts.clear();
        for passing in passing.iter().filter(|passing| selection.kinds.contains(passing.kind)) {
            let Some(message) = message(passing, from, selection.need, bytes, finds) else { continue };
            verdicts.push(match selection.need.is_of_parts() {
                true => decide_first(scripted, message, is_whole(passing, finds)),
                false => (scripted.decide)(message),
            });
        }
        apply(selection.kinds, from, None, batch);
    };
    match from {
        Side::Client => scripted.iter_mut().for_each(&mut step),
        Side::Upstream => scripted.iter_mut().rev().for_each(&mut step),
    }
}

fn is_whole(passing: &Passing, finds: &Finds) -> bool {
    matches!(finds.items.get(passing.item), Some(Item::Message(Found { end: Boundary::Message, .. })))
}

fn decide_first(scripted: &mut Scripted, Message { origin, kind, payload, .. }: Message<'_>, last: bool) -> Verdict {
    match (scripted.decide_part)(Part { origin, kind, first: true, last, bytes: payload }) {
        PartVerdict::Forward => Verdict::Forward,
        PartVerdict::Replace(payload) => Verdict::Replace(Content { kind, payload }),
        PartVerdict::Close(close) => Verdict::Close(close),
    }
}

/// Takes a further part of a message through the filters.
pub(super) fn show_slice(
    scripted: &mut [Scripted],
    from: Side,
    slice: &Slice,
    bytes: &[u8],
    finds: &Finds,
    batch: &mut Batch,
) {
    let mut step = |scripted: &mut Scripted| {
        let selection = scripted.interest.from(from);
        if batch.halt.is_none() && selection.need.is_of_parts() && selection.kinds.contains(slice.kind) {
            let came = || unmasked(&slice.payload, bytes, finds);
            let bytes = batch.slice.as_deref().unwrap_or_else(came);
            let verdict = (scripted.decide_part)(slice.part(from, bytes));
            batch.heed_slice(verdict);
        }
    };
    match from {
        Side::Client => scripted.iter_mut().for_each(&mut step),
        Side::Upstream => scripted.iter_mut().rev().for_each(&mut step),
    }
}
