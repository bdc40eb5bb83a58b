//! The endpoints that a configuration names, on their way to their upstreams.

use std::sync::Arc;

use crate::balance::{Balance, EndpointSpec, Feed};
use crate::metrics::Metrics;

/// Endpoints that are handed in when a configuration is put in force, and not before: one that was only built changes
/// nothing.
#[derive(Debug, Default)]
pub struct HandOver(Vec<(Arc<Balance>, Vec<EndpointSpec>)>);

impl HandOver {
    pub(super) fn add(&mut self, balance: &Arc<Balance>, endpoints: Vec<EndpointSpec>) {
        self.0.push((balance.clone(), endpoints));
    }

    /// Hands them in, to be counted in these metrics.
    pub fn hand_in(self, metrics: &Arc<Metrics>) {
        for (balance, endpoints) in self.0 {
            Feed::new(balance, metrics.clone()).replace(endpoints);
        }
    }
}
