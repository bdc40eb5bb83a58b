//! What one connection carried.

use std::cell::Cell;

use super::item::Tally;
use crate::metrics::RouteShard;
use crate::peer::{MessageKind, Side};

/// Messages and payload bytes of one connection so far. Outlives the pipe, so that a cut connection still reports.
#[derive(Debug, Default)]
pub struct Traffic {
    messages: [Cell<u64>; Side::COUNT],
    bytes: [Cell<u64>; Side::COUNT],
}

impl Traffic {
    /// Data messages that one side has sent.
    pub fn messages(&self, from: Side) -> u64 {
        self.messages.get(from as usize).map_or(0, Cell::get)
    }

    /// Payload bytes of the data messages that one side has sent.
    pub fn bytes(&self, from: Side) -> u64 {
        self.bytes.get(from as usize).map_or(0, Cell::get)
    }

    pub(super) fn count(&self, from: Side, tally: &Tally) {
        if let (Some(messages), Some(bytes)) = (self.messages.get(from as usize), self.bytes.get(from as usize)) {
            messages.set(messages.get() + tally.messages.map(u64::from).iter().sum::<u64>());
            bytes.set(bytes.get() + tally.bytes);
        }
    }
}

/// Counts what went by for the route.
pub(super) fn count(shard: &RouteShard, from: Side, tally: &Tally) {
    for (kind, count) in MessageKind::ALL.iter().zip(tally.messages.map(u64::from)).filter(|(_, count)| *count > 0) {
        shard.messages(from, *kind, count);
    }
    shard.message_bytes(from, tally.bytes);
}
