//! What a filter has decided about messages, and the buffers in which they reach it: all of a worker's connections use the
//! same ones.

use super::types::{Load, Message, Verdict};
use super::wire::Arrival;

/// Verdicts on messages, in their order. One that simply goes on is only counted.
#[derive(Debug, Default)]
pub struct Verdicts {
    given: usize,
    /// What those given carry.
    load: Load,
    others: Vec<(usize, Verdict)>,
    arrivals: Vec<Arrival>,
    bytes: Vec<u8>,
}

impl Verdicts {
    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.given = 0;
        self.load = Load::default();
        self.others.clear();
    }

    /// What those given carry together.
    pub(super) fn load(&self) -> Load {
        self.load
    }

    /// How many messages were decided about.
    pub fn given(&self) -> usize {
        self.given
    }

    /// Whether everything that was decided about simply goes on.
    pub fn is_forward(&self) -> bool {
        self.others.is_empty()
    }

    /// The next message has this verdict.
    pub fn push(&mut self, verdict: Verdict) {
        self.push_loaded(verdict, Load::default());
    }

    /// The next message has this verdict, which carries so much.
    pub(super) fn push_loaded(&mut self, verdict: Verdict, load: Load) {
        if verdict != Verdict::Forward {
            self.others.push((self.given, verdict));
            self.load = self.load + load;
        }
        self.given += 1;
    }

    /// The next messages go on, so many of them.
    pub(super) fn forward(&mut self, count: usize) {
        self.given += count;
    }

    /// Those other than [`Verdict::Forward`], each with the place of its message, from 0.
    pub fn others(&self) -> &[(usize, Verdict)] {
        &self.others
    }

    /// All of them, one for each message that was decided about.
    pub fn drain(&mut self) -> impl Iterator<Item = Verdict> {
        let mut others = self.others.drain(..).peekable();
        let given = std::mem::take(&mut self.given);
        (0..given).map(move |place| others.next_if(|(at, _)| *at == place).map_or(Verdict::Forward, |(_, it)| it))
    }

    /// Begins a batch with a message.
    #[inline]
    pub(super) fn gather(&mut self, first: &Message<'_>) {
        self.arrivals.clear();
        self.bytes.clear();
        self.gather_more(first);
    }

    /// Puts a message behind those of the batch.
    #[inline]
    pub(super) fn gather_more(&mut self, message: &Message<'_>) {
        self.arrivals.push(Arrival::from(message));
        self.bytes.extend_from_slice(message.payload);
    }

    /// The batch, as it reaches a guest.
    pub(super) fn gathered(&self) -> (&[Arrival], &[u8]) {
        (&self.arrivals, &self.bytes)
    }
}
