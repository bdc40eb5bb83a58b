//! The application that a route tells of its WebSockets over HTTP, in the place of an upstream that speaks WebSocket.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;
use http::uri::PathAndQuery;

use crate::metrics::ApplicationMetrics;

/// What it is told, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Telling {
    /// Where on it events are sent.
    pub target: PathAndQuery,
    /// What the body of an event is.
    pub form: Form,
    /// How long an event may take, from its turn to the end of its answer.
    pub timeout: Duration,
    /// Messages of a connection that wait, in either direction.
    pub queue: usize,
    /// Fields of the handshake that go with every event.
    pub headers: Vec<HeaderName>,
    /// The most bytes that an answer may have.
    pub max_answer_size: usize,
}

/// What the body of an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// An object that says all about it.
    Json,
    /// The message itself; everything else stands in fields.
    Raw,
}

/// The application of a route.
#[derive(Debug)]
pub struct Application {
    /// What it is told.
    pub telling: Telling,
    /// What is counted of that.
    pub metrics: Arc<ApplicationMetrics>,
}
