//! The endpoints of one upstream, and picking one.

use std::collections::HashMap;
use std::fmt::Display;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::time::Instant;

use super::endpoint::{Endpoint, EndpointSpec, Known};
use super::failures::{Change, Failures};
use super::lease::{Dialling, Lease};
use super::weight::JustStarted;
use crate::component::{Failure, PickEndpoint};
use crate::metrics::{Metrics, WorkerIndex};

/// An upstream's endpoints.
#[derive(Debug)]
pub struct Balance {
    name: String,
    endpoints: Vec<Arc<Endpoint>>,
    just_started: JustStarted,
    next_id: u32,
    /// How many of the endpoints fail, those of the sets before this one among them while something keeps them.
    failing: Arc<AtomicUsize>,
    /// When the last endpoint has its full weight; `None` when all have it from the start.
    warm_at: Option<Instant>,
    candidates: ArcSwap<Candidates>,
    /// Held by the one worker that makes new candidates; the others go on with the old ones.
    weighing: Mutex<()>,
    turn: AtomicUsize,
    complained: Mutex<Option<Instant>>,
}

/// The enabled endpoints with the weights of one moment, as the balancer sees them.
#[derive(Debug)]
struct Candidates {
    version: u64,
    list: Vec<PickEndpoint>,
    /// Whether a later moment may bring other weights.
    warming: bool,
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
            let (since, known) = match kept.remove(url) {
                Some(before) if spec.enabled && !before.spec.enabled => {
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
            endpoints.push(Arc::new(Endpoint { spec, since, known }));
        }
        let warm_at =
            endpoints.iter().filter(|endpoint| endpoint.is_enabled()).filter_map(|endpoint| endpoint.warm_at()).max();
        let candidates = ArcSwap::from_pointee(Candidates::weigh(&endpoints, warm_at, just_started, now));
        Self {
            name: name.to_owned(),
            endpoints,
            just_started,
            next_id,
            failing,
            warm_at,
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
    /// `pick` asks the balancer component: it gets the version of the set, which is another one whenever the set or a
    /// weight is, the set, and the ids to pass over, and answers an id. Passed over are those that were `tried` and, while
    /// others are left, those that fail; a failing one whose while is over is offered again, and if it is picked, it is
    /// passed over for everybody else until this attempt has ended. When the balancer fails, answers an id that is not
    /// in the set, or one to pass over while there are others, the endpoint is chosen uniformly, and the operator hears
    /// of it once a minute.
    pub fn lease(
        &self,
        worker: WorkerIndex,
        now: Instant,
        tried: &[u32],
        mut pick: impl FnMut(u64, &[PickEndpoint], &[u32]) -> Result<Option<u32>, Failure>,
    ) -> Result<Dialling<'_>, NoEndpoint> {
        self.reweigh(now);
        let candidates = self.candidates.load();
        if candidates.list.is_empty() {
            return Err(NoEndpoint);
        }
        loop {
            let Passed { over, none_is_well } = self.passed_over(&candidates, tried, now);
            let id = match pick(candidates.version, &candidates.list, &over) {
                Ok(None) => return Err(NoEndpoint),
                Ok(Some(id)) if candidates.may_pick(id, &over) => id,
                Ok(Some(id)) => {
                    self.complain(now, &format!("it picked endpoint {id}, which is unknown or to be passed over"));
                    self.choose(&candidates, &over)?
                }
                Err(failure) => {
                    self.complain(now, &failure.to_string());
                    self.choose(&candidates, &over)?
                }
            };
            let endpoint = self.endpoints.iter().find(|endpoint| endpoint.id() == id).ok_or(NoEndpoint)?;
            let begun = endpoint.known.failures.begin(now);
            // Another worker may have begun to find out about it since we looked; then it is passed over now.
            if !none_is_well && begun.patience.is_none() && endpoint.known.failures.comes_last(now) {
                continue;
            }
            let has_others = !none_is_well && over.len() + 1 < candidates.list.len();
            return Ok(Dialling::new(self, Lease::new(Arc::clone(endpoint), worker), begun, has_others));
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
        if over.len() + tried.len() >= candidates.list.len() {
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
        if self.warm_at.is_none() || !self.candidates.load().warming {
            return;
        }
        let Ok(_weighing) = self.weighing.try_lock() else {
            return;
        };
        let current = self.candidates.load();
        if !current.warming {
            return;
        }
        let enabled = self.endpoints.iter().filter(|endpoint| endpoint.is_enabled());
        let weights = enabled.map(|endpoint| endpoint.effective_weight(now, self.just_started));
        let unchanged = weights.eq(current.list.iter().map(|candidate| candidate.weight));
        if !unchanged || self.warm_at.is_some_and(|warm_at| now >= warm_at) {
            let mut next = Candidates::weigh(&self.endpoints, self.warm_at, self.just_started, now);
            if unchanged {
                next.version = current.version;
            }
            self.candidates.store(Arc::new(next));
        }
    }

    /// Our own choice: each in turn of those that are not passed over and have a weight, or of what is left.
    fn choose(&self, candidates: &Candidates, over: &[u32]) -> Result<u32, NoEndpoint> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let untried = |candidate: &&PickEndpoint| over.binary_search(&candidate.id).is_err();
        let weighty = |candidate: &&PickEndpoint| candidate.weight > 0;
        let list = &candidates.list;
        nth(turn, || list.iter().filter(untried).filter(weighty))
            .or_else(|| nth(turn, || list.iter().filter(untried)))
            .or_else(|| nth(turn, || list.iter()))
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

impl Candidates {
    fn weigh(endpoints: &[Arc<Endpoint>], warm_at: Option<Instant>, just_started: JustStarted, now: Instant) -> Self {
        let list = endpoints.iter().filter(|endpoint| endpoint.is_enabled()).map(|endpoint| PickEndpoint {
            id: endpoint.id(),
            url: endpoint.url().to_owned(),
            weight: endpoint.effective_weight(now, just_started),
            counts: Arc::clone(&endpoint.known.counts),
        });
        Self {
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
            list: list.collect(),
            warming: warm_at.is_some_and(|warm_at| now < warm_at),
        }
    }

    /// Whether an id is in the set, and not to be passed over unless all are.
    fn may_pick(&self, id: u32, over: &[u32]) -> bool {
        let passed = |id| over.binary_search(&id).is_ok();
        self.list.iter().any(|candidate| candidate.id == id)
            && (!passed(id) || self.list.iter().all(|candidate| passed(candidate.id)))
    }
}

/// One of the candidates, each in its turn.
fn nth<'a, I: Iterator<Item = &'a PickEndpoint>>(turn: usize, candidates: impl Fn() -> I) -> Option<u32> {
    let count = candidates().count();
    let index = turn.checked_rem(count)?;
    candidates().nth(index).map(|candidate| candidate.id)
}

/// Versions are unique in the process: a balancer that outlives a reload sees the new set as new.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
