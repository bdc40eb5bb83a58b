//! The endpoints of an upstream, as they are until somebody hands in others or time changes a weight.

use std::sync::Arc;

use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::weight::JustStarted;
use crate::component::{PickEndpoint, PickSet};

/// A set of endpoints with the weights of one moment; immutable.
#[derive(Debug)]
pub struct EndpointSet {
    /// In the order in which they were handed in.
    all: Arc<[Arc<Endpoint>]>,
    /// Those that may be picked, in ascending order of ids.
    enabled: Arc<[Arc<Endpoint>]>,
    /// The same, as the balancer sees them.
    picks: Arc<PickSet>,
    /// The places of those of them whose weight a later moment may change.
    warming: Vec<usize>,
    just_started: JustStarted,
}

impl EndpointSet {
    pub(super) fn new(all: Vec<Arc<Endpoint>>, just_started: JustStarted, now: Instant) -> Self {
        let mut enabled: Vec<_> = all.iter().filter(|endpoint| endpoint.is_enabled()).cloned().collect();
        enabled.sort_by_key(|endpoint| endpoint.id());
        let picks = enabled.iter().map(|endpoint| PickEndpoint {
            id: endpoint.id(),
            weight: endpoint.effective_weight(now, just_started),
            about: Arc::clone(&endpoint.about),
        });
        let picks = Arc::new(PickSet::new(picks.collect()));
        let warming = (0..).zip(&enabled).filter(|(_, endpoint)| is_warming(endpoint, now));
        let warming = warming.map(|(place, _)| place).collect();
        Self { all: all.into(), enabled: enabled.into(), picks, warming, just_started }
    }

    /// Another number than that of any other set in this process, but for sets that no balancer could tell apart.
    pub fn version(&self) -> u64 {
        self.picks.version()
    }

    /// All endpoints, the disabled ones among them, in the order in which they were handed in.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.all
    }

    /// Those that may be picked, in ascending order of ids.
    pub(super) fn enabled(&self) -> &[Arc<Endpoint>] {
        &self.enabled
    }

    /// Those that may be picked, as the balancer sees them.
    pub(super) fn picks(&self) -> &Arc<PickSet> {
        &self.picks
    }

    /// The endpoint of this id, if it may be picked.
    pub(super) fn get(&self, id: u32) -> Option<&Arc<Endpoint>> {
        self.picks.place(id).and_then(|place| self.enabled.get(place))
    }

    /// Whether all have the weight that they keep.
    pub(super) fn is_warm(&self) -> bool {
        self.warming.is_empty()
    }

    /// The same endpoints at a later moment, if that makes a difference.
    pub(super) fn at(&self, now: Instant) -> Option<Self> {
        let others = self.warming.iter().filter_map(|place| {
            let weight = self.enabled.get(*place)?.effective_weight(now, self.just_started);
            let is_another = self.picks.list().get(*place)?.weight != weight;
            is_another.then_some((*place, weight))
        });
        let others: Vec<_> = others.collect();
        let is_still = |place: &usize| self.enabled.get(*place).is_some_and(|endpoint| is_warming(endpoint, now));
        if others.is_empty() && self.warming.iter().all(is_still) {
            return None;
        }
        Some(Self {
            all: Arc::clone(&self.all),
            enabled: Arc::clone(&self.enabled),
            picks: if others.is_empty() { Arc::clone(&self.picks) } else { Arc::new(self.picks.reweighed(&others)) },
            warming: self.warming.iter().copied().filter(is_still).collect(),
            just_started: self.just_started,
        })
    }

    /// Whether an id is in the set, and not to be passed over unless all are.
    pub(super) fn may_pick(&self, id: u32, over: &[u32]) -> bool {
        let passed = |id| over.binary_search(&id).is_ok();
        self.picks.get(id).is_some() && (!passed(id) || self.picks.list().iter().all(|endpoint| passed(endpoint.id)))
    }
}

fn is_warming(endpoint: &Endpoint, now: Instant) -> bool {
    endpoint.warm_at().is_some_and(|warm_at| now < warm_at)
}
