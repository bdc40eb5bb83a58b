//! Candidates that see a connection's messages after what their filters decided was carried out.
//!
//! A batch goes through the filters in buffers that they change on the way, so what a shadow is to see is copied as its
//! filter sees it, and shown to it once all that came of a read has been written.

use super::chain::{Passing, message};
use super::item::Finds;
use crate::component::{Kinds, Message, Need, Verdict, Verdicts};
use crate::peer::{MessageKind, Side};
use crate::rollout::{Rollout, Shadow, Standing};

/// The shadow of one filter of a chain.
#[derive(Debug)]
pub(super) struct Shadowing {
    /// The filter's place in the chain.
    pub(super) place: usize,
    shadow: Shadow,
    /// Of the read at hand, in order.
    seen: Vec<Seen>,
    /// Where the batch at hand begins among them.
    batch: usize,
    from: Side,
}

/// A message as the filter got it, and what the filter decided.
#[derive(Debug)]
struct Seen {
    kind: MessageKind,
    size: u64,
    payload: Vec<u8>,
    verdict: Verdict,
}

impl Shadowing {
    pub(super) fn new(place: usize, shadow: Shadow) -> Self {
        Self { place, shadow, seen: Vec::new(), batch: 0, from: Side::Client }
    }

    pub(super) fn shadow(&self) -> &Shadow {
        &self.shadow
    }

    pub(super) fn into_shadow(self) -> Shadow {
        self.shadow
    }

    /// Whether this place of the chain has it.
    pub(super) fn is_of(&self, place: &Rollout) -> bool {
        let own = self.shadow.candidate().filter().id();
        place.shadow().is_some_and(|candidate| candidate.filter().id() == own)
    }

    /// Whether its trial goes on.
    pub(super) fn is_on_trial(&self) -> bool {
        self.shadow.candidate().standing() == Standing::OnTrial
    }

    /// Takes note of the messages that come to the filter, which wants those `kinds`.
    pub(super) fn observe(&mut self, kinds: Kinds, from: Side, batch: &[Passing], bytes: &[u8], finds: &Finds) {
        let own = self.shadow.interest().from(from);
        self.from = from;
        self.batch = self.seen.len();
        for passing in batch.iter().filter(|it| kinds.contains(it.kind) || own.kinds.contains(it.kind)) {
            let wanted = if own.kinds.contains(passing.kind) { own.need } else { Need::Nothing };
            if let Some(Message { kind, size, payload, .. }) = message(passing, from, wanted, bytes, finds) {
                self.seen.push(Seen { kind, size, payload: payload.to_vec(), verdict: Verdict::Forward });
            }
        }
    }

    /// Takes note of what the filter decided about messages of these kinds.
    pub(super) fn decided(&mut self, kinds: Kinds, verdicts: &Verdicts) {
        let mut others = verdicts.others().iter().peekable();
        let batch = self.seen.get_mut(self.batch..).unwrap_or_default();
        for (place, seen) in batch.iter_mut().filter(|seen| kinds.contains(seen.kind)).enumerate() {
            if let Some((_, verdict)) = others.next_if(|(at, _)| *at == place) {
                seen.verdict = verdict.clone();
            }
        }
        // What comes after the end of the connection, nobody has decided about.
        if let Some(close) = self.seen.iter().position(|seen| matches!(seen.verdict, Verdict::Close(_))) {
            self.seen.truncate(close + 1);
        }
    }

    /// The filter has failed: there is nothing to compare with.
    pub(super) fn forget(&mut self) {
        self.seen.truncate(self.batch);
    }

    /// Shows the shadow what was observed; whether it goes on.
    pub(super) fn show(&mut self) -> bool {
        if !self.is_on_trial() {
            return false;
        }
        let (seen, origin) = (std::mem::take(&mut self.seen), self.from);
        seen.is_empty()
            || self.shadow.see(seen.iter().map(|Seen { kind, size, payload, verdict }| {
                (Message { origin, kind: *kind, size: *size, payload }, verdict)
            }))
    }
}
