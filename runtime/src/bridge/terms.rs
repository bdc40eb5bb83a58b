//! What a route says of its bridge.

use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;

/// How plain requests become messages.
#[derive(Debug)]
pub struct Terms {
    /// The path that shared connections ask for: that of the route.
    pub path: String,
    /// How many of its segments the route matches.
    pub segments: usize,
    /// The host that they ask for.
    pub host: HeaderValue,
    /// What a request is answered with.
    pub reply: Reply,
    /// How long a request may wait: for its turn, and until it is written or answered.
    pub timeout: Duration,
    /// How many connections there are to the upstream at most, of all workers together; each worker has one at least.
    pub connections: usize,
    /// The most bytes that a body may have, and a message that is an answer.
    pub max_message_size: usize,
    /// Places for requests that wait for their turn or are under way, of all workers together.
    pub places: Arc<Semaphore>,
}

impl Terms {
    /// A place for a request, until it is dropped.
    ///
    /// # Errors
    /// [`Failure::Busy`]: all are taken.
    pub fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.places.clone().try_acquire_owned().map_err(|_| Failure::Busy)
    }
}

/// What a request is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// 202, as soon as its message is written to the upstream.
    Accepted,
    /// The next message of the upstream.
    Next,
    /// All further messages of the upstream, as events.
    Stream,
}
