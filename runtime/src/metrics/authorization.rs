//! What is counted of the questions of a route whether clients may come in.

use std::sync::Arc;
use std::time::Duration;

use super::cells::{Counter, Histogram, Sharded};
use super::labels::AuthorizationOutcome;
use super::registry::{Metrics, are_blank};
use super::roster::Counts;

/// The shards of a route that asks.
pub type AuthorizationMetrics = Sharded<AuthorizationShard>;

/// What one thread counted for it.
#[derive(Debug)]
pub struct AuthorizationShard {
    /// `authorizations_total`, by outcome.
    pub(super) outcomes: [Counter; AuthorizationOutcome::COUNT],
    /// `authorization_seconds`.
    pub seconds: Histogram,
}

impl AuthorizationShard {
    fn new() -> Self {
        Self { outcomes: Default::default(), seconds: Histogram::new(BOUNDS) }
    }

    /// Counts how a question ended.
    #[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
    pub fn count(&self, outcome: AuthorizationOutcome) {
        self.outcomes[outcome as usize].add(1);
    }
}

impl Counts for AuthorizationShard {
    fn is_blank(&self) -> bool {
        are_blank(&self.outcomes)
    }
}

impl Metrics {
    /// The metrics of a route that asks, by its name.
    pub fn authorizations(&self, route: &str) -> Arc<AuthorizationMetrics> {
        self.authorizations.of(route.into(), || Sharded::new(self.threads, AuthorizationShard::new))
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
];
