//! What a filter holds back, in order.

use std::collections::VecDeque;

use tokio::time::Instant;

use crate::pipe::item::Boundary;

/// The gates that are shut in the way to one peer, and what stands behind each.
#[derive(Debug, Default)]
pub(super) struct Gates(VecDeque<Gate>);

/// A gate, and the bytes that it holds back.
#[derive(Debug)]
pub(super) struct Gate {
    opens_at: Instant,
    pub(super) bytes: Vec<u8>,
    /// Where they end; `None` where there is nothing.
    pub(super) end: Option<Boundary>,
    /// Whether they end with a close frame.
    pub(super) seals: bool,
}

impl Gates {
    /// When the first one opens; `None` when none is shut.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.0.front().map(|gate| gate.opens_at)
    }

    /// When the last one opens.
    pub(super) fn last_opens_at(&self) -> Option<Instant> {
        self.0.back().map(|gate| gate.opens_at)
    }

    /// The memory of what they hold back.
    pub(super) fn held(&self) -> usize {
        self.0.iter().map(|gate| gate.bytes.capacity()).sum()
    }

    /// Shuts one behind the others; it opens with the one before it at the earliest.
    pub(super) fn shut(&mut self, until: Instant) {
        let opens_at = self.last_opens_at().map_or(until, |before| before.max(until));
        self.0.push_back(Gate { opens_at, bytes: Vec::new(), end: None, seals: false });
    }

    /// Holds bytes back behind the last one; whether there is one.
    pub(super) fn put(&mut self, bytes: &[u8], end: Boundary) -> bool {
        let Some(gate) = self.0.back_mut() else { return false };
        if !gate.seals {
            gate.bytes.extend_from_slice(bytes);
            gate.end = Some(end);
        }
        true
    }

    /// Says that what was held back last ends with a close frame; whether anything is held back.
    pub(super) fn seal(&mut self) -> bool {
        self.0.back_mut().map(|gate| gate.seals = true).is_some()
    }

    /// Takes out the next one that opens by `now`.
    pub(super) fn next(&mut self, now: Instant) -> Option<Gate> {
        self.0.pop_front_if(|gate| gate.opens_at <= now)
    }
}
