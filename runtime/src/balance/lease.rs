//! A connection's hold on an endpoint, and the attempt that it begins with.

use std::fmt::Display;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::failures::{Begun, Change, Failures};
use super::pick::Balance;
use crate::component::HeaderEdit;
use crate::metrics::{ConnectOutcome, WorkerIndex};
use crate::upstream::{DialError, Fault, Timeouts};

/// A connection's hold on an endpoint, counted from before it is dialled. Dropping it gives the endpoint back. It stays
/// on the worker that took it, whose counters it uses.
#[derive(Debug)]
pub struct Lease {
    endpoint: Arc<Endpoint>,
    worker: WorkerIndex,
    on_this_thread: PhantomData<Rc<()>>,
}

impl Lease {
    pub(super) fn new(endpoint: Arc<Endpoint>, worker: WorkerIndex) -> Self {
        endpoint.known.counts.active.fetch_add(1, Ordering::Relaxed);
        endpoint.known.counts.picked.fetch_add(1, Ordering::Relaxed);
        endpoint.known.metrics.of(worker).connections_active.add(1);
        Self { endpoint, worker, on_this_thread: PhantomData }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    fn count(&self, outcome: ConnectOutcome) {
        if let Some(counter) = self.endpoint.known.metrics.of(self.worker).connects.get(outcome as usize) {
            counter.add(1);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.endpoint.known.counts.active.fetch_sub(1, Ordering::Relaxed);
        self.endpoint.known.metrics.of(self.worker).connections_active.add(-1);
    }
}

/// An attempt to reach a leased endpoint. How it ended is told by [`connected`](Self::connected) or
/// [`failed`](Self::failed); dropping it says that the client has left.
#[derive(Debug)]
pub struct Dialling<'a> {
    lease: Lease,
    client_headers: Vec<HeaderEdit>,
    attempt: Attempt<'a>,
    /// Whether the request would have somewhere else to go.
    has_others: bool,
}

impl<'a> Dialling<'a> {
    pub(super) fn new(
        balance: &'a Balance,
        lease: Lease,
        client_headers: Vec<HeaderEdit>,
        begun: Begun,
        has_others: bool,
    ) -> Self {
        let attempt = Attempt { balance, endpoint: lease.endpoint.clone(), begun: Some(begun) };
        Self { lease, client_headers, attempt, has_others }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.lease.endpoint
    }

    /// Whether this attempt finds out if a failing endpoint is well again.
    pub fn is_probe(&self) -> bool {
        self.patience().is_some()
    }

    /// How long the attempt may take: shorter where it finds out for the others and could go to one of them instead.
    pub fn bounded(&self, timeouts: &Timeouts) -> Timeouts {
        let patience = self.patience().filter(|_| self.has_others);
        let bounded = |limit: Option<Duration>| match (limit, patience) {
            (Some(limit), Some(patience)) => Some(limit.min(patience)),
            (limit, patience) => limit.or(patience),
        };
        Timeouts { connect: bounded(timeouts.connect), handshake: bounded(timeouts.handshake), ..*timeouts }
    }

    /// The endpoint has agreed. With it come the edits of the client's answer that the balancer has chosen for it.
    pub fn connected(self) -> (Lease, Vec<HeaderEdit>) {
        let Self { lease, client_headers, attempt, .. } = self;
        lease.count(ConnectOutcome::Connected);
        attempt.end("", |failures, _| failures.succeeded(Instant::now()));
        (lease, client_headers)
    }

    /// The endpoint has answered a plain request, over a connection that is counted if it `is_new`. What it has answered may
    /// speak against it.
    pub fn answered(self, is_new: bool, unwell: Option<&DialError>) -> (Lease, Vec<HeaderEdit>) {
        let Self { lease, client_headers, attempt, .. } = self;
        if is_new {
            lease.count(ConnectOutcome::Connected);
        }
        match unwell {
            None => attempt.end("", |failures, _| failures.succeeded(Instant::now())),
            Some(error) => attempt
                .end(error, |failures, begun| failures.failed(begun, error.fault(), error.outcome(), Instant::now())),
        }
        (lease, client_headers)
    }

    /// The attempt has failed, or the endpoint has answered something other than 101.
    pub fn failed(self, error: &DialError) {
        let outcome = error.outcome();
        self.lease.count(outcome);
        self.attempt.end(error, |failures, begun| match error.fault() {
            Fault::None if outcome == ConnectOutcome::Answered => failures.succeeded(Instant::now()),
            fault => failures.failed(begun, fault, outcome, Instant::now()),
        });
    }

    fn patience(&self) -> Option<Duration> {
        self.attempt.begun.and_then(|begun| begun.patience)
    }
}

/// What an endpoint's failures have to hear of, in any case.
#[derive(Debug)]
struct Attempt<'a> {
    balance: &'a Balance,
    endpoint: Arc<Endpoint>,
    /// There until the outcome is told.
    begun: Option<Begun>,
}

impl Attempt<'_> {
    fn end(mut self, reason: impl Display, told: impl FnOnce(&Failures, Begun) -> Change) {
        self.tell(reason, told);
    }

    fn tell(&mut self, reason: impl Display, told: impl FnOnce(&Failures, Begun) -> Change) {
        if let Some(begun) = self.begun.take() {
            let change = told(&self.endpoint.known.failures, begun);
            self.balance.changed(&self.endpoint, change, &reason);
        }
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.tell("clients left before it answered", |failures, begun| failures.given_up(begun, Instant::now()));
    }
}
