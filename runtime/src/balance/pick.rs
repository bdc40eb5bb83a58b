//! The endpoints of one upstream, and picking one.

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use thiserror::Error;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::failures::Change;
use super::feed::Identities;
use super::lease::{Dialling, Lease};
use super::set::EndpointSet;
use super::weight::JustStarted;
use crate::component::{Choice, Failure, PickEndpoint, PickSet};
use crate::metrics::WorkerIndex;

/// An upstream's endpoints, as they are at each moment. It outlives reloads that leave its upstream there.
#[derive(Debug)]
pub struct Balance {
    name: String,
    pub(super) just_started: JustStarted,
    pub(super) set: ArcSwap<EndpointSet>,
    /// Held by the one who makes a new set; who picks meanwhile goes by the old one.
    pub(super) identities: Mutex<Identities>,
    /// How many of the endpoints fail, those that are gone among them while something keeps them.
    pub(super) failing: Arc<AtomicUsize>,
    turn: AtomicUsize,
    complained: Mutex<Option<Instant>>,
}

/// The ids that a balancer is to pass over, in ascending order.
struct Passed {
    over: Vec<u32>,
    /// Whether all that was not tried fails, so that nothing that fails is among them.
    none_is_well: bool,
}

/// There is no endpoint to dial: none is enabled, or the balancer picked none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no endpoint is available")]
pub struct NoEndpoint;

impl Balance {
    /// An upstream of this name, without endpoints: they come by its [`Feed`](super::Feed).
    pub fn new(name: &str, just_started: JustStarted) -> Self {
        let set = EndpointSet::new(Vec::new(), just_started, Instant::now());
        Self {
            name: name.to_owned(),
            just_started,
            set: ArcSwap::from_pointee(set),
            identities: Mutex::default(),
            failing: Arc::default(),
            turn: AtomicUsize::new(0),
            complained: Mutex::default(),
        }
    }

    /// The upstream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The endpoints that there are now.
    pub fn set(&self) -> Arc<EndpointSet> {
        self.set.load_full()
    }

    /// Picks an endpoint for a connection of this worker, and begins an attempt to reach it.
    ///
    /// `pick` asks the balancer component: it gets the set, which is another one whenever an endpoint or a weight is, and
    /// the ids to pass over, and answers its choice. Passed over are those that were `tried` and, while others are left,
    /// those that fail; a failing one whose while is over is offered again, and if it is picked, it is passed over for
    /// everybody else until this attempt has ended. When the balancer fails, answers an id that is not in the set, or one
    /// to pass over while there are others, the endpoint is chosen uniformly, and the operator hears of it once a minute.
    pub fn lease(
        &self,
        worker: WorkerIndex,
        now: Instant,
        tried: &[u32],
        mut pick: impl FnMut(&Arc<PickSet>, &[u32]) -> Result<Option<Choice>, Failure>,
    ) -> Result<Dialling<'_>, NoEndpoint> {
        let set = self.current(now);
        if set.enabled().is_empty() {
            return Err(NoEndpoint);
        }
        loop {
            let Passed { over, none_is_well } = self.passed_over(&set, tried, now);
            let choice = match pick(set.picks(), &over) {
                Ok(None) => return Err(NoEndpoint),
                Ok(Some(choice)) if set.may_pick(choice.endpoint, &over) => choice,
                Ok(Some(Choice { endpoint, .. })) => {
                    self.complain(
                        now,
                        &format!("it picked endpoint {endpoint}, which is unknown or to be passed over"),
                    );
                    self.choose(&set, &over)?
                }
                Err(failure) => {
                    self.complain(now, &failure.to_string());
                    self.choose(&set, &over)?
                }
            };
            let endpoint = set.get(choice.endpoint).ok_or(NoEndpoint)?;
            let begun = endpoint.known.failures.begin(now);
            // Another worker may have begun to find out about it since we looked; then it is passed over now.
            if !none_is_well && begun.patience.is_none() && endpoint.known.failures.comes_last(now) {
                continue;
            }
            let has_others = !none_is_well && over.len() + 1 < set.enabled().len();
            let lease = Lease::new(Arc::clone(endpoint), worker);
            return Ok(Dialling::new(self, lease, choice.client_headers, begun, has_others));
        }
    }

    /// The endpoints that there are now, with the weights of now.
    fn current(&self, now: Instant) -> Guard<Arc<EndpointSet>> {
        let set = self.set.load();
        if set.is_warm() {
            return set;
        }
        drop(set);
        if let Ok(_making) = self.identities.try_lock()
            && let Some(next) = self.set.load().at(now)
        {
            self.set.store(Arc::new(next));
        }
        self.set.load()
    }

    /// What was tried, and what fails unless nothing else is left.
    fn passed_over(&self, set: &EndpointSet, tried: &[u32], now: Instant) -> Passed {
        // What is gone since it was tried is none of the balancer's business.
        let mut tried: Vec<u32> = tried.iter().copied().filter(|id| set.get(*id).is_some()).collect();
        tried.sort_unstable();
        if self.failing.load(Ordering::Relaxed) == 0 {
            return Passed { over: tried, none_is_well: false };
        }
        let last = |endpoint: &&Arc<Endpoint>| {
            endpoint.known.failures.comes_last(now) && tried.binary_search(&endpoint.id()).is_err()
        };
        let mut over: Vec<u32> = set.enabled().iter().filter(last).map(|endpoint| endpoint.id()).collect();
        if over.len() + tried.len() >= set.enabled().len() {
            return Passed { over: tried, none_is_well: true };
        }
        over.append(&mut tried);
        over.sort_unstable();
        Passed { over, none_is_well: false }
    }

    /// Tells the operator what an attempt has changed, and what follows for the others.
    pub(super) fn changed(&self, endpoint: &Endpoint, change: Change, reason: &dyn Display) {
        let (upstream, url) = (self.name.as_str(), endpoint.url());
        match change {
            Change::Nothing => {}
            Change::Failing { tell } => {
                if tell {
                    tracing::warn!(
                        upstream, endpoint = url, %reason,
                        "an endpoint stopped answering; while others do, it is passed over"
                    );
                }
            }
            Change::Well { tell, after } => {
                if tell {
                    let failing_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                    tracing::warn!(upstream, endpoint = url, failing_ms, "an endpoint answers again");
                }
                let set = self.set.load();
                let mut others = set.enabled().iter().filter(|other| other.id() != endpoint.id());
                // What had struck all of them is over; one alone must not carry what was meant for all.
                if others.all(|other| other.known.failures.is_failing()) {
                    let now = Instant::now();
                    set.endpoints().iter().for_each(|other| other.known.failures.fall_due(now));
                }
            }
        }
    }

    /// Our own choice: each in turn of those that are not passed over and have a weight, or of what is left.
    fn choose(&self, set: &EndpointSet, over: &[u32]) -> Result<Choice, NoEndpoint> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let untried = |candidate: &&PickEndpoint| over.binary_search(&candidate.id).is_err();
        let weighty = |candidate: &&PickEndpoint| candidate.weight > 0;
        let list = set.picks().list();
        nth(turn, || list.iter().filter(untried).filter(weighty))
            .or_else(|| nth(turn, || list.iter().filter(untried)))
            .or_else(|| nth(turn, || list.iter()))
            .map(Choice::from)
            .ok_or(NoEndpoint)
    }

    fn complain(&self, now: Instant, what: &str) {
        let mut complained = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|last| now.saturating_duration_since(last) >= COMPLAINT_INTERVAL) {
            *complained = Some(now);
            tracing::warn!(upstream = self.name, reason = what, "the balancer failed; choosing endpoints uniformly");
        }
    }
}

/// One of the candidates, each in its turn.
fn nth<'a, I: Iterator<Item = &'a PickEndpoint>>(turn: usize, candidates: impl Fn() -> I) -> Option<u32> {
    let count = candidates().count();
    let index = turn.checked_rem(count)?;
    candidates().nth(index).map(|candidate| candidate.id)
}

const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
