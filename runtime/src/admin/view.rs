//! What the API says, as the JSON that goes out.
//!
//! Field names are those of the configuration where it has one, and those of metrics and labels otherwise. No view shows
//! a component's configuration, because keys and claims to check for stand there.

mod candidate;
mod closing;
mod reload;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use thiserror::Error;
use tracing::Level;

pub use self::candidate::{CandidateView, Decision, DecisionReport, DecisionsView, SampleView, SampledMessageView};
pub use self::closing::{CloseQuery, CloseReport, Closed};
pub use self::reload::{ChangeView, ChangesView, InForceView, PolledView, ReloadReport, ReloadStatus, UnderwayView};
use crate::component::{Interest, Need, Selection};
use crate::session::Criteria;

/// A route (`GET /api/v1/routes`).
#[derive(Clone, Debug, Serialize)]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// Empty: any host.
    pub hosts: Vec<String>,
    /// The exact path, where one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The path prefix, where one is configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Names of the predicates, in order.
    pub when: Vec<String>,
    /// The filters, in the order in which they see the client's messages.
    pub filters: Vec<FilterView>,
    /// The upstream's name, unless the request names a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The upstream of each service that a request may name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub services: BTreeMap<String, String>,
    /// The status of what it answers by itself, in the place of an upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answers: Option<u16>,
    /// Open connections, over all workers.
    pub connections_active: u64,
    /// Plain requests in progress, over all workers; only where the route serves such.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_active: Option<u64>,
}

/// A filter on a route.
#[derive(Clone, Debug, Serialize)]
pub struct FilterView {
    /// The component's name.
    pub component: String,
    /// `close` or `bypass`.
    pub on_failure: &'static str,
    /// What it selects.
    pub interest: InterestView,
    /// The component that is tried in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub candidate: Option<String>,
}

/// What a filter wants to see. A direction that no filter of a route selects is relayed without being looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterestView {
    /// Of the client's messages.
    pub from_client: SelectionView,
    /// Of the upstream's messages.
    pub from_upstream: SelectionView,
}

/// Which messages of one direction a filter selects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SelectionView {
    /// `text`, `binary`, both or neither.
    pub kinds: Vec<&'static str>,
    /// `nothing`, `head(n)` with n in bytes, `stream`, `rewrite` or `whole`.
    pub need: String,
}

/// An upstream (`GET /api/v1/upstreams`).
#[derive(Clone, Debug, Serialize)]
pub struct UpstreamView {
    /// Its name.
    pub name: String,
    /// The balancer component's name.
    pub balance: String,
    /// Further endpoints tried when one fails.
    pub retries: u32,
    /// How the source of its endpoints is doing; only where they are found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discovery: Option<DiscoveryView>,
    /// In the order of the configuration, or of what was found.
    pub endpoints: Vec<EndpointView>,
}

/// How a source of endpoints is doing.
#[derive(Clone, Debug, Serialize)]
pub struct DiscoveryView {
    /// What kind of source it is.
    pub source: &'static str,
    /// Whether it says at present what there is.
    pub up: bool,
    /// For how long nobody has been able to say whether the endpoints are the right ones; absent: there were never any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_age_seconds: Option<f64>,
    /// What is wrong at the moment; absent: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An endpoint of an upstream.
#[derive(Clone, Debug, Serialize)]
pub struct EndpointView {
    /// As configured, with its scheme.
    pub url: String,
    /// As configured.
    pub weight: u32,
    /// In force now; less than `weight` while the endpoint warms up.
    pub effective_weight: u32,
    /// Length of the warm-up; 0: none.
    pub warmup_seconds: f64,
    /// A disabled endpoint is never picked.
    pub enabled: bool,
    /// Where it stands; only where the configuration says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// What else balancers may go by; only where there is any.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Open connections, over all workers.
    pub connections_active: u64,
    /// Only while it fails, and therefore comes last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failing: Option<FailingView>,
}

/// An endpoint that stopped answering.
#[derive(Clone, Debug, Serialize)]
pub struct FailingView {
    /// Attempts that failed since the last one that did not.
    pub failures: u32,
    /// How the last one failed, as `tidegate_upstream_connects_total` has it.
    pub last_failure: &'static str,
    /// Until one handshake may find out whether it is back.
    pub retry_in_seconds: f64,
}

/// A component (`GET /api/v1/components`).
#[derive(Clone, Debug, Serialize)]
pub struct ComponentView {
    /// Its name.
    pub name: String,
    /// `predicate`, `balancer` or `filter`.
    pub kind: &'static str,
    /// `standard`, or the path it was loaded from.
    pub source: String,
    /// Length of the bytes it was loaded from.
    pub size_bytes: u64,
    /// How long compiling took; near zero when it came from the cache.
    pub compile_seconds: f64,
    /// `compiled` or `cache`.
    pub compile_source: &'static str,
    /// The optional interfaces that it exports, without package and version.
    pub hooks: Vec<String>,
    /// What it imports, which is all that it may do.
    pub imports: Vec<ImportView>,
    /// How often the configuration uses it.
    pub uses: u64,
    /// Linear memory of its instances now, over all workers.
    pub memory_bytes: u64,
    /// Calls it failed to answer, for any reason.
    pub failures: u64,
    /// For a filter, its versions: those in force, and older ones that serve open connections still.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<VersionView>,
    /// The routes, and for a balancer the upstreams, where it is in quarantine and called no more.
    pub quarantined: Vec<String>,
}

/// A version of a filter on a route.
#[derive(Clone, Debug, Serialize)]
pub struct VersionView {
    /// The route's name.
    pub route: String,
    /// The generation of the configuration that brought it.
    pub generation: u64,
    /// Open connections that it serves, over all workers.
    pub connections: u64,
}

/// An import of a component.
#[derive(Clone, Debug, Serialize)]
pub struct ImportView {
    /// The interface, as `tidegate:edge/log@0.2.0`.
    pub name: String,
    /// What it permits, in words.
    pub permission: String,
}

/// Open connections (`GET /api/v1/connections`).
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionsView {
    /// How many there are that the query selects, shown or not. Those that open or end meanwhile may be counted or not.
    pub total: u64,
    /// At most as many as the query's limit, the oldest first.
    pub connections: Vec<ConnectionView>,
    /// Workers that did not answer in time. Their connections, or part of them, are missing above.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workers_silent: Vec<usize>,
}

/// An open connection.
#[derive(Clone, Debug, Serialize)]
pub struct ConnectionView {
    /// The id that the access log and components know it by.
    pub connection: String,
    /// The route's name.
    pub route: String,
    /// The upstream's name.
    pub upstream: String,
    /// The endpoint's url.
    pub endpoint: String,
    /// Address and port.
    pub client: String,
    /// The worker thread it lives on.
    pub worker: usize,
    /// Time since the 101.
    pub age_seconds: f64,
    /// What filters have said of it, by name: at most 16, each with the first 128 characters.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, String>,
}

/// Which connections to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionsQuery {
    /// Show at most this many; 1 to [`ConnectionsQuery::MAX_LIMIT`].
    pub limit: usize,
    /// Only these.
    pub criteria: Criteria,
}

impl ConnectionsQuery {
    /// The most connections that one answer lists.
    pub const MAX_LIMIT: usize = 10_000;
}

impl Default for ConnectionsQuery {
    fn default() -> Self {
        Self { limit: 100, criteria: Criteria::default() }
    }
}

/// Why a process is not told anything that has to last: the one that takes its place would not know of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Superseded {
    /// An upgrade is under way.
    #[error(
        "an upgrade is under way, and the new process would not know of this; ask again when it has taken over, or has failed"
    )]
    Underway,
    /// A new process has taken over.
    #[error("a new process has taken over; ask that one")]
    Over,
}

/// In words.
impl Serialize for Superseded {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What was restored (`POST /api/v1/components/NAME/restore`).
#[derive(Clone, Debug, Serialize)]
pub struct RestoreReport {
    /// The component's name.
    pub component: String,
    /// How many of its uses were in quarantine and are called again.
    pub lifted: u64,
}

/// What to drain, and how (`POST /api/v1/drain`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainQuery {
    /// Only the connections of this route, whose new connections are served as before; `None`: all, and the process
    /// ends.
    pub route: Option<String>,
    /// The time over which connections are closed; `None`: the configuration's `drain_time`.
    pub over: Option<Duration>,
    /// The close code.
    pub code: DrainCode,
    /// Only tell what would happen.
    pub dry_run: bool,
}

/// The close code that a drain sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DrainCode {
    /// 1001, going away.
    GoingAway = 1001,
    /// 1012, service restart: clients should come back.
    #[default]
    ServiceRestart = 1012,
}

impl DrainCode {
    /// The code with this number, if a drain may send it.
    pub fn of(number: u16) -> Option<Self> {
        [Self::GoingAway, Self::ServiceRestart].into_iter().find(|code| code.number() == number)
    }

    /// As it stands in a close frame.
    pub fn number(self) -> u16 {
        self as u16
    }
}

/// What a drain does (`POST /api/v1/drain`).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum DrainReport {
    /// 202: connections are being closed.
    Begun(DrainPlan),
    /// 200: what a drain would do; nothing has changed.
    Planned(DrainPlan),
    /// 409: the process is draining already, which goes on as it began.
    Underway {
        /// Connections that are still open, over all workers.
        connections: u64,
    },
    /// 404: there is no such route, nor a connection of one that a reload removed.
    Unknown {
        /// As asked.
        route: String,
    },
}

/// Which connections are closed, and how fast.
#[derive(Clone, Debug, Serialize)]
pub struct DrainPlan {
    /// Absent: all, and the process ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Open connections to be closed, over all workers.
    pub connections: u64,
    /// The close code.
    pub code: u16,
    /// The time that it takes.
    pub over_seconds: f64,
    /// Absent: all at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_per_second: Option<f64>,
    /// When the last connection is closed, in seconds since 1970, UTC.
    pub until_unix_seconds: u64,
}

impl DrainPlan {
    /// The plan of a drain that begins at `now`.
    pub fn new(query: &DrainQuery, connections: u64, over: Duration, now: SystemTime) -> Self {
        let until = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().saturating_add(over);
        Self {
            route: query.route.clone(),
            connections,
            code: query.code.number(),
            over_seconds: over.as_secs_f64(),
            connections_per_second: (!over.is_zero()).then(|| connections as f64 / over.as_secs_f64()),
            until_unix_seconds: until.as_secs(),
        }
    }
}

/// What the log shows (`GET /api/v1/log`).
#[derive(Clone, Copy, Debug, Serialize)]
pub struct LogView {
    /// The least severe level shown: `error`, `warn`, `info`, `debug` or `trace`.
    pub level: &'static str,
}

impl From<Level> for LogView {
    fn from(level: Level) -> Self {
        let level = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        Self { level }
    }
}

/// Whether new connections are welcome (`GET /readyz`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// 200.
    Ready,
    /// 503: listeners are not bound, or workers do not run yet.
    Starting,
    /// 503: a worker has ended, and another has not taken its place yet.
    Impaired,
    /// 503: the process is on its way out.
    Draining,
}

impl From<Interest> for InterestView {
    fn from(interest: Interest) -> Self {
        Self { from_client: interest.from_client.into(), from_upstream: interest.from_upstream.into() }
    }
}

impl From<Selection> for SelectionView {
    fn from(selection: Selection) -> Self {
        let kinds = [("text", selection.kinds.text), ("binary", selection.kinds.binary)];
        let need = match selection.need {
            Need::Nothing => "nothing".to_owned(),
            Need::Head(bytes) => format!("head({bytes})"),
            Need::Stream => "stream".to_owned(),
            Need::Rewrite => "rewrite".to_owned(),
            Need::Whole => "whole".to_owned(),
        };
        Self { kinds: kinds.into_iter().filter_map(|(kind, wanted)| wanted.then_some(kind)).collect(), need }
    }
}
