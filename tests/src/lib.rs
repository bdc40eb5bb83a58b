//! The harness of the end-to-end suite: a proxy as a child process, back ends and clients over real sockets.
//!
//! Everything waits on a signal (a frame, the end of a stream, a log line, a count) and every wait has one overall
//! deadline, so that a promise which is not kept fails its test instead of hanging it. Nothing sleeps to let something
//! happen, and nothing is tried twice.
//!
//! The clients and back ends here write and read frames themselves, because an ordinary WebSocket library hides what
//! these tests are about: it answers pings, assembles fragments and refuses to send what a proxy must refuse to
//! accept. [`Echo`] is the exception: a peer that nobody wrote for Tidegate.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a harness fails its test by panicking"
)]

pub mod config;
pub mod guests;

mod backend;
mod command;
mod deflating;
mod echo;
mod frame;
mod http;
mod http2;
mod http2_backend;
mod issuer;
mod lines;
mod peer;
mod proxy;
mod samples;
mod tls;

use std::future::Future;
use std::time::Duration;

pub use backend::{Backend, accept_key, refused_address};
pub use command::{Finished, tidegate};
pub use deflating::{Deflating, Inflating, Window};
pub use echo::Echo;
pub use frame::{Frame, Opcode};
pub use http::{Head, Reply, Request, request};
pub use http2::{Http2, Opened, websocket};
pub use http2_backend::{Accepted, Http2Backend};
pub use issuer::{Issuer, Signer, key_set};
pub use lines::Lines;
pub use peer::{Peer, Role};
pub use proxy::{Proxy, Signal, Started};
pub use samples::Samples;
pub use tls::{Authority, Issued, Trust};

/// The most that anything a test waits for may take.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Waits for `future`, at most [`DEADLINE`].
///
/// # Panics
/// When the deadline passes, naming what was awaited.
pub async fn within<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited {DEADLINE:?} in vain for {what}"),
    }
}
