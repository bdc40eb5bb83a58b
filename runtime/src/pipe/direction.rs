//! One direction of a connection: read, walk, filter, write; one write for one read.
//!
//! What was read is dealt with in order and no further than it can go on: behind a filter's delay, and while one of the
//! peers takes nothing, the rest of a read stays as it came, and nothing is decided about it.

mod absorb;

#[cfg(any(fuzzing, test))]
pub(super) use absorb::{emit, put};

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::Shared;
use super::assemblies::Assembly;
use super::carry::Carry;
use super::chain::Halt;
use super::leg::{Leg, Peer};
use super::scratch::Scratch;
use super::transport::{End, Transport};
use super::walk::Walk;
use crate::peer::Side;
use crate::reactor::give_way;
use crate::ws::{CloseFrame, Violation};

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Direction {
    from: Side,
    walk: Walk,
    /// What was read and is not dealt with.
    carry: Option<Box<Carry>>,
    /// Whether `carry` can be dealt with as it is: it came with the handshake, or something stopped the walk.
    fresh: bool,
    mode: Mode,
    awaits: Awaited,
    /// Whether the last read filled its buffer and all of it went on: then there is more to come than usual.
    bulk: bool,
    /// Whether it inflated so much that the worker's other connections have their turn first, before what is left in
    /// `carry`.
    full: bool,
    /// The message under way, while a filter waits for it.
    assembly: Option<Box<Assembly>>,
    /// Boxed, because hardly any connection has it at any time.
    aside: Option<Box<Aside>>,
}

/// What a direction does with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Forward,
    /// Only a close frame is of interest.
    Ignore,
    /// Nothing is, but the end of the socket.
    Drain,
    Ended,
}

/// What a direction waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// More bytes to read.
    Bytes,
    /// The receiver has to take what is there.
    Receiver,
    /// The sender has to take the replies of its filters.
    Replies,
    /// A filter's delay has to pass.
    Gate,
}

/// What a direction keeps for later.
#[derive(Debug, Default)]
struct Aside {
    /// What happened behind what is held back, in order.
    events: VecDeque<Event>,
    /// What is left of the patience with a sender that has ended.
    patience: Option<Patience>,
}

/// How long it is waited on behalf of a sender that has ended.
#[derive(Debug)]
struct Patience {
    until: Instant,
    /// What a peer had not taken when this was last looked at; `None` where it is a filter that holds everything back.
    unwritten: Option<usize>,
}

/// What a direction cannot deal with alone.
#[derive(Debug)]
pub(super) enum Event {
    /// The sender's close frame came. It went on, unless a close frame of ours was before it.
    Close(Option<CloseFrame>),
    Violation(Violation),
    /// The message under way has to go, because others need the room.
    NoRoom,
    Halt(Halt),
    /// The sender's socket has ended.
    Eof(Option<io::Error>),
    /// The receiver's socket takes nothing more.
    TargetGone,
}

impl Direction {
    /// What `from` sends; `leftover` was read behind its handshake.
    pub(super) fn new(from: Side, walk: Walk, leftover: &[u8]) -> Self {
        Self {
            from,
            walk,
            carry: Carry::of(leftover),
            fresh: !leftover.is_empty(),
            mode: Mode::Forward,
            awaits: Awaited::Bytes,
            bulk: false,
            full: false,
            assembly: None,
            aside: None,
        }
    }

    /// The walk, to say what is wanted.
    pub(super) fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }

    /// Lets nothing more through; a close frame is still noticed.
    fn ignore(&mut self) {
        if self.mode == Mode::Forward {
            self.mode = Mode::Ignore;
            self.walk.ignore_messages();
            // What waited for a filter goes by.
            self.fresh = self.carry.is_some();
            self.assembly = None;
        }
    }

    /// Reads to the end of the socket and throws everything away.
    pub(super) fn drain(&mut self) {
        if self.mode != Mode::Ended {
            self.mode = Mode::Drain;
            self.forget();
        }
    }

    /// Frees what is held of what was read: nobody will have it.
    fn forget(&mut self) {
        self.walk.ignore_messages();
        self.carry = None;
        self.fresh = false;
        self.assembly = None;
    }

    /// Whether what it sends is read at the moment.
    pub(super) fn is_reading(&self) -> bool {
        self.awaits == Awaited::Bytes
    }

    /// Whether a filter holds back what it has sent.
    pub(super) fn is_held_back(&self) -> bool {
        self.awaits == Awaited::Gate
    }

    /// Whether replies that it waited for have gone out, so that it has to be polled again.
    pub(super) fn may_go_on(&self, source: &Peer) -> bool {
        self.awaits == Awaited::Replies && !source.outlet.holds_messages()
    }

    /// When it has to be polled, although nothing has happened.
    pub(super) fn wakes_at(&self, target: &Peer) -> Option<Instant> {
        let patience = self.aside.as_ref().and_then(|aside| aside.patience.as_ref()).map(|patience| patience.until);
        match self.awaits {
            _ if self.mode == Mode::Ended && !target.outlet.is_shut() => None,
            Awaited::Bytes => self.assembly.as_ref().and_then(|assembly| assembly.ends_at()),
            Awaited::Gate => [target.outlet.opens_at(), patience].into_iter().flatten().min(),
            Awaited::Receiver | Awaited::Replies => patience,
        }
    }

    /// Moves what there is to move. Pending once a socket has to be waited for.
    pub(super) fn poll<R, W>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) -> Poll<Event>
    where
        R: Transport,
        W: Transport,
    {
        if self.assembly.as_mut().is_some_and(|assembly| assembly.stop_waiting()) {
            return Poll::Ready(Event::Violation(Violation::MessageTimeout));
        }
        for _ in 0..READS_IN_A_ROW {
            if self.assembly.as_ref().is_some_and(|assembly| assembly.is_called()) {
                return Poll::Ready(Event::NoRoom);
            }
            if let Some(event) = self.next_event(&target.peer) {
                return Poll::Ready(event);
            }
            // Nothing is read while anything is unwritten: that is all the buffering there is.
            match target.poll_flush(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Event::TargetGone),
                Poll::Pending => return self.wait(Awaited::Receiver, context, source, &mut target.peer, shared),
            }
            if target.peer.outlet.is_closed() {
                self.ignore();
            }
            if target.peer.outlet.is_shut() {
                if target.peer.outlet.open(Instant::now()) {
                    // What was held back goes on only now.
                    shared.clock.active();
                    continue;
                }
                // The connection's clock wakes the task.
                return self.wait(Awaited::Gate, context, source, &mut target.peer, shared);
            }
            if source.peer.outlet.holds_messages() && self.mode == Mode::Forward {
                return self.wait(Awaited::Replies, context, source, &mut target.peer, shared);
            }
            self.awaits = Awaited::Bytes;
            self.be_patient();
            self.walk.reads(true);
            if !self.walk.is_assembling() {
                self.assembly = None;
            }
            if self.poll_read(context, source, target, shared, scratch).is_pending() {
                self.walk.has_all();
                if let Some(assembly) = &mut self.assembly {
                    assembly.wait();
                }
                return Poll::Pending;
            }
            if let Some(event) = self.next_event(&target.peer) {
                return Poll::Ready(event);
            }
            if std::mem::take(&mut self.full) {
                break;
            }
        }
        give_way(context);
        Poll::Pending
    }

    /// What happened next, once everything before it has gone on.
    #[inline]
    fn next_event(&mut self, target: &Peer) -> Option<Event> {
        let aside = self.aside.as_mut().filter(|_| !target.outlet.is_shut())?;
        let event = aside.events.pop_front();
        if aside.events.is_empty() && aside.patience.is_none() {
            self.aside = None;
        }
        event
    }

    fn push_event(&mut self, event: Event) {
        self.aside.get_or_insert_default().events.push_back(event);
    }

    /// Waits without reading, and sees all the same when the sender is gone. A connection that is broken ends at once,
    /// with what is held back; a sender that will send nothing more, but may still listen, is given `close_timeout` for
    /// what it has sent, and as much again whenever a slow peer takes something.
    fn wait<R: Transport>(
        &mut self,
        awaits: Awaited,
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Peer,
        shared: &Shared,
    ) -> Poll<Event> {
        self.awaits = awaits;
        self.walk.reads(false);
        // The end of a connection has its own time-out.
        if shared.is_ending || self.mode == Mode::Ended {
            if let Some(aside) = &mut self.aside {
                aside.patience = None;
            }
            return Poll::Pending;
        }
        let error = match source.stream.poll_end(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(End::Broken(error)) => Some(error),
            Poll::Ready(End::Finished) => {
                let unwritten = match awaits {
                    Awaited::Gate | Awaited::Bytes => None,
                    Awaited::Receiver => Some(target.outlet.unwritten()),
                    Awaited::Replies => Some(source.peer.outlet.unwritten()),
                };
                if !self.is_out_of_patience(unwritten, shared.clock.timers().close_timeout) {
                    return Poll::Pending;
                }
                None
            }
        };
        target.outlet.forget();
        self.end(source, error);
        match self.next_event(target) {
            Some(event) => Poll::Ready(event),
            None => Poll::Pending,
        }
    }

    /// Has what is waited for next have its own time: what a slow peer had to take is taken.
    #[inline]
    fn be_patient(&mut self) {
        if let Some(aside) = &mut self.aside {
            aside.patience.take_if(|patience| patience.unwritten.is_some());
        }
    }

    /// Whether there was no progress for so long, or it is a filter that holds back what is left.
    fn is_out_of_patience(&mut self, unwritten: Option<usize>, close_timeout: Duration) -> bool {
        let now = Instant::now();
        let fresh = Patience { until: now + close_timeout, unwritten };
        let patience = self.aside.get_or_insert_default().patience.get_or_insert(fresh);
        if patience.unwritten.is_some() && patience.unwritten != unwritten {
            *patience = Patience { until: now + close_timeout, unwritten };
        }
        patience.until <= now
    }

    /// Reads once, or takes up what was read before, and deals with it.
    fn poll_read<R, W>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) -> Poll<()>
    where
        R: Transport,
        W: Transport,
    {
        if self.mode == Mode::Ended {
            return Poll::Pending;
        }
        let Some(mut carry) = self.carry.take() else {
            return self.poll_fresh(context, source, target, shared, scratch);
        };
        if !std::mem::take(&mut self.fresh) {
            match carry.poll_read(context, &mut source.stream, self.walk.needed(), scratch) {
                Poll::Ready(Ok(count)) if count > 0 => {}
                Poll::Ready(ended) => {
                    self.end(source, ended.err());
                    return Poll::Ready(());
                }
                Poll::Pending => {
                    self.carry = Some(carry);
                    return Poll::Pending;
                }
            }
        }
        let consumed = self.absorb(carry.bytes(), context, source, target, shared, scratch);
        if self.mode != Mode::Drain {
            self.carry = carry.consume(consumed, &mut scratch.spare);
            self.account(context, &target.peer, shared, scratch);
        }
        Poll::Ready(())
    }

    /// Reads where nothing is left from before.
    fn poll_fresh<R, W>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) -> Poll<()>
    where
        R: Transport,
        W: Transport,
    {
        let mut read = std::mem::take(&mut scratch.read);
        let room = if self.bulk { Scratch::BULK } else { Scratch::READ };
        let mut buffer = ReadBuf::new(read.get_mut(..room).unwrap_or_default());
        let polled = Pin::new(&mut source.stream).poll_read(context, &mut buffer);
        let filled = buffer.filled().len();
        let polled = match polled {
            Poll::Ready(Ok(())) if filled > 0 => {
                let bytes = read.get(..filled).unwrap_or_default();
                let consumed = self.absorb(bytes, context, source, target, shared, scratch);
                if self.mode != Mode::Drain {
                    self.carry = Carry::of(bytes.get(consumed..).unwrap_or_default());
                    self.account(context, &target.peer, shared, scratch);
                }
                Poll::Ready(())
            }
            Poll::Ready(ended) => {
                self.end(source, ended.err());
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        };
        scratch.read = read;
        self.bulk = filled == room && target.peer.outlet.is_empty();
        polled
    }

    /// Says what is held of a message that has begun and not ended, if a filter waits for it, and of those for which the
    /// receiver, or a filter's delay, is waited for.
    fn account(&mut self, context: &Context<'_>, target: &Peer, shared: &Shared, scratch: &Scratch) {
        let unwritten = target.outlet.held();
        if !self.walk.is_assembling() && unwritten == 0 {
            self.assembly = None;
            return;
        }
        let (room, carried) = self.carry.as_ref().map_or((0, 0), |carry| (carry.room(), carry.bytes().len()));
        let (bytes, came) = (room + self.walk.held() + unwritten, carried + self.walk.gathered());
        let waker = context.waker();
        let assembly = self.assembly.get_or_insert_with(|| Box::new(scratch.assemblies.begin(waker)));
        assembly.hold(bytes, came, shared.clock.timers().message_timeout, waker);
    }

    /// The sender's socket has ended.
    fn end<R>(&mut self, source: &mut Leg<R>, error: Option<io::Error>) {
        self.mode = Mode::Ended;
        self.forget();
        source.peer.eof = true;
        let aside = self.aside.get_or_insert_default();
        aside.patience = None;
        aside.events.push_back(Event::Eof(error));
    }
}

/// Reads after which other connections have their turn: a megabyte at most.
const READS_IN_A_ROW: usize = 4;
