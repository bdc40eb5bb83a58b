//! The endpoints that may be picked, with the weights of a moment.

use std::sync::Arc;

use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::weight::JustStarted;
use crate::component::{PickEndpoint, PickSet};

/// The enabled endpoints with the weights of one moment.
#[derive(Debug)]
pub(super) struct Candidates {
    /// As the balancer sees them.
    pub(super) set: Arc<PickSet>,
    /// Those of the set, in the same order.
    endpoints: Arc<[Arc<Endpoint>]>,
    /// The places of those whose weight a later moment may change.
    warming: Vec<usize>,
    just_started: JustStarted,
}

impl Candidates {
    /// Those of these endpoints that may be picked.
    pub(super) fn weigh(endpoints: &[Arc<Endpoint>], just_started: JustStarted, now: Instant) -> Self {
        let enabled = endpoints.iter().filter(|endpoint| endpoint.is_enabled());
        let mut endpoints: Vec<_> = enabled.cloned().collect();
        endpoints.sort_by_key(|endpoint| endpoint.id());
        let list = endpoints.iter().map(|endpoint| PickEndpoint {
            id: endpoint.id(),
            weight: endpoint.effective_weight(now, just_started),
            about: Arc::clone(&endpoint.about),
        });
        let set = Arc::new(PickSet::new(list.collect()));
        let warming = (0..).zip(&endpoints).filter(|(_, endpoint)| is_warming(endpoint, now));
        let warming = warming.map(|(place, _)| place).collect();
        Self { set, endpoints: endpoints.into(), warming, just_started }
    }

    /// Whether all have the weight that they keep.
    pub(super) fn is_warm(&self) -> bool {
        self.warming.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The same endpoints at a later moment, if that makes a difference.
    pub(super) fn at(&self, now: Instant) -> Option<Self> {
        let others = self.warming.iter().filter_map(|place| {
            let weight = self.endpoints.get(*place)?.effective_weight(now, self.just_started);
            let is_another = self.set.list().get(*place)?.weight != weight;
            is_another.then_some((*place, weight))
        });
        let others: Vec<_> = others.collect();
        let is_still = |place: &usize| self.endpoints.get(*place).is_some_and(|endpoint| is_warming(endpoint, now));
        if others.is_empty() && self.warming.iter().all(is_still) {
            return None;
        }
        let set = if others.is_empty() { Arc::clone(&self.set) } else { Arc::new(self.set.reweighed(&others)) };
        let warming = self.warming.iter().copied().filter(is_still).collect();
        Some(Self { set, endpoints: Arc::clone(&self.endpoints), warming, just_started: self.just_started })
    }

    /// The endpoint of this id, if it may be picked.
    pub(super) fn get(&self, id: u32) -> Option<&Arc<Endpoint>> {
        self.set.place(id).and_then(|place| self.endpoints.get(place))
    }

    /// Whether an id is in the set, and not to be passed over unless all are.
    pub(super) fn may_pick(&self, id: u32, over: &[u32]) -> bool {
        let passed = |id| over.binary_search(&id).is_ok();
        self.set.get(id).is_some() && (!passed(id) || self.set.list().iter().all(|candidate| passed(candidate.id)))
    }
}

fn is_warming(endpoint: &Endpoint, now: Instant) -> bool {
    endpoint.warm_at().is_some_and(|warm_at| now < warm_at)
}
