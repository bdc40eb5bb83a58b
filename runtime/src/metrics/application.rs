//! What is counted of an application that a route tells of its WebSockets.

use std::sync::Arc;
use std::time::Duration;

use super::cells::{Counter, Histogram, Sharded};
use super::labels::{EventKind, EventOutcome, PushOutcome};
use super::registry::{Metrics, are_blank};
use super::roster::Counts;

/// The shards of the application of a route.
pub type ApplicationMetrics = Sharded<ApplicationShard>;

/// What one thread counted for it.
#[derive(Debug)]
pub struct ApplicationShard {
    /// `application_events_total`, by kind and outcome.
    pub(super) events: [[Counter; EventOutcome::COUNT]; EventKind::COUNT],
    /// `application_event_seconds`.
    pub(super) seconds: Histogram,
    /// `application_pushes_total`, by outcome.
    pub(super) pushes: [Counter; PushOutcome::COUNT],
}

impl ApplicationShard {
    fn new() -> Self {
        Self { events: Default::default(), seconds: Histogram::new(BOUNDS), pushes: Default::default() }
    }

    /// Counts an event, as it has ended after so long.
    #[expect(clippy::indexing_slicing, reason = "sized by the enums that index it")]
    pub fn event(&self, kind: EventKind, outcome: EventOutcome, duration: Duration) {
        self.events[kind as usize][outcome as usize].add(1);
        self.seconds.observe(duration);
    }

    /// Counts something that the application has pushed.
    #[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
    pub fn push(&self, outcome: PushOutcome) {
        self.pushes[outcome as usize].add(1);
    }
}

impl Counts for ApplicationShard {
    fn is_blank(&self) -> bool {
        self.events.iter().all(are_blank) && are_blank(&self.pushes)
    }
}

impl Metrics {
    /// The metrics of the application of a route, by the route's name.
    pub fn application(&self, route: &str) -> Arc<ApplicationMetrics> {
        self.applications.of(route.into(), || Sharded::new(self.threads, ApplicationShard::new))
    }
}

const BOUNDS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
];
