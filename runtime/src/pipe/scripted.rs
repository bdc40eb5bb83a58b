//! Filters that are functions of a test, in the places of those that are components.

use super::chain::{Batch, apply, message};
use super::item::Finds;
use crate::component::{Interest, Message, Verdict};
use crate::metrics::Side;

/// A filter without a component.
pub struct Scripted {
    /// What it wants.
    pub interest: Interest,
    /// What it decides, as a component may.
    pub decide: Box<dyn FnMut(Message<'_>) -> Verdict>,
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
            let seen = message(passing, from, selection.need, bytes, finds);
            seen.into_iter().for_each(|message| verdicts.push((scripted.decide)(message)));
        }
        apply(selection.kinds, from, None, batch);
    };
    match from {
        Side::Client => scripted.iter_mut().for_each(&mut step),
        Side::Upstream => scripted.iter_mut().rev().for_each(&mut step),
    }
}
