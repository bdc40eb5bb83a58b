//! The endpoints of one upstream, and picking one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::time::Instant;

use super::endpoint::{Endpoint, EndpointSpec, Lease};
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

/// There is no endpoint to dial: none is enabled, or the balancer picked none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no endpoint is available")]
pub struct NoEndpoint;

impl Balance {
    /// The endpoints of an upstream. Those that `previous`, the set of the same upstream before a reload, has with the
    /// same url keep their id, their live connections and their time of appearance; the others appear `now`.
    pub fn new(
        name: &str,
        specs: Vec<EndpointSpec>,
        just_started: JustStarted,
        previous: Option<&Self>,
        metrics: &Metrics,
        now: Instant,
    ) -> Self {
        let mut next_id = previous.map_or(0, |previous| previous.next_id);
        let kept = previous.into_iter().flat_map(|previous| &previous.endpoints);
        let mut kept: HashMap<&str, &Arc<Endpoint>> = kept.map(|endpoint| (endpoint.url(), endpoint)).collect();
        let mut endpoints = Vec::with_capacity(specs.len());
        for spec in specs {
            let url = spec.address.url();
            let before = kept.remove(url);
            endpoints.push(Arc::new(match before {
                Some(before) => Endpoint {
                    id: before.id,
                    spec,
                    since: before.since,
                    active: Arc::clone(&before.active),
                    metrics: Arc::clone(&before.metrics),
                },
                None => {
                    let id = next_id;
                    next_id = next_id.wrapping_add(1);
                    let metrics = metrics.endpoint(name, url);
                    Endpoint { id, spec, since: now, active: Arc::default(), metrics }
                }
            }));
        }
        let warm_at =
            endpoints.iter().filter(|endpoint| endpoint.is_enabled()).filter_map(|endpoint| endpoint.warm_at()).max();
        let candidates = ArcSwap::from_pointee(Candidates::weigh(&endpoints, warm_at, just_started, now));
        Self {
            name: name.to_owned(),
            endpoints,
            just_started,
            next_id,
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

    /// Picks an endpoint for a connection of this worker.
    ///
    /// `pick` asks the balancer component: it gets the version of the set, which is another one whenever the set or a
    /// weight is, and the set, and answers an id. When it fails, answers an id that is not in the set, or one that was
    /// `tried` while there are others, the endpoint is chosen uniformly, and the operator hears of it once a minute.
    pub fn lease(
        &self,
        worker: WorkerIndex,
        now: Instant,
        tried: &[u32],
        pick: impl FnOnce(u64, &[PickEndpoint]) -> Result<Option<u32>, Failure>,
    ) -> Result<Lease, NoEndpoint> {
        self.reweigh(now);
        let candidates = self.candidates.load();
        if candidates.list.is_empty() {
            return Err(NoEndpoint);
        }
        let id = match pick(candidates.version, &candidates.list) {
            Ok(None) => return Err(NoEndpoint),
            Ok(Some(id)) if candidates.may_pick(id, tried) => id,
            Ok(Some(id)) => {
                self.complain(now, &format!("it picked endpoint {id}, which is unknown or was tried already"));
                self.choose(&candidates, tried)?
            }
            Err(failure) => {
                self.complain(now, &failure.to_string());
                self.choose(&candidates, tried)?
            }
        };
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.id == id).ok_or(NoEndpoint)?;
        Ok(Lease::new(Arc::clone(endpoint), worker))
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

    /// Our own choice: each in turn of those that were not tried and have a weight, or of what is left.
    fn choose(&self, candidates: &Candidates, tried: &[u32]) -> Result<u32, NoEndpoint> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let untried = |candidate: &&PickEndpoint| !tried.contains(&candidate.id);
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
            id: endpoint.id,
            url: endpoint.url().to_owned(),
            weight: endpoint.effective_weight(now, just_started),
            active: Arc::clone(&endpoint.active),
        });
        Self {
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
            list: list.collect(),
            warming: warm_at.is_some_and(|warm_at| now < warm_at),
        }
    }

    /// Whether an id is in the set, and untried unless all were tried.
    fn may_pick(&self, id: u32, tried: &[u32]) -> bool {
        self.list.iter().any(|candidate| candidate.id == id)
            && (!tried.contains(&id) || self.list.iter().all(|candidate| tried.contains(&candidate.id)))
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
