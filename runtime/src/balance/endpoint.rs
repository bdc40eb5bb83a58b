//! One endpoint, and a connection's hold on it.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::weight::{JustStarted, effective_weight};
use crate::metrics::{ConnectOutcome, EndpointMetrics, WorkerIndex};
use crate::upstream::Address;

/// An endpoint as the configuration has it.
#[derive(Clone, Debug)]
pub struct EndpointSpec {
    /// Where it is.
    pub address: Address,
    /// Its share among its neighbours; 0 for none while there are others.
    pub weight: u32,
    /// How long it takes from its appearance to its full weight; `None` for at once.
    pub warmup: Option<Duration>,
    /// Whether it may be picked. One that may not never is, even when it is alone.
    pub enabled: bool,
}

/// An endpoint of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) id: u32,
    pub(super) spec: EndpointSpec,
    pub(super) since: Instant,
    pub(super) active: Arc<AtomicU32>,
    pub(super) metrics: Arc<EndpointMetrics>,
}

impl Endpoint {
    /// Names the endpoint in calls of the balancer; the same for as long as the endpoint stays configured.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.spec.address
    }

    /// Its url, as components and metrics know it.
    pub fn url(&self) -> &str {
        self.spec.address.url()
    }

    /// The configured weight.
    pub fn weight(&self) -> u32 {
        self.spec.weight
    }

    /// How long it takes from its appearance to its full weight.
    pub fn warmup(&self) -> Option<Duration> {
        self.spec.warmup
    }

    /// Whether it may be picked.
    pub fn is_enabled(&self) -> bool {
        self.spec.enabled
    }

    /// Live leases, over all workers.
    pub fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// The weight in force at a moment.
    pub fn effective_weight(&self, now: Instant, just_started: JustStarted) -> u32 {
        effective_weight(
            milliseconds(now.saturating_duration_since(self.since)),
            self.warmup_ms(),
            self.spec.weight,
            just_started,
        )
    }

    /// When its full weight is reached; `None` when it is from the start.
    pub(super) fn warm_at(&self) -> Option<Instant> {
        self.spec.warmup.filter(|_| self.spec.weight > 1)?;
        // Rounded up: the weight is reckoned in whole milliseconds.
        self.since.checked_add(Duration::from_millis(self.warmup_ms()))
    }

    fn warmup_ms(&self) -> u64 {
        self.spec.warmup.map_or(0, |warmup| u64::try_from(warmup.as_millis()).unwrap_or(u64::MAX))
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A connection's hold on an endpoint, counted from before it is dialled. Dropping it gives the endpoint back. It stays
/// on the worker that took it, whose counters it uses.
#[derive(Debug)]
pub struct Lease {
    endpoint: Arc<Endpoint>,
    worker: WorkerIndex,
    on_this_thread: PhantomData<Rc<()>>,
}

impl Lease {
    pub(super) fn new(endpoint: Arc<Endpoint>, worker: WorkerIndex) -> Self {
        endpoint.active.fetch_add(1, Ordering::Relaxed);
        endpoint.metrics.of(worker).connections_active.add(1);
        Self { endpoint, worker, on_this_thread: PhantomData }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Counts how dialling it ended.
    pub fn dialled(&self, outcome: ConnectOutcome) {
        if let Some(counter) = self.endpoint.metrics.of(self.worker).connects.get(outcome as usize) {
            counter.add(1);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.active.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.metrics.of(self.worker).connections_active.add(-1);
    }
}
