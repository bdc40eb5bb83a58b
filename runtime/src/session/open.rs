//! The last stages: the client has its answer and the two sockets are joined, up to the end that is counted and logged.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use async_task::FallibleTask;
use bytes::Bytes;
use http::StatusCode;
use tokio::time::Instant;

use super::connect::Joined;
use super::connection::{Connection, Logged};
use super::following;
use super::limit::Entry;
use super::record::{self, Record};
use super::worker::Worker;
use crate::handshake::{RequestId, Stream, Tunnel};
use crate::metrics::{CloseLabel, HandshakeOutcome, Initiator};
use crate::pipe::{Outcome, Pipe, Plan};
use crate::transport::Transport;
use crate::ws::CloseFrame;

/// An open stream: what carries its frames, and what comes when they have ended.
pub(super) struct Open {
    pub(super) pipe: Box<Pipe>,
    pub(super) ending: Ending,
}

/// Counts and logs the end of an open stream, also of one that is cut off with its task.
pub(super) struct Ending {
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    /// Its key in the worker's registry.
    listed: usize,
    entry: Option<Entry>,
    outcome: Option<Box<Outcome>>,
}

impl Open {
    /// Carries frames to the end.
    pub(super) async fn run(self) {
        let Self { pipe, ending } = self;
        // Who has an upstream has no application.
        let _ = ending.end(pipe.run().await);
    }
}

impl Joined<'_> {
    /// Tells the client that its handshake is accepted, and joins the two sockets; `None` when the client has left.
    pub(super) async fn answer(mut self, stream: Stream, record: Record<'_>) -> Option<Open> {
        let mut fields = self.opening.answer(self.accepted.take(), &self.client_headers);
        record.dress(&mut fields);
        let Some(Tunnel { transport, leftover, status }) = stream.accept(&self.opening, fields).await else {
            record.refused(HandshakeOutcome::ClientGone, None);
            return None;
        };
        Some(self.open((transport, leftover), status, record))
    }

    /// Joins the upstream's socket with that of a client who was answered with this.
    pub(super) fn open(self, client_socket: (Transport, Bytes), status: StatusCode, mut record: Record<'_>) -> Open {
        let Self { worker, route, upstream, entry, until, followings, mut filters, place: told, .. } = self;
        if let Some(told) = told {
            told.keep();
        }
        let extensions = self.accepted.agreed;
        record.opened(status);
        let (channel, attributes) = (record.channel.take(), std::mem::take(&mut record.attributes));
        let logged = Logged::new(&record.host, &record.path, status, channel, attributes);
        let request_id = record.request_id.as_ref().and_then(RequestId::given);
        let logged = logged.known_as(request_id, record.trace, record.version);
        let connection = Rc::new(Connection {
            id: record.connection.as_str().into(),
            client: record.client,
            route: RefCell::new(route.clone()),
            followed: Cell::new(filters.decided),
            upstream,
            lease: self.lease,
            started_at: record.started_at,
            opened_at: Instant::now(),
            handle: Rc::default(),
            logged: Box::new(logged),
        });
        let ending = Ending::of(worker, &connection, entry);
        let shadows = filters.shadows(worker.pool());
        let plan = Plan {
            filters: filters.sessions,
            shadows,
            until,
            extensions,
            timers: route.timers.clone(),
            limits: route.limits.clone(),
            metrics: route.metrics.clone(),
            worker: worker.index(),
            scratch: worker.scratch(),
            handle: connection.handle.clone(),
        };
        let pipe = Pipe::new(client_socket, self.socket, plan);
        // Whoever changed something after the handshake began could not tell this stream.
        if worker.followings() != followings && following::catch_up(worker, &connection) {
            connection.handle.switch.turn(CloseFrame::new(1012, "the route has changed"));
        }
        if let Some(close) = record.place.since(&connection) {
            connection.handle.switch.dismiss(close);
        }
        Open { pipe, ending }
    }
}

impl Ending {
    /// The stream has ended like this. Gives what is left to do: to tell an application of it, on a route that has one.
    pub(super) fn end(mut self, outcome: Box<Outcome>) -> Option<FallibleTask<()>> {
        let left = self.worker.applications().end(&self.connection.id, &outcome);
        self.outcome = Some(outcome);
        left
    }

    /// Lists a stream and counts it as open.
    fn of(worker: &Rc<Worker>, connection: &Rc<Connection>, entry: Entry) -> Self {
        let listed = worker.registry().list(connection.clone());
        connection.route.borrow().metrics.of(worker.index()).connections_active.add(1);
        Self { worker: worker.clone(), connection: connection.clone(), listed, entry: Some(entry), outcome: None }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        drop(self.entry.take());
        let cause = record::cut_off().into();
        let cut_off = || Outcome { by: Initiator::Proxy, label: CloseLabel::Abnormal, close: None, cause };
        let outcome = self.outcome.take().unwrap_or_else(|| Box::new(cut_off()));
        let route = self.connection.route();
        // One that was cut off has not told it yet.
        self.worker.applications().end(&self.connection.id, &outcome).into_iter().for_each(FallibleTask::detach);
        let shard = route.metrics.of(self.worker.index());
        shard.connections_active.add(-1);
        shard.connection_duration.observe(self.connection.opened_at.elapsed());
        shard.close(outcome.by, outcome.label);
        record::ended(&self.worker, &self.connection, &outcome);
        self.worker.registry().remove(self.listed);
    }
}
