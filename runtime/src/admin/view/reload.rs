//! Reloads, as the API says it.

use serde::Serialize;

use super::Superseded;
use crate::config::Problems;

/// How a reload ended (`POST /api/v1/reload`).
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
pub enum ReloadReport {
    /// 200: new connections are under the new configuration, whose number is `generation`.
    Applied {
        /// The new configuration's number.
        generation: u64,
        /// How it came into force.
        in_force: InForceView,
    },
    /// 200, of a dry run: a reload would be applied.
    Applicable {
        /// The number of the configuration in force.
        generation: u64,
        /// What would be another.
        changes: ChangesView,
    },
    /// 200: the files say what is already in force; a change of a file may have been noticed before.
    Unchanged {
        /// The number of the configuration in force.
        generation: u64,
        /// How it came into force.
        in_force: InForceView,
    },
    /// 422: the files are wrong, and the configuration in force stays.
    Rejected {
        /// The number of the configuration in force.
        generation: u64,
        /// All of them, at least one.
        problems: Problems,
    },
    /// 409: another reload is under way, and so many wait that this one has no place.
    Busy {
        /// The number of the configuration in force.
        generation: u64,
        /// The one under way.
        #[serde(skip_serializing_if = "Option::is_none")]
        underway: Option<UnderwayView>,
    },
    /// 409: a new process takes over.
    Refused {
        /// The number of the configuration in force.
        generation: u64,
        /// Why it is refused.
        reason: Superseded,
    },
}

/// How the configuration in force came into force.
#[derive(Clone, Debug, Serialize)]
pub struct InForceView {
    /// Who asked for that, as the log has it; `start` for the one that the process has begun with.
    pub cause: &'static str,
    /// When.
    pub since_unix_seconds: u64,
    /// What became another then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<ChangesView>,
}

/// A reload under way, or one that was given up and has not ended.
#[derive(Clone, Debug, Serialize)]
pub struct UnderwayView {
    /// Who asked for it, as the log has it.
    pub cause: &'static str,
    /// Whether it only says what would change.
    pub dry_run: bool,
    /// Since it has begun.
    pub seconds: f64,
    /// When it is given up, counted from the same moment.
    pub timeout_seconds: f64,
    /// What it does, in words.
    pub step: String,
    /// For how long it has done that.
    pub step_seconds: f64,
}

/// What is in force, and how it is with reloads (`GET /api/v1/reload`).
#[derive(Clone, Debug, Serialize)]
pub struct ReloadStatus {
    /// The number of the configuration in force.
    pub generation: u64,
    /// The reload under way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub underway: Option<UnderwayView>,
    /// Reloads that were given up and have not ended.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub given_up: Vec<UnderwayView>,
    /// Directories that cannot be watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub polled: Vec<PolledView>,
}

/// A directory with files of the configuration that cannot be watched, or not reliably.
#[derive(Clone, Debug, Serialize)]
pub struct PolledView {
    /// Where it is, without symbolic links on the way.
    pub directory: String,
    /// Why.
    pub reason: String,
}

/// What a reload would change (`POST /api/v1/reload?dry_run=true`).
#[derive(Clone, Debug, Serialize)]
pub struct ChangesView {
    /// Keys of the top of the file; `routes` where routes change places.
    pub settings: Vec<&'static str>,
    /// By name, as the others.
    pub components: Vec<ChangeView>,
    /// Another balancer, other settings; `endpoints` where those are others, which concerns no route.
    pub upstreams: Vec<ChangeView>,
    /// Those that lead elsewhere or through other components are changed, too.
    pub routes: Vec<ChangeView>,
}

/// What a reload would do to one part of the configuration.
#[derive(Clone, Debug, Serialize)]
pub struct ChangeView {
    /// Its name.
    pub name: String,
    /// `added`, `removed` or `changed`.
    pub change: &'static str,
    /// Of what is changed: `settings` for its own keys, `component NAME` or `upstream NAME` for what it uses,
    /// `trusted_proxies`; of a component `bytes`, `limits` or `path`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// Of a route that exists: its open connections, over all workers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections_active: Option<u64>,
    /// Of a route that exists: what becomes of those, `kept`, `swapped` or `closed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_connections: Option<&'static str>,
}
