//! The admin API, as a configuration wants it.

use std::sync::Arc;
use std::time::Duration;

use super::Tls;
use crate::config::source::Place;
use crate::listener::{self, Rights};

/// The admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: listener::Address,
    /// Who may connect to a unix socket.
    pub rights: Rights,
    /// Where that is declared.
    pub place: Place,
    /// The names that it is asked by, beside those that need no entry; in lower case, without a port.
    pub hosts: Vec<String>,
    /// What it speaks TLS with.
    pub tls: Option<Tls>,
    /// Who may ask; none: everybody.
    pub tokens: Vec<AdminToken>,
    /// Whether metrics are for everybody all the same.
    pub public_metrics: bool,
    /// How many connections may be answered at a time, beside those that probe.
    pub max_connections: usize,
    /// How long a client may take to read an answer.
    pub send_timeout: Duration,
}

/// A token of the admin API, known by its hash alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminToken {
    /// Who has it, as logs name them.
    pub name: String,
    /// SHA-256 of it.
    pub hash: [u8; 32],
    /// What it is good for.
    pub role: Role,
}

/// What somebody may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Look.
    Viewer,
    /// Everything.
    Operator,
    /// Send messages to clients that took one of these routes, and nothing else.
    Messages(Arc<[String]>),
}
