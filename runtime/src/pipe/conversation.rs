//! What two peers say to each other, without what carries it: what comes of their bytes, of time and of orders, and what each
//! is to be sent. It reads and writes nothing, so that a test can be both peers.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use tokio::time::Instant;

use super::assemblies::Assemblies;
use super::chain::{Chain, Halt};
use super::change::Change;
use super::clock::{Clock, Due};
use super::direction::{Direction, Event};
use super::emit::encode;
use super::ending::{Ending, Outcome};
use super::handle::Handle;
use super::inflate::Inflation;
use super::item::Tally;
use super::peer::Peer;
use super::turn::Turn;
use super::walk::Walk;
use super::{Plan, traffic};
use crate::drain::Order;
use crate::metrics::{Initiator, Limit, RouteMetrics, WorkerIndex};
use crate::peer::Side;
use crate::ws::{CloseFrame, FrameSequence, Opcode};

/// Two peers, and what goes from each to the other.
pub(super) struct Conversation {
    pub(super) client: Peer,
    pub(super) upstream: Peer,
    pub(super) from_client: Direction,
    pub(super) from_upstream: Direction,
    pub(super) shared: Shared,
    pub(super) ending: Option<Box<Outcome>>,
    /// Who takes nothing more, although its stream has not ended.
    unwritable: Option<Side>,
}

/// What both directions use.
pub(super) struct Shared {
    pub(super) chain: Chain,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<RouteMetrics>,
    pub(super) worker: WorkerIndex,
    pub(super) handle: Rc<Handle>,
    /// What the filters' calls take of the worker's time.
    pub(super) turn: Turn,
    /// Whether a filter dropped out, so that the directions want something else.
    pub(super) interests_changed: bool,
    /// Whether the connection has begun to end.
    pub(super) is_ending: bool,
}

impl Shared {
    /// Counts what went by.
    pub(super) fn count(&mut self, from: Side, tally: Tally) {
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

impl Conversation {
    /// One that begins with what was read behind each peer's handshake.
    pub(super) fn new(from_client: &[u8], from_upstream: &[u8], plan: Plan, chain: Chain) -> Self {
        let token = rand::random();
        let direction = |from, leftover: &[u8]| {
            let sequence = FrameSequence::new(from, plan.extensions.agreed);
            let mut walk = Walk::new(sequence, plan.limits.clone(), token);
            if let Some(deflate) = plan.extensions.deflate
                && chain.wanted(from).iter().any(Option::is_some)
            {
                walk.inflate(Inflation::new(deflate.of(from), plan.limits.of_inflating()));
            }
            Direction::new(from, walk, leftover)
        };
        let mut clock = Clock::new(plan.timers, chain.lease_at(), Instant::now());
        plan.until.into_iter().for_each(|until| clock.set_token_until(until));
        let mut conversation = Self {
            client: Peer::new(Side::Client),
            upstream: Peer::new(Side::Upstream),
            from_client: direction(Side::Client, from_client),
            from_upstream: direction(Side::Upstream, from_upstream),
            shared: Shared {
                chain,
                clock,
                metrics: plan.metrics,
                worker: plan.worker,
                handle: plan.handle,
                turn: Turn::begin(),
                interests_changed: false,
                is_ending: false,
            },
            ending: None,
            unwritable: None,
        };
        conversation.want();
        conversation
    }

    /// Carries out an order.
    pub(super) fn obey(&mut self, order: Order<Rc<Change>>) {
        match order {
            Order::Close(close, cause) => self.end(Ending::ordered(close, cause)),
            Order::Change(change) => self.change(&change),
        }
    }

    /// Deals with what both directions could not deal with alone, and with what filters have changed and want to say.
    pub(super) fn go_on(&mut self, from_client: Poll<Event>, from_upstream: Poll<Event>) {
        if std::mem::take(&mut self.shared.interests_changed) {
            self.want();
        }
        self.happened(Side::Client, from_client);
        self.happened(Side::Upstream, from_upstream);
        self.ring();
    }

    /// Whether one of the directions has to be looked at again, although nothing came.
    #[inline]
    pub(super) fn may_go_on(&self) -> bool {
        self.from_client.may_go_on(&self.client) || self.from_upstream.may_go_on(&self.upstream)
    }

    /// When it has to be looked at again, although nothing comes and no timer of the connection is due.
    #[inline]
    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let wakes_at = [self.from_client.wakes_at(&self.upstream), self.from_upstream.wakes_at(&self.client)];
        wakes_at.into_iter().chain([self.rings_at()]).flatten().min()
    }

    /// Whether both peers have all that they are to have, and have said all that there is to wait for.
    #[inline]
    pub(super) fn is_over(&self) -> bool {
        self.ending.is_some() && self.client.is_done() && self.upstream.is_done()
    }

    /// Counts what waits for the peers, which replies and callbacks of filters may have put there.
    #[inline]
    pub(super) fn account(&mut self, assemblies: &Rc<Assemblies>, waker: &Waker) {
        let timeout = self.shared.clock.timers().message_timeout;
        let directions = [(&mut self.from_client, &self.upstream), (&mut self.from_upstream, &self.client)];
        for (direction, target) in directions {
            if target.outlet.held() > 0 {
                direction.account(target, timeout, assemblies, waker);
            }
        }
    }

    /// Its end, which every filter is told.
    pub(super) fn finish(&mut self) -> Option<Box<Outcome>> {
        let outcome = self.ending.take()?;
        std::mem::take(&mut self.shared.chain).close(outcome.by, outcome.close.as_ref());
        Some(outcome)
    }

    /// Tells the clock what it cannot see: whether a ping has left, and whether a pong would be read.
    #[inline]
    pub(super) fn keep_time(&mut self) {
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
                Ok(changed) => {
                    self.shared.interests_changed |= changed;
                    // That of a filter that is gone is nobody's any more.
                    self.shared.clock.set_lease(self.shared.chain.lease_at());
                }
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
    pub(super) fn end(&mut self, ending: Ending) {
        self.shared.clock.closing();
        self.shared.is_ending = true;
        let Ending { outcome, to_client, to_upstream } = ending;
        self.ending.get_or_insert_with(|| Box::new(outcome));
        if to_client.is_some() {
            self.client.send_close(to_client.as_ref());
        }
        if to_upstream.is_some() {
            self.upstream.send_close(to_upstream.as_ref());
        }
    }

    pub(super) fn peer(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Client => &mut self.client,
            Side::Upstream => &mut self.upstream,
        }
    }

    fn direction(&mut self, from: Side) -> &mut Direction {
        match from {
            Side::Client => &mut self.from_client,
            Side::Upstream => &mut self.from_upstream,
        }
    }

    /// A timer is due.
    pub(super) fn due(&mut self, due: Due) {
        match due {
            Due::Ping => self.ping(),
            Due::PongMissing(side) => self.end(Ending::pong_timeout(side)),
            Due::Inactivity => self.look_for_activity(),
            Due::Lifetime => self.end(Ending::ordered(CloseFrame::new(1001, "max_lifetime"), "max_lifetime")),
            Due::Lease => self.end(Ending::ordered(CloseFrame::new(1008, "the lease has run out"), "lease")),
            Due::Token => self.end(Ending::ordered(CloseFrame::new(1008, "the token has expired"), "token")),
            Due::CloseTimeout => {}
        }
    }

    /// Closes a connection that carries nothing.
    fn look_for_activity(&mut self) {
        let is_held_back = self.from_client.is_held_back() || self.from_upstream.is_held_back();
        let unwritten = self.client.outlet.unwritten() + self.upstream.outlet.unwritten();
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

    /// It has taken too long to close. A side that never got a close frame is to have the one that ended the connection, if it
    /// can still be written. Where it was the proxy that ended it, what a filter still holds back goes out before.
    pub(super) fn give_up(&mut self) {
        if let Some(side) = self.unwritable.filter(|_| self.ending.is_none()) {
            self.end(Ending::vanished(side, "its socket takes nothing more".into()));
        }
        let is_ours = self.ending.as_ref().is_some_and(|outcome| outcome.by == Initiator::Proxy);
        let close = self.ending.as_ref().and_then(|outcome| outcome.close.clone());
        for peer in [&mut self.client, &mut self.upstream] {
            if is_ours {
                peer.outlet.release()
            } else {
                peer.outlet.forget()
            }
            peer.send_close(close.as_ref());
        }
    }
}
