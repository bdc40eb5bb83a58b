//! Messages that filters are shown part by part.

use super::{Batch, Chain, Halt, Passing, unmasked};
use crate::component::{Failure, Message, Need, OnFailure, Part, PartVerdict, Verdict};
use crate::peer::{MessageKind, Side};
use crate::pipe::filter::Filter;
use crate::pipe::item::{Boundary, Finds, Found, Item, Slice};

/// Takes the message that has begun and not ended off a batch, where it is the last.
pub(super) fn begun<'a>(batch: &mut &'a [Passing], finds: &Finds) -> Option<&'a Passing> {
    let (last, before) = batch.split_last()?;
    match finds.items.get(last.item) {
        Some(Item::Message(Found { end: Boundary::Frame | Boundary::Inside, .. })) => {
            *batch = before;
            Some(last)
        }
        _ => None,
    }
}

/// Shows a filter the first part of a message.
pub(super) fn begin(filter: &mut Filter, message: &Message<'_>) -> Result<Verdict, Failure> {
    let Message { origin, kind, payload, .. } = *message;
    let part = Part { origin, kind, first: true, last: false, bytes: payload };
    filter.on_part(&part).map(|verdict| verdict.of_message(kind))
}

impl Chain {
    /// How much of the start of each kind of message some filter wants at once, if that is no whole message.
    pub(in crate::pipe) fn heads(&self, from: Side) -> [u32; MessageKind::COUNT] {
        [MessageKind::Text, MessageKind::Binary].map(|kind| {
            let heads = self.interests().map(|interest| interest.from(from));
            let heads = heads.filter(|selection| selection.kinds.contains(kind));
            let heads = heads.map(|selection| match selection.need {
                Need::Head(head) => head,
                _ => 0,
            });
            heads.max().unwrap_or_default()
        })
    }

    /// Takes a further part of a message, the last item, through the filters.
    pub(in crate::pipe) fn show_slice(&mut self, from: Side, bytes: &[u8], finds: &Finds, batch: &mut Batch) {
        let Some(Item::Slice(slice)) = finds.items.last() else { return };
        let mut place = |filter: &mut Filter| {
            if batch.halt.is_none() {
                show(filter, from, slice, bytes, finds, batch);
            }
        };
        match from {
            Side::Client => self.filters.iter_mut().for_each(&mut place),
            Side::Upstream => self.filters.iter_mut().rev().for_each(&mut place),
        }
    }
}

fn show(filter: &mut Filter, from: Side, slice: &Slice, bytes: &[u8], finds: &Finds, batch: &mut Batch) {
    let selection = filter.interest().from(from);
    if filter.is_bypassed() || !selection.need.is_of_parts() || !selection.kinds.contains(slice.kind) {
        return;
    }
    let decided = {
        let came = || unmasked(&slice.payload, bytes, finds);
        let bytes = batch.slice.as_deref().unwrap_or_else(came);
        filter.on_part(&slice.part(from, bytes))
    };
    match decided {
        Ok(verdict) => batch.heed_slice(verdict),
        Err(failure) => match filter.on_failure() {
            OnFailure::Bypass => batch.bypassed = true,
            OnFailure::Close => batch.halt = Some(Halt::Failed(failure)),
        },
    }
}

impl Slice {
    /// What a filter is shown, where it is these bytes by now.
    fn part<'a>(&self, origin: Side, bytes: &'a [u8]) -> Part<'a> {
        Part { origin, kind: self.kind, first: false, last: self.end == Boundary::Message, bytes }
    }
}

impl Batch {
    /// Does what a filter has decided about the slice.
    fn heed_slice(&mut self, verdict: PartVerdict) {
        match verdict {
            PartVerdict::Forward => {}
            PartVerdict::Replace(made) => self.slice = Some(made),
            PartVerdict::Close(close) => self.halt = Some(Halt::Close(close)),
        }
    }
}
