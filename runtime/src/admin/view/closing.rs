//! Closing connections (`DELETE /api/v1/connections`).

use serde::Serialize;

use crate::session::Criteria;

/// Which connections to close, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseQuery {
    /// Which; never all.
    pub criteria: Criteria,
    /// The close code, see [`CloseQuery::may_send`].
    pub code: u16,
    /// The reason that clients and upstreams are told; at most [`CloseQuery::MAX_REASON`] bytes.
    pub reason: String,
    /// Only tell how many there are.
    pub dry_run: bool,
}

impl CloseQuery {
    /// The code where none is asked for: a policy is violated.
    pub const USUAL_CODE: u16 = 1008;
    /// The reason where none is asked for.
    pub const USUAL_REASON: &str = "closed by an operator";
    /// What a close frame has room for (RFC 6455 section 5.5).
    pub const MAX_REASON: usize = 123;

    /// Whether an operator may send this code: those that are about him, and those that applications have agreed on.
    pub fn may_send(code: u16) -> bool {
        matches!(code, 1000 | 1001 | 1008 | 1011..=1013 | 3000..=4999)
    }
}

/// What closing connections does.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum CloseReport {
    /// 200: they have been told to close; 503 where some worker has not answered.
    Closed(Closed),
    /// 200: how many there are; nothing has changed. 503 where some worker has not answered.
    Planned(Closed),
    /// 404: there is no such route, nor a connection of one that a reload removed.
    Unknown {
        /// As asked.
        route: String,
    },
}

/// Which connections are closed.
#[derive(Clone, Debug, Serialize)]
pub struct Closed {
    /// How many were open, over all workers. Those that are still opening are closed as they open.
    pub connections: u64,
    /// The close code.
    pub code: u16,
    /// Workers that did not answer: they may have connections that are left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub workers_silent: Vec<usize>,
}
