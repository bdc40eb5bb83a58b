//! The endpoints of one upstream, and picking one.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::time::Instant;

use super::candidates::Candidates;
use super::endpoint::{Endpoint, EndpointSpec, Known};
use super::failures::{Change, Failures};
use super::lease::{Dialling, Lease};
use super::weight::JustStarted;
use crate::component::{Choice, Failure, PickEndpoint, PickSet};
use crate::metrics::{Metrics, WorkerIndex};

/// An upstream's endpoints.
#[derive(Debug)]
pub struct Balance {
    name: String,
    endpoints: Vec<Arc<Endpoint>>,
    next_id: u32,
    /// How many of the endpoints fail, those of the sets before this one among them while something keeps them.
    failing: Arc<AtomicUsize>,
    candidates: ArcSwap<Candidates>,
    /// Held by the one worker that makes new candidates; the others go on with the old ones.
    weighing: Mutex<()>,
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
    /// The endpoints of an upstream. Those that `previous`, the set of the same upstream before a reload, has with the
    /// same url keep their id, their live connections, their failures and their time of appearance; the others appear
    /// `now`. One that was disabled and no longer is begins anew: it appears `now` and has not failed.
    pub fn new(
        name: &str,
        specs: Vec<EndpointSpec>,
        just_started: JustStarted,
        previous: Option<&Self>,
        metrics: &Metrics,
        now: Instant,
    ) -> Self {
        let mut next_id = previous.map_or(0, |previous| previous.next_id);
        let failing = previous.map_or_else(Arc::default, |previous| Arc::clone(&previous.failing));
        let mut kept: HashMap<&str, &Endpoint> =
            previous.into_iter().flat_map(Self::endpoints).map(|endpoint| (endpoint.url(), endpoint)).collect();
        let mut endpoints = Vec::with_capacity(specs.len());
        for spec in specs {
            let url = spec.address.url();
            let failures = || Arc::new(Failures::none(Arc::clone(&failing), metrics.endpoint_failing(name, url)));
            let before = kept.remove(url);
            let (since, known) = match before {
                Some(before) if spec.enabled && !before.is_enabled() => {
                    (now, Known { failures: failures(), ..before.known.clone() })
                }
                Some(before) => (before.since, before.known.clone()),
                None => {
                    let id = next_id;
                    next_id = next_id.wrapping_add(1);
                    let metrics = metrics.endpoint(name, url);
                    (now, Known { id, counts: Arc::default(), failures: failures(), metrics })
                }
            };
            endpoints.push(Arc::new(Endpoint::new(spec, since, known, before)));
        }
        let candidates = ArcSwap::from_pointee(Candidates::weigh(&endpoints, just_started, now));
        Self {
            name: name.to_owned(),
            endpoints,
            next_id,
            failing,
            candidates,
            weighing: Mutex::default(),
            turn: AtomicUsize::new(0),
            complained: Mutex::default(),
        }
    }

    /// The upstream's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All endpoints, the disabled ones among them.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.endpoints.iter().map(AsRef::as_ref)
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
        self.reweigh(now);
        let candidates = self.candidates.load();
        if candidates.is_empty() {
            return Err(NoEndpoint);
        }
        loop {
            let Passed { over, none_is_well } = self.passed_over(&candidates, tried, now);
            let choice = match pick(&candidates.set, &over) {
                Ok(None) => return Err(NoEndpoint),
                Ok(Some(choice)) if candidates.may_pick(choice.endpoint, &over) => choice,
                Ok(Some(Choice { endpoint, .. })) => {
                    self.complain(
                        now,
                        &format!("it picked endpoint {endpoint}, which is unknown or to be passed over"),
                    );
                    self.choose(&candidates, &over)?
                }
                Err(failure) => {
                    self.complain(now, &failure.to_string());
                    self.choose(&candidates, &over)?
                }
            };
            let endpoint = candidates.get(choice.endpoint).ok_or(NoEndpoint)?;
            let begun = endpoint.known.failures.begin(now);
            // Another worker may have begun to find out about it since we looked; then it is passed over now.
            if !none_is_well && begun.patience.is_none() && endpoint.known.failures.comes_last(now) {
                continue;
            }
            let has_others = !none_is_well && over.len() + 1 < candidates.set.list().len();
            let lease = Lease::new(Arc::clone(endpoint), worker);
            return Ok(Dialling::new(self, lease, choice.client_headers, begun, has_others));
        }
    }

    /// What was tried, and what fails unless nothing else is left.
    fn passed_over(&self, candidates: &Candidates, tried: &[u32], now: Instant) -> Passed {
        let mut tried = tried.to_vec();
        tried.sort_unstable();
        if self.failing.load(Ordering::Relaxed) == 0 {
            return Passed { over: tried, none_is_well: false };
        }
        let last = |endpoint: &&Endpoint| {
            endpoint.is_enabled()
                && endpoint.known.failures.comes_last(now)
                && tried.binary_search(&endpoint.id()).is_err()
        };
        let mut over: Vec<u32> = self.endpoints().filter(last).map(Endpoint::id).collect();
        if over.len() + tried.len() >= candidates.set.list().len() {
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
                let mut others = self.endpoints().filter(|other| other.is_enabled() && other.id() != endpoint.id());
                // What had struck all of them is over; one alone must not carry what was meant for all.
                if others.all(|other| other.known.failures.is_failing()) {
                    let now = Instant::now();
                    self.endpoints().for_each(|other| other.known.failures.fall_due(now));
                }
            }
        }
    }

    /// Makes new candidates if time has changed a weight.
    fn reweigh(&self, now: Instant) {
        if self.candidates.load().is_warm() {
            return;
        }
        let Ok(_weighing) = self.weighing.try_lock() else {
            return;
        };
        if let Some(next) = self.candidates.load().at(now) {
            self.candidates.store(Arc::new(next));
        }
    }

    /// Our own choice: each in turn of those that are not passed over and have a weight, or of what is left.
    fn choose(&self, candidates: &Candidates, over: &[u32]) -> Result<Choice, NoEndpoint> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let untried = |candidate: &&PickEndpoint| over.binary_search(&candidate.id).is_err();
        let weighty = |candidate: &&PickEndpoint| candidate.weight > 0;
        let list = candidates.set.list();
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
