//! The endpoints of a configuration, on their way to their upstreams: those that it names, and where others are found.

use std::sync::Arc;

use crate::balance::{Balance, EndpointSpec, Feed};
use crate::discovery::{Discovery, Terms, Wanted};
use crate::metrics::Metrics;

/// Endpoints that are handed in, and sources that are followed, when a configuration is put in force, and not before: one that was
/// only built changes nothing.
#[derive(Debug, Default)]
pub struct HandOver {
    named: Vec<(Arc<Balance>, Vec<EndpointSpec>)>,
    /// All that there are.
    found: Vec<Wanted>,
}

impl HandOver {
    pub(super) fn add(&mut self, balance: &Arc<Balance>, endpoints: Vec<EndpointSpec>) {
        self.named.push((balance.clone(), endpoints));
    }

    pub(super) fn find(&mut self, balance: &Arc<Balance>, terms: Terms) {
        self.found.push(Wanted { balance: balance.clone(), terms });
    }

    /// Hands them in, to be counted in these metrics. Sources that were followed and are none of it are followed no longer.
    pub fn hand_in(self, metrics: &Arc<Metrics>, discovery: &Discovery) {
        // First, so that none has the last word.
        discovery.follow(self.found);
        for (balance, endpoints) in self.named {
            Feed::new(balance, metrics.clone()).replace(endpoints);
        }
    }
}
