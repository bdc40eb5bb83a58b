//! One endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::failures::{FailingNow, Failures};
use super::weight::{JustStarted, effective_weight};
use crate::component::{EndpointCounts, EndpointFacts};
use crate::metrics::EndpointMetrics;
use crate::upstream::Address;

/// An endpoint as a source has it.
#[derive(Clone, Debug)]
pub struct EndpointSpec {
    /// Where it is.
    pub address: Address,
    /// Its share among its neighbours; 0 for none while there are others.
    pub weight: u32,
    /// How long it takes from its appearance to its full weight; `None` for at once.
    pub warmup: Option<Duration>,
    /// When it has started; `None`: when it appears here.
    pub started: Option<SystemTime>,
    /// Whether it may be picked. One that may not never is, even when it is alone.
    pub enabled: bool,
    /// Where it stands.
    pub zone: Option<String>,
    /// What else balancers may go by.
    pub metadata: BTreeMap<String, String>,
}

/// An endpoint of an upstream.
#[derive(Debug)]
pub struct Endpoint {
    address: Address,
    weight: u32,
    warmup: Option<Duration>,
    pub(super) started: Option<SystemTime>,
    enabled: bool,
    /// What balancers are told of it.
    pub(super) about: Arc<EndpointFacts>,
    /// When it appeared, was enabled again or has started.
    pub(super) since: Instant,
    pub(super) known: Known,
}

/// What outlives a reload, for as long as the upstream has an endpoint of the same url.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) id: u32,
    pub(super) counts: Arc<EndpointCounts>,
    pub(super) failures: Arc<Failures>,
    pub(super) metrics: Arc<EndpointMetrics>,
}

impl Endpoint {
    /// An endpoint as it is configured now, since when, and what is known of it. What balancers were told of the one
    /// `before` it is kept if it is the same.
    pub(super) fn new(spec: EndpointSpec, since: Instant, known: Known, before: Option<&Self>) -> Self {
        let EndpointSpec { address, weight, warmup, started, enabled, zone, metadata } = spec;
        let (url, counts) = (address.url().to_owned(), Arc::clone(&known.counts));
        let about = EndpointFacts { url, zone, metadata: metadata.into_iter().collect(), counts };
        let kept = before.map(|before| &before.about).filter(|kept| kept.is_told_as(&about));
        let about = kept.map_or_else(|| Arc::new(about), Arc::clone);
        Self { address, weight, warmup, started, enabled, about, since, known }
    }

    /// Whether it is configured so.
    pub(super) fn is_as(&self, spec: &EndpointSpec) -> bool {
        let EndpointSpec { address, weight, warmup, started, enabled, zone, metadata } = spec;
        let own = (self.weight, self.warmup, self.started, self.enabled);
        let is_alike = own == (*weight, *warmup, *started, *enabled);
        let own = self.about.metadata.iter().map(|(name, value)| (name, value));
        is_alike && self.url() == address.url() && self.about.zone == *zone && own.eq(metadata)
    }

    /// Names the endpoint in calls of the balancer; the same for as long as the endpoint stays configured.
    pub fn id(&self) -> u32 {
        self.known.id
    }

    /// Where it is.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Its url, as components and metrics know it.
    pub fn url(&self) -> &str {
        self.address.url()
    }

    /// The configured weight.
    pub fn weight(&self) -> u32 {
        self.weight
    }

    /// How long it takes from its appearance to its full weight.
    pub fn warmup(&self) -> Option<Duration> {
        self.warmup
    }

    /// Whether it may be picked.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Where it stands.
    pub fn zone(&self) -> Option<&str> {
        self.about.zone.as_deref()
    }

    /// What else balancers may go by, sorted by name.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.about.metadata
    }

    /// Live leases, over all workers.
    pub fn active(&self) -> u32 {
        self.known.counts.active.load(Ordering::Relaxed)
    }

    /// What is known of it while it fails; `None` while it does not.
    pub fn failing(&self, now: Instant) -> Option<FailingNow> {
        self.known.failures.now(now)
    }

    /// The weight in force at a moment.
    pub fn effective_weight(&self, now: Instant, just_started: JustStarted) -> u32 {
        effective_weight(
            milliseconds(now.saturating_duration_since(self.since)),
            self.warmup_ms(),
            self.weight,
            just_started,
        )
    }

    /// When its full weight is reached; `None` when it is from the start.
    pub(super) fn warm_at(&self) -> Option<Instant> {
        self.warmup.filter(|_| self.weight > 1)?;
        // Rounded up: the weight is reckoned in whole milliseconds.
        self.since.checked_add(Duration::from_millis(self.warmup_ms()))
    }

    fn warmup_ms(&self) -> u64 {
        self.warmup.map_or(0, |warmup| u64::try_from(warmup.as_millis()).unwrap_or(u64::MAX))
    }
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
