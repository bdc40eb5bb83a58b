//! The metrics of the process, found by name: a route, an endpoint or a component that a reload keeps goes on
//! counting where it was.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use tracing_appender::non_blocking::ErrorCounter;

use super::application::ApplicationMetrics;
use super::authorization::AuthorizationMetrics;
use super::candidate::CandidateShard;
use super::cells::{Counter, Gauge, Histogram, Sharded, WorkerIndex};
use super::component::{ComponentMetrics, ComponentShard, UseMetrics, UseShard};
use super::discovery::DiscoveryMetrics;
use super::http2::Http2Metrics;
use super::incidents::Incidents;
use super::isolated::IsolatedInstances;
use super::labels::{
    CloseLabel, CompileSource, ConnectOutcome, HandshakeOutcome, InflateFailure, Initiator, Limit, ReloadOutcome,
    UpgradeFailure,
};
use super::listener::{AcmeOrders, CertificateExpiry, ListenerMetrics};
use super::request::RequestShard;
use super::roster::{Counts, Roster};
use crate::peer::{MessageKind, Side};

/// All metrics of the process.
#[derive(Debug)]
pub struct Metrics {
    pub(super) threads: usize,
    pub(super) listeners: Roster<Name, ListenerMetrics>,
    pub(super) http2: Roster<Name, Http2Metrics>,
    pub(super) certificates: Roster<Pair, CertificateExpiry>,
    pub(super) acme_orders: Roster<Name, AcmeOrders>,
    pub(super) authorizations: Roster<Name, AuthorizationMetrics>,
    pub(super) applications: Roster<Name, ApplicationMetrics>,
    pub(super) routes: Roster<Name, RouteMetrics>,
    pub(super) endpoints: Roster<Pair, EndpointMetrics>,
    pub(super) discoveries: Roster<Pair, DiscoveryMetrics>,
    pub(super) components: Roster<Name, ComponentMetrics>,
    pub(super) uses: Roster<Pair, UseMetrics>,
    pub(super) candidates: Roster<Pair, CandidateMetrics>,
    pub(super) versions: Arc<Mutex<Vec<Weak<Version>>>>,
    pub(super) compiles: Arc<[AtomicU64; CompileSource::COUNT]>,
    pub(super) failing: Roster<Pair, AtomicU64>,
    pub(super) quarantined: Roster<Pair, AtomicU64>,
    pub(super) reloads: [AtomicU64; ReloadOutcome::COUNT],
    pub(super) upgrade_failures: [AtomicU64; UpgradeFailure::COUNT],
    pub(super) incidents: Incidents,
    pub(super) generation: AtomicU64,
    pub(super) assembly_bytes: Arc<Sharded<Gauge>>,
    pub(super) isolated: Arc<IsolatedInstances>,
    /// What each lost because it was too slow, and because nobody took it.
    pub(super) logs: Mutex<BTreeMap<&'static str, (ErrorCounter, Arc<AtomicU64>)>>,
}

impl Metrics {
    /// Metrics for this many workers and the control thread.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self {
            threads: workers + 1,
            listeners: Roster::default(),
            http2: Roster::default(),
            certificates: Roster::default(),
            acme_orders: Roster::default(),
            authorizations: Roster::default(),
            applications: Roster::default(),
            routes: Roster::default(),
            endpoints: Roster::default(),
            discoveries: Roster::default(),
            components: Roster::default(),
            uses: Roster::default(),
            candidates: Roster::default(),
            versions: Arc::default(),
            compiles: Arc::default(),
            failing: Roster::default(),
            quarantined: Roster::default(),
            reloads: Default::default(),
            upgrade_failures: Default::default(),
            incidents: Incidents::default(),
            generation: AtomicU64::new(0),
            assembly_bytes: Arc::new(Sharded::new(workers + 1, Gauge::default)),
            isolated: Arc::default(),
            logs: Mutex::default(),
        })
    }

    /// Metrics to build a configuration with that may never be in force. What these have already goes on counting where
    /// it is; what is new appears here with [`Metrics::adopt`].
    pub fn draft(&self) -> Arc<Self> {
        Arc::new(Self {
            threads: self.threads,
            listeners: self.listeners.draft(),
            http2: self.http2.draft(),
            certificates: self.certificates.draft(),
            acme_orders: self.acme_orders.draft(),
            authorizations: self.authorizations.draft(),
            applications: self.applications.draft(),
            routes: self.routes.draft(),
            endpoints: self.endpoints.draft(),
            discoveries: self.discoveries.draft(),
            components: self.components.draft(),
            uses: self.uses.draft(),
            candidates: self.candidates.draft(),
            versions: Arc::clone(&self.versions),
            compiles: Arc::clone(&self.compiles),
            upgrade_failures: Default::default(),
            failing: self.failing.draft(),
            quarantined: self.quarantined.draft(),
            reloads: Default::default(),
            incidents: Incidents::default(),
            generation: AtomicU64::new(0),
            assembly_bytes: Arc::clone(&self.assembly_bytes),
            isolated: Arc::clone(&self.isolated),
            logs: Mutex::default(),
        })
    }

    /// Takes in what is new in a [`Metrics::draft`] of these, which is empty then.
    pub fn adopt(&self, draft: &Self) {
        self.listeners.adopt(&draft.listeners);
        self.http2.adopt(&draft.http2);
        self.certificates.adopt(&draft.certificates);
        self.acme_orders.adopt(&draft.acme_orders);
        self.authorizations.adopt(&draft.authorizations);
        self.applications.adopt(&draft.applications);
        self.routes.adopt(&draft.routes);
        self.endpoints.adopt(&draft.endpoints);
        self.discoveries.adopt(&draft.discoveries);
        self.components.adopt(&draft.components);
        self.uses.adopt(&draft.uses);
        self.candidates.adopt(&draft.candidates);
        self.quarantined.adopt(&draft.quarantined);
        self.failing.adopt(&draft.failing);
    }

    /// How many workers count here.
    pub fn workers(&self) -> usize {
        self.threads - 1
    }

    /// The shard index of the control thread; workers have the indices below.
    pub fn control(&self) -> WorkerIndex {
        WorkerIndex(self.threads - 1)
    }

    /// `assembly_bytes`: what each worker holds of messages, as `assembly_memory` bounds it.
    pub fn assembly_bytes(&self) -> Arc<Sharded<Gauge>> {
        Arc::clone(&self.assembly_bytes)
    }

    /// `isolated_instances`: who has the instances that serve one connection each.
    pub fn isolated_instances(&self) -> Arc<IsolatedInstances> {
        Arc::clone(&self.isolated)
    }

    /// The metrics of a route; the empty name stands for handshakes that found none.
    ///
    /// These and the following are found under their name as long as somebody holds them, and are shown for one more
    /// scrape after that.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        self.routes.of(name.into(), || Sharded::new(self.threads, RouteShard::new))
    }

    /// The metrics of an endpoint of an upstream; `endpoint` is its url.
    pub fn endpoint(&self, upstream: &str, endpoint: &str) -> Arc<EndpointMetrics> {
        self.endpoints.of((upstream.into(), endpoint.into()), || Sharded::new(self.threads, EndpointShard::default))
    }

    /// How many endpoints of an upstream fail under a url: more than one only while a reload's former ones are kept. Any
    /// thread may write.
    pub fn endpoint_failing(&self, upstream: &str, endpoint: &str) -> Arc<AtomicU64> {
        self.failing.of((upstream.into(), endpoint.into()), || AtomicU64::new(0))
    }

    /// The metrics of a component, over all its uses.
    pub fn component(&self, name: &str) -> Arc<ComponentMetrics> {
        self.components.of(name.into(), || Sharded::new(self.threads, ComponentShard::new))
    }

    /// The metrics of a component on a route; a balancer's route is empty, because routes share an upstream.
    pub fn component_use(&self, route: &str, component: &str) -> Arc<UseMetrics> {
        self.uses.of((route.into(), component.into()), || Sharded::new(self.threads, UseShard::default))
    }

    /// The metrics of a component that is a candidate for a filter of a route.
    pub fn candidate(&self, route: &str, component: &str) -> Arc<CandidateMetrics> {
        self.candidates.of((route.into(), component.into()), || Sharded::new(self.threads, CandidateShard::default))
    }

    /// A version of a filter on a route, shown as long as somebody keeps it.
    pub fn version(&self, route: &str, component: &str, generation: u64) -> Arc<Version> {
        let connections = AtomicUsize::new(0);
        let version = Version { route: route.to_owned(), component: component.to_owned(), generation, connections };
        let version = Arc::new(version);
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        // Only where room would have to be made anyway: a thousand routes bring a thousand versions at once.
        if versions.len() == versions.capacity() {
            versions.retain(|known| known.strong_count() > 0);
            let room = versions.len().max(MIN_VERSIONS);
            versions.reserve_exact(room);
        }
        versions.push(Arc::downgrade(&version));
        version
    }

    /// The versions of filters that somebody keeps: those in force, and older ones that serve connections still.
    pub fn versions(&self) -> Vec<Arc<Version>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }

    /// Counts a component that was made ready.
    pub fn compiled(&self, source: CompileSource) {
        if let Some(counter) = self.compiles.get(source as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many uses of a component on a route are in quarantine; a balancer's route is empty. Any thread may write.
    pub fn quarantined(&self, route: &str, component: &str) -> Arc<AtomicU64> {
        self.quarantined.of((route.into(), component.into()), AtomicU64::default)
    }

    /// Counts a reload; an applied one is the new `generation`.
    pub fn reloaded(&self, outcome: ReloadOutcome) {
        if let Some(counter) = self.reloads.get(outcome as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a binary upgrade that failed.
    pub fn upgrade_failed(&self, reason: UpgradeFailure) {
        if let Some(counter) = self.upgrade_failures.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says which generation of the configuration is in force.
    pub fn set_generation(&self, generation: u64) {
        self.generation.store(generation, Ordering::Relaxed);
    }

    /// The generation of the configuration in force.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Shows under `log_lines_dropped_total` how many lines the log of this name has lost.
    pub fn watch_log(&self, log: &'static str, dropped: ErrorCounter, unwritten: Arc<AtomicU64>) {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner).insert(log, (dropped, unwritten));
    }
}

/// A filter on a route as one generation of the configuration brought it.
#[derive(Debug)]
pub struct Version {
    /// The route's name.
    pub route: String,
    /// The component's name.
    pub component: String,
    /// The generation of the configuration in which it was new.
    pub generation: u64,
    /// `component_connections`: the open connections it serves, over all workers.
    pub connections: AtomicUsize,
}

/// The name of a route or a component.
pub(super) type Name = Arc<str>;
/// The names of a route, or an upstream, and of what is counted there.
pub(super) type Pair = (Arc<str>, Arc<str>);

impl<T: Counts> Counts for Sharded<T> {
    fn is_blank(&self) -> bool {
        self.iter().all(Counts::is_blank)
    }
}

impl Counts for AtomicU64 {
    fn is_blank(&self) -> bool {
        self.load(Ordering::Relaxed) == 0
    }
}

pub(super) fn are_blank<'a>(counters: impl IntoIterator<Item = &'a Counter>) -> bool {
    counters.into_iter().all(|counter| counter.value() == 0)
}

/// The shards of a route.
pub type RouteMetrics = Sharded<RouteShard>;
/// The shards of an endpoint.
pub type EndpointMetrics = Sharded<EndpointShard>;
/// The shards of a candidate on a route.
pub type CandidateMetrics = Sharded<CandidateShard>;

impl RouteMetrics {
    /// Open connections of the route, over all workers.
    pub fn connections_active(&self) -> u64 {
        total(self.iter().map(|shard| &shard.connections_active))
    }
}

impl RouteMetrics {
    /// Plain requests of the route that are in progress, over all workers.
    pub fn requests_active(&self) -> u64 {
        total(self.iter().filter_map(|shard| Some(&shard.known_requests()?.active)))
    }
}

impl EndpointMetrics {
    /// Open connections to the endpoint, over all workers.
    pub fn connections_active(&self) -> u64 {
        total(self.iter().map(|shard| &shard.connections_active))
    }
}

/// Shards may be below zero on their own, as when one thread opens and another closes; their sum is not.
pub(super) fn total<'a>(gauges: impl Iterator<Item = &'a Gauge>) -> u64 {
    u64::try_from(gauges.map(Gauge::value).sum::<i64>()).unwrap_or(0)
}

/// What one thread counted for a route.
#[derive(Debug)]
pub struct RouteShard {
    /// `handshakes_total`, by [`HandshakeOutcome`].
    pub handshakes: [Counter; HandshakeOutcome::COUNT],
    /// `connections_active`.
    pub connections_active: Gauge,
    /// `connection_duration_seconds`.
    pub connection_duration: Histogram,
    /// `messages_total`, by sender and kind.
    pub messages: [[Counter; MessageKind::COUNT]; Side::COUNT],
    /// `message_bytes_total`, by sender.
    pub message_bytes: [Counter; Side::COUNT],
    /// `inflate_failures_total`, by sender and reason.
    pub inflate_failures: [[Counter; InflateFailure::COUNT]; Side::COUNT],
    /// `limit_closes_total`, by sender and limit.
    pub limit_closes: [[Counter; Limit::COUNT]; Side::COUNT],
    /// `closes_total`, by initiator and code.
    pub closes: [[Counter; CloseLabel::COUNT]; Initiator::COUNT],
    requests: OnceLock<Box<RequestShard>>,
}

impl Counts for RouteShard {
    fn is_blank(&self) -> bool {
        are_blank(self.handshakes.iter().chain(self.messages.iter().flatten()).chain(&self.message_bytes))
            && self.known_requests().is_none_or(RequestShard::is_blank)
    }
}

impl RouteShard {
    fn new() -> Self {
        Self {
            handshakes: Default::default(),
            connections_active: Gauge::default(),
            connection_duration: Histogram::new(CONNECTION_BOUNDS),
            messages: Default::default(),
            message_bytes: Default::default(),
            inflate_failures: Default::default(),
            limit_closes: Default::default(),
            closes: Default::default(),
            requests: OnceLock::new(),
        }
    }

    /// What is counted of plain requests. Only a route that serves them has it.
    pub fn requests(&self) -> &RequestShard {
        self.requests.get_or_init(|| Box::new(RequestShard::new()))
    }

    /// The same, if there are any.
    pub(super) fn known_requests(&self) -> Option<&RequestShard> {
        self.requests.get().map(Box::as_ref)
    }

    /// Counts a finished handshake.
    #[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
    pub fn handshake(&self, outcome: HandshakeOutcome) {
        self.handshakes[outcome as usize].add(1);
    }

    /// Counts the end of a connection.
    #[expect(clippy::indexing_slicing, reason = "sized by the enums that index it")]
    pub fn close(&self, by: Initiator, code: CloseLabel) {
        self.closes[by as usize][code as usize].add(1);
    }

    /// Counts a compressed message of one sender that could not be inflated.
    #[expect(clippy::indexing_slicing, reason = "sized by the enums that index it")]
    pub fn inflate_failure(&self, from: Side, reason: InflateFailure) {
        self.inflate_failures[from as usize][reason as usize].add(1);
    }

    /// Counts a connection that was closed because one side went beyond a limit.
    #[expect(clippy::indexing_slicing, reason = "sized by the enums that index it")]
    pub fn limit_close(&self, from: Side, limit: Limit) {
        self.limit_closes[from as usize][limit as usize].add(1);
    }

    /// Counts messages of one sender and kind.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "sized by the enums that index it")]
    pub fn messages(&self, from: Side, kind: MessageKind, count: u64) {
        self.messages[from as usize][kind as usize].add(count);
    }

    /// Counts payload bytes of one sender.
    #[inline]
    #[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
    pub fn message_bytes(&self, from: Side, bytes: u64) {
        self.message_bytes[from as usize].add(bytes);
    }
}

/// What one thread counted for an endpoint.
#[derive(Debug, Default)]
pub struct EndpointShard {
    /// `upstream_connects_total`, by [`ConnectOutcome`].
    pub connects: [Counter; ConnectOutcome::COUNT],
    /// `upstream_connections_active`.
    pub connections_active: Gauge,
}

impl Counts for EndpointShard {
    fn is_blank(&self) -> bool {
        are_blank(&self.connects)
    }
}

/// Room for versions of filters that is made at once at least.
const MIN_VERSIONS: usize = 16;

/// From a failed login to a day.
const CONNECTION_BOUNDS: &[Duration] = &[
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
    Duration::from_secs(24 * 3600),
];
