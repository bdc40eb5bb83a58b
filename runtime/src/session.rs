//! One connection's story, from the accepted socket to the line in the access log: the only place that sees all stages.
//!
//! The story has two parts. Opening ends with an answer other than 101, and then the next request of the same
//! connection may follow, or with two joined sockets; its future is large and lives for milliseconds, so it is boxed.
//! What an open connection holds for its life is a pipe, and a [`Connection`] for whoever asks.

mod attempt;
mod connection;
mod effect;
mod following;
mod limit;
mod record;
mod refusal;
mod snapshot;
mod worker;

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

pub use connection::{Connection, Registry};
pub use effect::Effect;
pub use following::follow;
pub use limit::{Admission, Permit, Permits};
pub use snapshot::{OnChange, Route, Snapshot, Target, Upstream};
pub use worker::Worker;

use attempt::{Agreed, Attempt};
use record::Record;

use crate::handshake::{HeadLimits, ReadError, Requests};
use crate::metrics::{CloseLabel, HandshakeOutcome, Initiator};
use crate::pipe::{Outcome, Pipe, Plan};
use crate::reactor::timeout;
use crate::transport::Transport;
use crate::ws::CloseFrame;

/// A socket that a listener accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The socket.
    pub stream: Transport,
    /// Its other end.
    pub peer: SocketAddr,
    /// What is taken as the head of a request, by the listener.
    pub head: HeadLimits,
    /// How long the client may take for the head of a request, by the listener.
    pub handshake_timeout: Duration,
}

/// Tells a connection's story to its end, and drops what is `held` for it then.
///
/// It is one flat future, because each open connection keeps one.
#[expect(clippy::manual_async_fn, reason = "an async function would keep its arguments twice")]
pub fn serve<H>(worker: Rc<Worker>, accepted: Box<Accepted>, held: H) -> impl Future<Output = ()> {
    async move {
        // Kept where it is, to be dropped last.
        let _ = &held;
        let Some(Open { pipe, mut ending }) = Box::pin(open(worker, accepted)).await else { return };
        ending.outcome = Some(pipe.run().await);
    }
}

/// Answers requests until one of them has opened a connection; `None` when the client leaves first.
async fn open(worker: Rc<Worker>, accepted: Box<Accepted>) -> Option<Open> {
    let worker = &worker;
    let Accepted { stream, peer, head, handshake_timeout } = *accepted;
    let mut requests = Requests::new(stream, &head);
    let paths = head.paths;
    let mut first = true;
    loop {
        let started = Instant::now();
        let parts = match timeout(handshake_timeout, requests.next()).await {
            Ok(Ok(Some(parts))) => parts,
            // Between requests, or before the first, a client may leave as it likes: so do those that probe a port.
            Ok(Ok(None)) => {
                if first {
                    worker.unrouted().of(worker.index()).handshake(HandshakeOutcome::NoRequest);
                }
                return None;
            }
            Ok(Err(ReadError::Broken(_))) => {
                Record::new(worker, peer, started).left();
                return None;
            }
            Ok(Err(error)) => {
                Record::new(worker, peer, started).malformed(&error);
                let _ = timeout(worker.close_timeout(), Box::pin(requests.reject(&error))).await;
                return None;
            }
            Err(_) => {
                let answered = timeout(worker.close_timeout(), Box::pin(requests.time_out())).await.unwrap_or(false);
                // A connection that is only kept for a next request may end without a word.
                if answered || first {
                    let status = answered.then_some(StatusCode::REQUEST_TIMEOUT.as_u16());
                    Record::new(worker, peer, started).late(handshake_timeout, status);
                }
                return None;
            }
        };
        first = false;
        let mut attempt = Attempt::new(worker, peer, started, &parts, paths);
        match Box::pin(attempt.run(&mut requests, parts)).await {
            Ok(joined) => return Box::pin(attempt.switch(requests, joined)).await,
            Err(refusal) => {
                let closes = refusal.closes_connection();
                if !Box::pin(attempt.refuse(&mut requests, refusal)).await {
                    return None;
                }
                if closes {
                    let _ = timeout(worker.close_timeout(), Box::pin(requests.close())).await;
                    return None;
                }
            }
        }
    }
}

/// An open connection.
struct Open {
    pipe: Box<Pipe>,
    ending: Ending,
}

impl Open {
    /// Joins the two sockets of a handshake that both sides have agreed on. `permit` is its place
    /// on the route.
    fn new(
        worker: &Rc<Worker>,
        connection: Connection,
        client: (Transport, Bytes),
        upstream: (Transport, Bytes),
        agreed: Agreed,
        permit: Permit,
    ) -> Self {
        let connection = Rc::new(connection);
        let route = connection.route();
        let plan = Plan {
            filters: agreed.sessions,
            shadows: agreed.shadows.into_iter().filter_map(|shadowed| shadowed.open(worker.pool())).collect(),
            extensions: agreed.extensions,
            timers: route.timers.clone(),
            limits: route.limits.clone(),
            metrics: route.metrics.clone(),
            worker: worker.index(),
            scratch: worker.scratch(),
            handle: connection.handle.clone(),
        };
        let pipe = Pipe::new(client, upstream, plan);
        let listed = worker.registry().list(connection.clone());
        // Whoever changed something after the handshake began could not tell this connection.
        if worker.followings() != agreed.followings && following::catch_up(worker, &connection) {
            connection.handle.switch.turn(CloseFrame::new(1012, "the route has changed"));
        }
        Self {
            pipe,
            ending: Ending { worker: worker.clone(), connection, listed, permit: Some(permit), outcome: None },
        }
    }
}

/// Counts and logs the end of a connection, also of one that is cut off with its task.
struct Ending {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    /// Its key in the worker's registry.
    listed: usize,
    permit: Option<Permit>,
    outcome: Option<Box<Outcome>>,
}

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.permit.take());
        let cause = match std::thread::panicking() {
            true => "a fault of the proxy, see its log".into(),
            false => "cut off at the end of the process".into(),
        };
        let cut_off = || Outcome { by: Initiator::Proxy, label: CloseLabel::Abnormal, close: None, cause };
        let outcome = self.outcome.take().unwrap_or_else(|| Box::new(cut_off()));
        let route = self.connection.route();
        let shard = route.metrics.of(self.worker.index());
        shard.connections_active.add(-1);
        shard.connection_duration.observe(self.connection.opened_at.elapsed());
        shard.close(outcome.by, outcome.label);
        record::ended(&self.worker, &self.connection, &outcome);
        self.worker.registry().remove(self.listed);
    }
}
