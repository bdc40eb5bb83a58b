//! Candidates for filters.

use serde::Serialize;

/// A candidate for a filter (`GET /api/v1/candidates`).
#[derive(Clone, Debug, Serialize)]
pub struct CandidateView {
    /// The route's name.
    pub route: String,
    /// The component that is in the place so far.
    pub filter: String,
    /// The component that is tried.
    pub component: String,
    /// `shadow` or `canary`.
    pub mode: &'static str,
    /// Of a canary: its share of new connections, as configured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<String>,
    /// `on_trial`; by an operator `promoted` or `rolled_back`; `failed`, rolled back after too many failures.
    pub standing: &'static str,
    /// Open connections that it serves or shadows, over all workers.
    pub connections: u64,
    /// How often it has failed since its trial began.
    pub failures: u32,
    /// After this many it is rolled back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_failures: Option<u32>,
    /// Of a shadow: what came of comparing it with the filter, since its trial began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decisions: Option<DecisionsView>,
    /// The last handshakes and messages about which it disagreed, the oldest first; as many as are configured.
    pub samples: Vec<SampleView>,
}

/// What came of comparing a shadow with its filter, in handshakes and messages.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct DecisionsView {
    /// Both said the same, byte for byte.
    pub agreed: u64,
    /// They did not.
    pub diverged: u64,
    /// The shadow failed.
    pub failed: u64,
    /// The shadow was not asked: connections need the instances.
    pub skipped: u64,
}

/// A handshake or a message about which a shadow disagreed with its filter.
#[derive(Clone, Debug, Serialize)]
pub struct SampleView {
    /// The id that the access log and components know the connection by.
    pub connection: String,
    /// Absent: the handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<SampledMessageView>,
    /// What the filter said, which was carried out.
    pub filter: String,
    /// What the candidate said.
    pub candidate: String,
}

/// The start of a message.
#[derive(Clone, Debug, Serialize)]
pub struct SampledMessageView {
    /// `client` or `upstream`.
    pub origin: &'static str,
    /// `text` or `binary`.
    pub kind: &'static str,
    /// Length of the whole payload.
    pub size: u64,
    /// At most 256 bytes, as far as the candidate saw them; bytes that are no text are escaped.
    pub payload: String,
}

/// What an operator decides about a candidate (`POST /api/v1/routes/ROUTE/candidates/COMPONENT/promote` or
/// `.../roll-back`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It takes the filter's place, for all connections.
    Promote,
    /// The filter has all connections again.
    RollBack,
}

/// What was decided.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionReport {
    /// The route's name.
    pub route: String,
    /// The name of the component that is a candidate there.
    pub component: String,
    /// The components for whose places it is one, in order.
    pub filters: Vec<String>,
    /// `promoted` or `rolled_back`.
    pub standing: &'static str,
    /// Whether it was not so before.
    pub changed: bool,
    /// The route's open connections, over all workers.
    pub connections_active: u64,
}
