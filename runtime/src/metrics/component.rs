//! What is counted of a component, and of its uses on routes.

use std::time::Duration;

use super::cells::{Counter, Gauge, Histogram, Sharded};
use super::labels::{CallVerdict, FailureReason, SwapOutcome};
use super::registry::{are_blank, total};
use super::roster::Counts;

/// The shards of a component.
pub type ComponentMetrics = Sharded<ComponentShard>;
/// The shards of a component on a route.
pub type UseMetrics = Sharded<UseShard>;

impl ComponentMetrics {
    /// Linear memory of all instances of the component, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        total(self.iter().map(|shard| &shard.memory_bytes))
    }

    /// Calls that the component failed to answer, for any reason.
    pub fn failures(&self) -> u64 {
        self.iter().flat_map(|shard| &shard.failures).map(Counter::value).sum()
    }
}

/// What one thread counted for a component.
#[derive(Debug)]
pub struct ComponentShard {
    /// `component_call_seconds`; a batch is one call.
    pub call_seconds: Histogram,
    /// `component_failures_total`, by [`FailureReason`].
    pub failures: [Counter; FailureReason::COUNT],
    /// `component_memory_bytes`: linear memory of this thread's instances.
    pub memory_bytes: Gauge,
    /// `component_log_lines_dropped_total`.
    pub log_lines_dropped: Counter,
}

impl Counts for ComponentShard {
    fn is_blank(&self) -> bool {
        self.call_seconds.counts().all(|count| count == 0) && are_blank(&self.failures)
    }
}

impl ComponentShard {
    pub(super) fn new() -> Self {
        Self {
            call_seconds: Histogram::new(CALL_BOUNDS),
            failures: Default::default(),
            memory_bytes: Gauge::default(),
            log_lines_dropped: Counter::default(),
        }
    }

    /// Counts a failure.
    #[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
    pub fn failure(&self, reason: FailureReason) {
        self.failures[reason as usize].add(1);
    }
}

/// What one thread counted for a component on a route.
#[derive(Debug, Default)]
pub struct UseShard {
    /// `component_calls_total`, by [`CallVerdict`]; a batch counts each of its verdicts.
    pub verdicts: [Counter; CallVerdict::COUNT],
    /// `component_swaps_total`, by [`SwapOutcome`].
    pub swaps: [Counter; SwapOutcome::COUNT],
}

impl Counts for UseShard {
    fn is_blank(&self) -> bool {
        are_blank(self.verdicts.iter().chain(&self.swaps))
    }
}

impl UseShard {
    /// Counts verdicts.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
    pub fn verdict(&self, verdict: CallVerdict, count: u64) {
        self.verdicts[verdict as usize].add(count);
    }

    /// Counts a connection that was, or was not, handed from one version of a filter to the next.
    #[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
    pub fn swap(&self, outcome: SwapOutcome) {
        self.swaps[outcome as usize].add(1);
    }
}

/// From a call that only looks, to the default deadline and beyond.
const CALL_BOUNDS: &[Duration] = &[
    Duration::from_nanos(500),
    Duration::from_micros(1),
    Duration::from_micros(2),
    Duration::from_micros(5),
    Duration::from_micros(10),
    Duration::from_micros(50),
    Duration::from_micros(250),
    Duration::from_millis(1),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(50),
];
