//! What a component may use, and the keeping of its memory within that.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use wasmtime::ResourceLimiter;

use super::exports::Kind;
use super::wishes::Bounds;
use crate::metrics::{ComponentMetrics, WorkerIndex};

/// The limits of a component; each of its instances has them for itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The linear memory of one instance in bytes; 64 MiB by default, which is enough for the largest message of a route
    /// with a copy of it and an answer of its size. It also bounds what one call may answer: an honest answer has to fit
    /// into the guest's memory, and what exceeds it repeats itself to exhaust ours.
    pub max_memory: usize,
    /// How long a call may run; 10 ms by default. It is kept to a millisecond or two. Other connections of the worker wait
    /// for it, and for further calls of the same connection until these have taken 10 ms together. Instantiating and `configure` get a second at least, because they parse and
    /// build what the calls use.
    pub deadline: Duration,
    /// How many lines all instances together may log, in bursts of as many; 100 by default.
    pub log_lines_per_second: u32,
    /// What shares an instance.
    pub isolation: Isolation,
    /// The largest payload in bytes that a filter is handed; `None`: what the route lets pass. A larger one is a failure
    /// without a call. So is one of more than three tenths of `max_memory`: guests hold it beside a copy and an answer,
    /// and one that has no room for them would trap, and lose the state of all connections that share the instance.
    pub max_message_size: Option<usize>,
    /// The payload bytes that the answer to one call may carry in `replace` and `send` together; 16 MiB by default, as
    /// much as a message may have. An answer beyond it is a failure.
    pub max_reply_size: usize,
    /// The messages that the answer to one call may `send`, empty ones among them; 4096 by default, as many as a worker
    /// decides about in one turn. Each costs memory and work beside its payload, here and in later filters. An answer
    /// beyond it is a failure.
    pub max_reply_messages: usize,
    /// How many header edits and attributes, or fields of a refusal, the answer to one handshake may have, or edits a
    /// balancer's choice; 256 by
    /// default. Most servers take no more than 100 fields. An answer beyond it is a failure.
    pub max_attachments: usize,
    /// The bytes of their names and values, and of a refusal's body; 64 KiB by default, because an open connection keeps
    /// its attributes, and a refusal waits for a client that may not read it. An answer beyond it is a failure.
    pub max_attachment_size: usize,
    /// After this many failures within `failure_window` a use is called no more; `None`: however many there are. Off by
    /// default, because whoever can make a filter fail could then take its route from everybody.
    pub max_failures: Option<NonZeroU32>,
    /// The time within which failures count together; a minute by default.
    pub failure_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_memory: 64 << 20,
            deadline: Duration::from_millis(10),
            log_lines_per_second: 100,
            isolation: Isolation::Worker,
            max_message_size: None,
            max_reply_size: 16 << 20,
            max_reply_messages: 4096,
            max_attachments: 256,
            max_attachment_size: 64 << 10,
            max_failures: None,
            failure_window: Duration::from_secs(60),
        }
    }
}

impl Limits {
    /// How long instantiating and `configure` may take.
    pub(super) fn start_deadline(&self) -> Duration {
        self.deadline.max(MIN_START_DEADLINE)
    }

    /// The largest payload that fits into the memory thrice: as it comes, as a copy, and as an answer. A tenth is left to
    /// everything else.
    fn fitting(&self) -> usize {
        self.max_memory / 10 * 3
    }

    /// What may be attached to a connection.
    pub(super) fn bounds(&self) -> Bounds {
        Bounds { count: self.max_attachments, size: self.max_attachment_size }
    }

    /// The resources that the host keeps track of for one instance: its sessions, and those of WASI.
    pub(super) fn handles(&self, kind: Kind) -> usize {
        match (kind, self.isolation) {
            (Kind::Filter, Isolation::Worker) => MAX_SESSIONS + OWN_HANDLES,
            (Kind::Filter, Isolation::Connection) | (Kind::Predicate | Kind::Balancer, _) => OWN_HANDLES,
        }
    }

    /// The largest payload that a filter is given.
    pub(super) fn largest_message(&self) -> usize {
        self.max_message_size.map_or(self.fitting(), |most| most.min(self.fitting()))
    }

    /// The bytes that one call may hand over in all, which are counted before they are copied out of the guest: what
    /// [`max_reply_size`](Self::max_reply_size) allows and something for all that is no payload.
    pub(super) fn handed_over(&self) -> usize {
        self.max_reply_size.saturating_add(BESIDE_PAYLOAD).min(self.max_memory)
    }
}

/// What shares an instance of a filter. Predicates and balancers know no connections, so theirs are always shared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// All connections of a worker (`isolation = "worker"`): 0.5 KiB for each connection.
    #[default]
    Worker,
    /// None: each connection has one of its own (`isolation = "connection"`): 26 KiB and more for each connection, and
    /// a ceiling on their number, because each takes several of the process's memory maps.
    Connection,
}

const MIN_START_DEADLINE: Duration = Duration::from_secs(1);

/// Header edits, attributes, close reasons, and the lists that hold messages: 32 thousand of these.
const BESIDE_PAYLOAD: usize = 1 << 20;

/// The most sessions of one instance: a process has descriptors for no more connections than that, unless Linux is told
/// otherwise, which has 2^20 of them (`fs.nr_open`).
pub(super) const MAX_SESSIONS: usize = 1 << 19;

/// Streams, pollables and borrowed sessions at once: a guest that hoards them takes memory of ours, some 24 bytes each.
const OWN_HANDLES: usize = 1 << 14;

/// The most elements of a table, a guest's function pointers: enough for an embedded JavaScript or Python.
pub(super) const TABLE_ELEMENTS: usize = 1 << 16;

/// A guest asked for more than it may have. Raised as a trap, because a guest that sees its allocation fail seldom does
/// better than to panic, and then the reason would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Exceeded {
    #[error("it asked for {asked} bytes of memory and may have {limit}")]
    Memory { asked: usize, limit: usize },
    #[error("it asked for a table of {asked} elements and may have {TABLE_ELEMENTS}")]
    Table { asked: usize },
    #[error("its memory could not grow")]
    Growth,
}

/// Keeps one instance within its memory, and counts that memory into the gauge for as long as it lives.
#[derive(Debug)]
pub(super) struct Quota {
    max_memory: usize,
    memory: usize,
    granted: usize,
    metrics: Arc<ComponentMetrics>,
    worker: WorkerIndex,
}

impl Quota {
    pub(super) fn new(max_memory: usize, metrics: Arc<ComponentMetrics>, worker: WorkerIndex) -> Self {
        Self { max_memory, memory: 0, granted: 0, metrics, worker }
    }

    fn set_memory(&mut self, memory: usize) {
        let signed = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.metrics.of(self.worker).memory_bytes.add(signed(memory) - signed(self.memory));
        self.memory = memory;
    }
}

impl ResourceLimiter for Quota {
    fn memory_growing(&mut self, current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired.saturating_sub(current);
        let asked = self.memory.saturating_add(granted);
        if asked > self.max_memory {
            return Err(Exceeded::Memory { asked, limit: self.max_memory }.into());
        }
        self.granted = granted;
        self.set_memory(asked);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.set_memory(self.memory.saturating_sub(self.granted));
        Err(Exceeded::Growth.into())
    }

    fn table_growing(&mut self, _current: usize, desired: usize, _maximum: Option<usize>) -> wasmtime::Result<bool> {
        if desired > TABLE_ELEMENTS {
            return Err(Exceeded::Table { asked: desired }.into());
        }
        Ok(true)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        self.set_memory(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const PAGE: usize = 1 << 16;

    #[test]
    fn memories_of_one_instance_share_its_limit_and_the_gauge_follows_them() {
        let metrics = Metrics::new(1);
        let component = metrics.component("shout");
        let mut quota = Quota::new(4 * PAGE, Arc::clone(&component), WorkerIndex(0));
        let gauge = || component.of(WorkerIndex(0)).memory_bytes.value();
        assert!(quota.memory_growing(0, 2 * PAGE, None).unwrap());
        assert!(quota.memory_growing(0, 2 * PAGE, None).unwrap());
        assert_eq!(gauge(), 4 << 16);
        let error = quota.memory_growing(2 * PAGE, 3 * PAGE, None).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&Exceeded::Memory { asked: 5 * PAGE, limit: 4 * PAGE }));
        drop(quota);
        assert_eq!(gauge(), 0);
    }

    #[test]
    fn memory_that_was_granted_and_not_had_is_not_counted() {
        let metrics = Metrics::new(1);
        let component = metrics.component("shout");
        let mut quota = Quota::new(4 * PAGE, Arc::clone(&component), WorkerIndex(0));
        quota.memory_growing(0, PAGE, None).unwrap();
        quota.memory_growing(PAGE, 2 * PAGE, None).unwrap();
        quota.memory_grow_failed(wasmtime::Error::msg("no")).unwrap_err();
        assert_eq!(component.of(WorkerIndex(0)).memory_bytes.value(), 1 << 16);
    }
}
