//! The piping of frames between a client and an upstream.
//!
//! Both directions of a connection live in one task on one worker. A direction carries bytes from socket to socket
//! through a buffer that the worker's connections share, and looks at nothing but frame headers, unless a filter
//! selected the messages it carries; then these are unmasked, assembled, filtered, and all that one read brought is
//! written with one write. A relay is not an endpoint: it answers no ping and assembles nothing that no filter wants.

mod assemblies;
mod carry;
mod chain;
mod change;
mod clock;
mod control_rate;
mod deflate;
mod direction;
mod emit;
mod ending;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod handle;
mod inflate;
mod item;
mod leg;
mod outlet;
mod ringing;
mod scratch;
#[cfg(any(fuzzing, test))]
mod scripted;
mod settings;
mod shadow;
mod traffic;
mod transport;
mod walk;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::time::Instant;

pub use assemblies::Assemblies;
pub use change::{Change, Scope};
pub use ending::Outcome;
pub use handle::Handle;
pub use scratch::Scratch;
#[cfg(any(fuzzing, test))]
pub use scripted::Scripted;
pub use settings::{Limits, Timers};
pub use traffic::Traffic;
pub use transport::{End, Transport};

use chain::{Chain, Halt};
use clock::{Clock, Due};
use direction::{Direction, Event};
use emit::encode;
use ending::Ending;
use inflate::Inflation;
use item::Tally;
use leg::{Leg, Peer};
use walk::Walk;

use crate::component::{Session, Shadow};
use crate::drain::Order;
use crate::metrics::{Initiator, Limit, RouteMetrics, WorkerIndex};
use crate::peer::Side;
use crate::ws::{CloseFrame, Extensions, FrameSequence, Opcode};

/// Everything a connection needs beyond its two sockets.
pub struct Plan {
    /// The sessions of the route's filters, in the order of the configuration.
    pub filters: Vec<Session>,
    /// The candidates that shadow some of them, each with its filter's place in the order.
    pub shadows: Vec<(usize, Shadow)>,
    /// The extensions that the handshakes agreed on.
    pub extensions: Extensions,
    /// The route's timers.
    pub timers: Arc<Timers>,
    /// The route's limits.
    pub limits: Arc<Limits>,
    /// The route's metrics.
    pub metrics: Arc<RouteMetrics>,
    /// The worker that this runs on.
    pub worker: WorkerIndex,
    /// The worker's buffers.
    pub scratch: Rc<RefCell<Scratch>>,
    /// The hold of others on the connection.
    pub handle: Rc<Handle>,
}

/// An open connection.
pub struct Pipe<C, U> {
    client: Leg<C>,
    upstream: Leg<U>,
    from_client: Direction,
    from_upstream: Direction,
    shared: Shared,
    scratch: Rc<RefCell<Scratch>>,
    ending: Option<Box<Outcome>>,
    /// Who takes nothing more, although its socket has not ended.
    unwritable: Option<Side>,
}

/// What both directions use.
struct Shared {
    chain: Chain,
    clock: Clock,
    metrics: Arc<RouteMetrics>,
    worker: WorkerIndex,
    handle: Rc<Handle>,
    /// Whether a filter dropped out, so that the directions want something else.
    interests_changed: bool,
    /// Whether the connection has begun to end.
    is_ending: bool,
}

impl Shared {
    /// Counts what went by.
    fn count(&mut self, from: Side, tally: Tally) {
        if tally.pong {
            self.clock.ponged(from);
        }
        if tally.bytes > 0 || tally.messages != [0, 0] {
            self.clock.active();
            self.handle.traffic.count(from, &tally);
            traffic::count(self.metrics.of(self.worker), from, &tally);
        }
    }
}

impl<C, U> Future for Pipe<C, U>
where
    C: Transport,
    U: Transport,
{
    type Output = Box<Outcome>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Box<Outcome>> {
        let outcome = ready!(self.advance(context));
        std::mem::take(&mut self.shared.chain).close(outcome.by, outcome.close.as_ref());
        Poll::Ready(outcome)
    }
}

impl<C, U> Pipe<C, U>
where
    C: Transport,
    U: Transport,
{
    /// Joins two upgraded sockets, each with what was read behind its handshake.
    ///
    /// It is boxed, because the futures that it passes through would each keep room for it.
    pub fn new(client: (C, Bytes), upstream: (U, Bytes), mut plan: Plan) -> Box<Self> {
        let (filters, shadows) = (std::mem::take(&mut plan.filters), std::mem::take(&mut plan.shadows));
        Self::joined(client, upstream, plan, Chain::new(filters, shadows))
    }

    /// The same with functions as filters, in the order in which client messages pass them.
    #[cfg(any(fuzzing, test))]
    pub fn scripted(client: (C, Bytes), upstream: (U, Bytes), plan: Plan, filters: Vec<Scripted>) -> Box<Self> {
        Self::joined(client, upstream, plan, Chain::scripted(filters))
    }

    fn joined(client: (C, Bytes), upstream: (U, Bytes), plan: Plan, chain: Chain) -> Box<Self> {
        let token = rand::random();
        let direction = |from, leftover: &Bytes| {
            let sequence = FrameSequence::new(from, plan.extensions.agreed);
            let mut walk = Walk::new(sequence, plan.limits.clone(), token);
            if let Some(deflate) = plan.extensions.deflate
                && chain.wanted(from).iter().any(Option::is_some)
            {
                walk.inflate(Inflation::new(deflate.of(from), plan.limits.of_inflating()));
            }
            Direction::new(from, walk, leftover)
        };
        let clock = Clock::new(plan.timers, chain.lease_at(), Instant::now());
        let mut pipe = Box::new(Self {
            from_client: direction(Side::Client, &client.1),
            from_upstream: direction(Side::Upstream, &upstream.1),
            client: Leg::new(Side::Client, client.0),
            upstream: Leg::new(Side::Upstream, upstream.0),
            shared: Shared {
                chain,
                clock,
                metrics: plan.metrics,
                worker: plan.worker,
                handle: plan.handle,
                interests_changed: false,
                is_ending: false,
            },
            scratch: plan.scratch,
            ending: None,
            unwritable: None,
        });
        pipe.want();
        pipe
    }

    /// Carries frames until the connection has ended. Dropping the future ends it at once, without a close frame;
    /// what was counted stays counted.
    pub fn run(self: Box<Self>) -> impl Future<Output = Box<Outcome>> {
        self
    }

    fn advance(&mut self, context: &mut Context<'_>) -> Poll<Box<Outcome>> {
        loop {
            while let Some(order) = self.shared.handle.switch.poll(context) {
                match order {
                    Order::Close(close) => self.end(Ending::ordered(close, "drained")),
                    Order::Change(change) => self.change(&change),
                }
            }
            let (client, upstream, shared) = (&mut self.client, &mut self.upstream, &mut self.shared);
            let mut scratch = Scratch::lend(&self.scratch);
            let from_client = self.from_client.poll(context, client, upstream, shared, &mut scratch);
            let from_upstream = self.from_upstream.poll(context, upstream, client, shared, &mut scratch);
            drop(scratch);
            if std::mem::take(&mut self.shared.interests_changed) {
                self.want();
            }
            let quiet = from_client.is_pending() && from_upstream.is_pending();
            self.happened(Side::Client, from_client);
            self.happened(Side::Upstream, from_upstream);
            self.ring();
            self.flush(context);
            self.keep_time();
            if self.ending.is_some() && self.client.peer.is_done() && self.upstream.peer.is_done() {
                return self.finish();
            }
            if !quiet
                || self.from_client.may_go_on(&self.client.peer)
                || self.from_upstream.may_go_on(&self.upstream.peer)
            {
                continue;
            }
            let wakes_at =
                [self.from_client.wakes_at(&self.upstream.peer), self.from_upstream.wakes_at(&self.client.peer)];
            let wake_at = wakes_at.into_iter().chain([self.rings_at()]).flatten().min();
            match self.shared.clock.poll(context, wake_at) {
                None => return Poll::Pending,
                Some(Due::CloseTimeout) => {
                    if let Some(side) = self.unwritable.filter(|_| self.ending.is_none()) {
                        self.end(Ending::vanished(side, "its socket takes nothing more".into()));
                    }
                    self.last_words(context);
                    return self.finish();
                }
                Some(due) => self.due(due),
            }
        }
    }

    fn finish(&mut self) -> Poll<Box<Outcome>> {
        match self.ending.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => Poll::Pending,
        }
    }

    /// Writes what waits on both sides. An error shows when the directions meet it, or does not matter any more.
    fn flush(&mut self, context: &mut Context<'_>) {
        let _ = self.client.poll_flush(context);
        let _ = self.upstream.poll_flush(context);
    }

    /// Tells the clock what it cannot see: whether a ping has left, and whether a pong would be read.
    #[inline]
    fn keep_time(&mut self) {
        for side in [Side::Client, Side::Upstream] {
            if self.peer(side).outlet.take_pinged() {
                self.shared.clock.pinged(side);
            }
            let is_read = self.direction(side).is_reading();
            self.shared.clock.reads(side, is_read);
        }
    }

    /// Goes on with other filters, unless they fail, or would have to read what cannot be read any more.
    fn change(&mut self, change: &Change) {
        if self.ending.is_some() {
            return;
        }
        let started = Instant::now();
        let succession = self.shared.chain.succession(change);
        let is_unread = |from, direction: &mut Direction| succession.wants(from) && !direction.walk().is_legible();
        if self.shared.chain.has_declined(&succession) {
            tracing::debug!("filters stay: who has declined to take over is not asked again");
        } else if is_unread(Side::Client, &mut self.from_client) || is_unread(Side::Upstream, &mut self.from_upstream) {
            tracing::debug!("filters stay: compressed messages were not followed so far");
            succession.refused(self.shared.worker);
        } else {
            match self.shared.chain.succeed(succession, &change.pool, self.shared.worker) {
                Ok(changed) => self.shared.interests_changed |= changed,
                // Counted already, and logged as often as the component may.
                Err(failure) => tracing::debug!(%failure, "filters stay"),
            }
        }
        self.shared.interests_changed |= self.shared.chain.keep_shadows(change);
        if std::mem::take(&mut self.shared.interests_changed) {
            self.want();
        }
        change.taken.set(change.taken.get() + started.elapsed());
    }

    /// Tells both walks what the filters want.
    fn want(&mut self) {
        for side in [Side::Client, Side::Upstream] {
            let (wanted, heads) = (self.shared.chain.wanted(side), self.shared.chain.heads(side));
            let walk = self.direction(side).walk();
            walk.want(wanted);
            walk.want_heads(heads);
        }
    }

    /// Deals with what a direction could not deal with alone.
    fn happened(&mut self, from: Side, event: Poll<Event>) {
        let Poll::Ready(event) = event else { return };
        match event {
            Event::Close(close) => {
                self.peer(from).received_close = true;
                // It has gone on, unless one of ours went before it.
                self.peer(from.other()).send_close(close.as_ref());
                self.end(Ending::closed(from, close));
            }
            Event::Violation(violation) => {
                // What the offender sends cannot be read any more, not even its close frame.
                self.drain(from);
                let counted = self.shared.metrics.of(self.shared.worker);
                if let Some(reason) = violation.inflate_failure() {
                    counted.inflate_failure(from, reason);
                }
                if let Some(limit) = violation.limit() {
                    counted.limit_close(from, limit);
                }
                self.end(Ending::violation(from, violation));
                self.peer(from).shut_after_flush();
            }
            Event::NoRoom => {
                self.drain(from);
                let receiver = self.peer(from.other());
                if receiver.outlet.held() > 0 {
                    receiver.outlet.discard();
                    receiver.shut_after_flush();
                }
                self.shared.metrics.of(self.shared.worker).limit_close(from, Limit::AssemblyMemory);
                self.end(Ending::ordered(CloseFrame::new(1013, "assembly_memory"), "assembly_memory"));
                self.peer(from).shut_after_flush();
            }
            Event::Halt(halt) => {
                // A part of a message was the last to go on: nobody will finish its frame.
                if self.peer(from.other()).outlet.inside_frame() {
                    self.peer(from.other()).cut_off();
                }
                self.end(match halt {
                    Halt::Close(close) => Ending::ordered(close, ""),
                    Halt::Failed(failure) => Ending::failed(&failure),
                });
            }
            Event::Eof(error) => self.vanished(from, error),
            // The end of its sending half, or its close frame, is still to be read, and says more.
            Event::TargetGone => {
                self.unwritable = Some(from.other());
                self.shared.clock.closing();
            }
        }
    }

    /// Lets nothing more of what one side sends come to anything.
    fn drain(&mut self, from: Side) {
        self.direction(from).drain();
        self.peer(from.other()).outlet.expect_more(false);
    }

    /// One side's socket has ended.
    fn vanished(&mut self, side: Side, error: Option<io::Error>) {
        if self.peer(side.other()).outlet.inside_frame() {
            self.peer(side.other()).cut_off();
        }
        match self.ending.clone() {
            // It was to answer a close frame. The other side gets its own back.
            Some(outcome) => self.peer(side.other()).send_close(outcome.close.as_ref()),
            None => {
                let cause = error.map_or("ended without a close frame".into(), |error| error.to_string().into());
                self.end(Ending::vanished(side, cause));
            }
        }
    }

    /// Starts to end the connection; the first reason is the one that counts.
    fn end(&mut self, ending: Ending) {
        self.shared.clock.closing();
        self.shared.is_ending = true;
        let Ending { outcome, to_client, to_upstream } = ending;
        self.ending.get_or_insert_with(|| Box::new(outcome));
        if to_client.is_some() {
            self.client.peer.send_close(to_client.as_ref());
        }
        if to_upstream.is_some() {
            self.upstream.peer.send_close(to_upstream.as_ref());
        }
    }

    fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.client.peer,
            Side::Upstream => &mut self.upstream.peer,
        }
    }

    fn direction(&mut self, from: Side) -> &mut Direction {
        match from {
            Side::Client => &mut self.from_client,
            Side::Upstream => &mut self.from_upstream,
        }
    }

    /// A timer is due.
    fn due(&mut self, due: Due) {
        match due {
            Due::Ping => self.ping(),
            Due::PongMissing(side) => self.end(Ending::pong_timeout(side)),
            Due::Inactivity => self.look_for_activity(),
            Due::Lifetime => self.end(Ending::ordered(CloseFrame::new(1001, "max_lifetime"), "max_lifetime")),
            Due::Lease => self.end(Ending::ordered(CloseFrame::new(1008, "the lease has run out"), "lease")),
            Due::CloseTimeout => {}
        }
    }

    /// Closes a connection that carries nothing.
    fn look_for_activity(&mut self) {
        let is_held_back = self.from_client.is_held_back() || self.from_upstream.is_held_back();
        let unwritten = self.client.peer.outlet.unwritten() + self.upstream.peer.outlet.unwritten();
        if self.shared.clock.is_inactive(is_held_back, unwritten) {
            self.end(Ending::ordered(CloseFrame::new(1001, "max_inactivity"), "max_inactivity"));
        }
    }

    /// Pings the sides that are to be pinged.
    fn ping(&mut self) {
        let (timers, token) = (self.shared.clock.timers(), self.from_client.walk().token());
        let sides = [(Side::Client, timers.ping_client), (Side::Upstream, timers.ping_upstream)];
        for side in sides.into_iter().filter_map(|(side, wanted)| wanted.then_some(side)) {
            let mut frame = Vec::new();
            encode(Opcode::Ping, true, &token, side, &mut frame);
            self.peer(side).outlet.insert_ping(&frame);
        }
    }

    /// A side that never got a close frame gets the one that ended the connection, if it can still be written. Where it
    /// was the proxy that ended it, what a filter still holds back goes out before.
    fn last_words(&mut self, context: &mut Context<'_>) {
        if self.ending.as_ref().is_some_and(|outcome| outcome.by == Initiator::Proxy) {
            self.client.peer.outlet.release();
            self.upstream.peer.outlet.release();
        } else {
            self.client.peer.outlet.forget();
            self.upstream.peer.outlet.forget();
        }
        let close = self.ending.as_ref().and_then(|outcome| outcome.close.clone());
        self.client.peer.send_close(close.as_ref());
        self.upstream.peer.send_close(close.as_ref());
        self.flush(context);
    }
}
