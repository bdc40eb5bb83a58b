//! One direction of a connection: read, walk, filter, write; one write for one read.

use std::collections::VecDeque;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::Instant;

use super::Shared;
use super::assemblies::Assembly;
use super::carry::Carry;
use super::chain::Halt;
use super::deflate::Compressing;
use super::emit::{Emission, encode, opcode};
use super::item::{Boundary, Fate, Item, Stop};
use super::leg::{Leg, Peer};
use super::scratch::Scratch;
use super::walk::Walk;
use crate::metrics::Side;
use crate::ws::{CloseFrame, Violation};

/// One direction of a connection.
#[derive(Debug)]
pub(super) struct Direction {
    from: Side,
    walk: Walk,
    /// What was read and cannot be dealt with before more is.
    carry: Option<Box<Carry>>,
    /// Whether `carry` may hold more than its start: it came with the handshake, or an event cut the walk short.
    fresh: bool,
    mode: Mode,
    held: Option<Box<Held>>,
    /// Whether the last read filled its buffer and all of it went on: then there is more to come than usual.
    bulk: bool,
    /// Whether it waits for replies of its filters to go out to its own sender.
    waits_for_replies: bool,
    /// Whether it inflated so much that the worker's other connections have their turn first, before what is left in
    /// `carry`.
    full: bool,
    /// The message under way, while a filter waits for it.
    assembly: Option<Box<Assembly>>,
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

/// What filters hold back.
#[derive(Debug, Default)]
struct Held {
    gates: VecDeque<Gate>,
    /// What happened after everything that is held back.
    deferred: Option<Event>,
}

/// Bytes that go on at a time, and after which nothing more goes on before it.
#[derive(Debug)]
struct Gate {
    opens_at: Instant,
    wire: Vec<u8>,
    end: Boundary,
}

/// What a direction cannot deal with alone.
#[derive(Debug)]
pub(super) enum Event {
    /// The sender's close frame came, and went on.
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
            held: None,
            bulk: false,
            waits_for_replies: false,
            full: false,
            assembly: None,
        }
    }

    /// The walk, to say what is wanted.
    pub(super) fn walk(&mut self) -> &mut Walk {
        &mut self.walk
    }

    /// Lets nothing more through; a close frame is still noticed.
    pub(super) fn ignore(&mut self) {
        if self.mode == Mode::Forward {
            self.mode = Mode::Ignore;
            self.walk.ignore_messages();
            // What waited for a filter goes by.
            self.fresh = self.carry.is_some();
            self.assembly = None;
            self.release();
        }
    }

    /// Reads to the end of the socket and throws everything away.
    pub(super) fn drain(&mut self) {
        if self.mode != Mode::Ended {
            self.mode = Mode::Drain;
            self.forget();
            self.release();
        }
    }

    /// Frees what is held of the message under way: nobody will have it.
    fn forget(&mut self) {
        self.walk.ignore_messages();
        self.carry = None;
        self.assembly = None;
    }

    /// Throws away what filters hold back; what happened after it still has to be told.
    fn release(&mut self) {
        if let Some(held) = &mut self.held {
            held.gates.clear();
        }
    }

    /// Whether replies that it waited for have gone out, so that it has to be polled again.
    pub(super) fn may_go_on(&self, source: &Peer) -> bool {
        self.waits_for_replies && !source.outlet.holds_messages()
    }

    /// When what is held back goes on.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.held.as_ref()?.gates.front().map(|gate| gate.opens_at)
    }

    /// When the message under way has taken too long.
    pub(super) fn times_out_at(&self) -> Option<Instant> {
        self.assembly.as_ref()?.ends_at()
    }

    /// Says what is held of a message that has begun and not ended, if a filter waits for it.
    fn account(&mut self, context: &Context<'_>, shared: &Shared, scratch: &Scratch) {
        if !self.walk.is_assembling() {
            self.assembly = None;
            return;
        }
        let (room, carried) = self.carry.as_ref().map_or((0, 0), |carry| (carry.room(), carry.bytes().len()));
        let (bytes, came) = (room + self.walk.held(), carried + self.walk.gathered());
        let waker = context.waker();
        let assembly = self.assembly.get_or_insert_with(|| Box::new(scratch.assemblies.begin(waker)));
        assembly.hold(bytes, came, shared.clock.timers().message_timeout, waker);
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
        R: AsyncRead + AsyncWrite + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.assembly.as_mut().is_some_and(|assembly| assembly.stop_waiting()) {
            return Poll::Ready(Event::Violation(Violation::MessageTimeout));
        }
        for _ in 0..READS_IN_A_ROW {
            if self.assembly.as_ref().is_some_and(|assembly| assembly.is_called()) {
                return Poll::Ready(Event::NoRoom);
            }
            // Nothing is read while anything is unwritten: that is all the buffering there is.
            if ready!(target.poll_flush(context)).is_err() {
                return Poll::Ready(Event::TargetGone);
            }
            if target.peer.outlet.is_closed() {
                self.ignore();
            }
            self.waits_for_replies = source.peer.outlet.holds_messages() && self.mode == Mode::Forward;
            if self.waits_for_replies {
                return Poll::Pending;
            }
            match ready!(self.poll_gates(context, target)) {
                Ok(true) => continue,
                Ok(false) => {}
                Err(event) => return Poll::Ready(event),
            }
            if let Some(event) = self.held.take().and_then(|held| held.deferred) {
                return Poll::Ready(event);
            }
            let polled = self.poll_read(context, source, target, shared, scratch);
            if let (true, Some(assembly)) = (polled.is_pending(), &mut self.assembly) {
                assembly.wait();
            }
            if let Some(event) = ready!(polled) {
                match &mut self.held {
                    Some(held) => held.deferred = Some(event),
                    None => return Poll::Ready(event),
                }
            }
            if std::mem::take(&mut self.full) {
                break;
            }
        }
        give_way(context);
        Poll::Pending
    }

    /// Lets go on what was held back; ready with whether something was.
    fn poll_gates<W>(&mut self, context: &mut Context<'_>, target: &mut Leg<W>) -> Poll<Result<bool, Event>>
    where
        W: AsyncWrite + Unpin,
    {
        let Some(gate) = self.held.as_ref().and_then(|held| held.gates.front()) else { return Poll::Ready(Ok(false)) };
        if gate.opens_at > Instant::now() {
            // The connection's clock wakes the task.
            return Poll::Pending;
        }
        if let Some(held) = &mut self.held
            && let Some(gate) = held.gates.pop_front()
        {
            write(context, target, &gate.wire, gate.end)?;
            if held.gates.is_empty() && matches!(held.deferred, Some(Event::Close(_))) {
                target.peer.outlet.mark_closed();
            }
        }
        Poll::Ready(Ok(true))
    }

    fn poll_read<R, W>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) -> Poll<Option<Event>>
    where
        R: AsyncRead + AsyncWrite + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.mode == Mode::Ended {
            return Poll::Pending;
        }
        let Some(mut carry) = self.carry.take() else {
            return self.poll_fresh(context, source, target, shared, scratch);
        };
        if !std::mem::take(&mut self.fresh) {
            match carry.poll_read(context, &mut source.stream, self.walk.needed(), scratch) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Some(self.ended(source, None))),
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Some(self.ended(source, Some(error)))),
                Poll::Pending => {
                    self.carry = Some(carry);
                    return Poll::Pending;
                }
            }
        }
        let (consumed, event) = self.absorb(carry.bytes(), context, source, target, shared, scratch);
        if self.mode != Mode::Drain {
            self.fresh = event.is_some() || self.full;
            self.carry = carry.consume(consumed, &mut scratch.spare);
            self.account(context, shared, scratch);
        }
        Poll::Ready(event)
    }

    /// Reads where nothing is left from before.
    fn poll_fresh<R, W>(
        &mut self,
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) -> Poll<Option<Event>>
    where
        R: AsyncRead + AsyncWrite + Unpin,
        W: AsyncWrite + Unpin,
    {
        let mut read = std::mem::take(&mut scratch.read);
        let room = if self.bulk { Scratch::BULK } else { Scratch::READ };
        let mut buffer = ReadBuf::new(read.get_mut(..room).unwrap_or_default());
        let polled = Pin::new(&mut source.stream).poll_read(context, &mut buffer);
        let filled = buffer.filled().len();
        let event = match polled {
            Poll::Ready(Ok(())) if filled > 0 => {
                let bytes = read.get(..filled).unwrap_or_default();
                let (consumed, event) = self.absorb(bytes, context, source, target, shared, scratch);
                if self.mode != Mode::Drain {
                    self.carry = Carry::of(bytes.get(consumed..).unwrap_or_default());
                    self.fresh = event.is_some() || self.full;
                    self.account(context, shared, scratch);
                }
                Poll::Ready(event)
            }
            Poll::Ready(ended) => Poll::Ready(Some(self.ended(source, ended.err()))),
            Poll::Pending => Poll::Pending,
        };
        scratch.read = read;
        self.bulk = filled == room && target.peer.outlet.is_empty();
        event
    }

    fn ended<R>(&mut self, source: &mut Leg<R>, error: Option<io::Error>) -> Event {
        self.mode = Mode::Ended;
        self.forget();
        source.peer.eof = true;
        Event::Eof(error)
    }

    /// Deals with bytes; gives how many are dealt with, and what happened.
    fn absorb<R, W>(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) -> (usize, Option<Event>)
    where
        W: AsyncWrite + Unpin,
    {
        if self.mode == Mode::Drain {
            return (bytes.len(), None);
        }
        let (mut position, mut decided) = (0, 0);
        loop {
            scratch.finds.clear();
            scratch.finds.split = target.peer.outlet.is_waiting();
            let (next, stop) = self.walk.walk(bytes, position, &mut scratch.finds);
            position = next;
            shared.count(self.from, scratch.finds.tally);
            if scratch.finds.tally.messages != [0, 0] {
                self.assembly = None;
            }
            if self.mode == Mode::Forward
                && let Err(event) = self.forward(bytes, context, source, target, shared, scratch)
            {
                return (position, Some(event));
            }
            match stop {
                None => {
                    scratch.shrink();
                    return (position, None);
                }
                // What is left is here again when the worker's other connections have had their turn.
                Some(Stop::Full) => {
                    scratch.shrink();
                    self.full = true;
                    return (position, None);
                }
                Some(Stop::Undecided) => {
                    let last = scratch.finds.items.len().saturating_sub(1);
                    let goes_on = scratch.batch.passing.last().is_some_and(|passing| passing.item == last);
                    self.walk.decide(if goes_on { Fate::Pass } else { Fate::Discard });
                    decided += 1;
                    if scratch.finds.is_full() || decided == DECIDED_IN_A_ROW {
                        self.full = true;
                        return (position, None);
                    }
                }
                Some(Stop::Close(close)) => {
                    self.mode = Mode::Drain;
                    // Unless it is held back it has gone on, and nothing may follow it: not even what the other
                    // direction has to say before the pipe hears of this.
                    if self.held.is_none() {
                        target.peer.outlet.mark_closed();
                    }
                    return (position, Some(Event::Close(close)));
                }
                Some(Stop::Violation(violation)) => return (position, Some(Event::Violation(violation))),
            }
        }
    }

    /// Takes what was found through the filters and writes what goes on.
    fn forward<R, W>(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        Scratch { finds, batch, wire, deflater, deflated, .. }: &mut Scratch,
    ) -> Result<(), Event>
    where
        W: AsyncWrite + Unpin,
    {
        if target.peer.outlet.is_closed() {
            return Ok(());
        }
        if let ([Item::Pass { raw, end }], false) = (finds.items.as_slice(), target.peer.outlet.is_waiting()) {
            return write(context, target, bytes.get(raw.clone()).unwrap_or_default(), *end);
        }
        batch.load(finds);
        if !batch.passing.is_empty() {
            shared.chain.run(self.from, bytes, finds, batch);
            shared.rewant |= batch.bypassed;
        }
        for reply in batch.replies.drain(..) {
            encode(opcode(reply.kind), true, &reply.payload, self.from, source.peer.outlet.messages());
        }
        source.peer.outlet.settle();
        let halt = batch.halt.take();
        let compressing = self.walk.receiver().map(|receiver| Compressing { receiver, deflater, deflated });
        let mut emission = Emission { bytes, finds, batch, to: self.from.other(), compressing };
        match emission.untouched() {
            Some((run, end)) if halt.is_none() && !target.peer.outlet.is_waiting() => {
                write(context, target, bytes.get(run).unwrap_or_default(), end)?;
            }
            _ => write_edited(&mut self.held, &mut emission, context, target, wire)?,
        }
        shared.rewant |= shared.chain.show();
        halt.map_or(Ok(()), |halt| Err(Event::Halt(halt)))
    }
}

/// Reads after which other connections have their turn: a megabyte at most.
const READS_IN_A_ROW: usize = 4;

/// Messages decided before their end after which they have it: each is a call of the filters and a write.
const DECIDED_IN_A_ROW: usize = 1 << 8;

/// Has the task woken once the worker's other connections have had their turn, those among them for which something has
/// only now come: the runtime looks at its sockets first. A task that merely woke itself could have sixty turns until then.
fn give_way(context: &mut Context<'_>) {
    // Polled once, this leaves the waker with the runtime.
    let _ = pin!(yield_now()).poll(context);
}

/// Writes up to the first delay, and holds the rest back.
fn write_edited<W>(
    held: &mut Option<Box<Held>>,
    emission: &mut Emission<'_>,
    context: &mut Context<'_>,
    target: &mut Leg<W>,
    wire: &mut Vec<u8>,
) -> Result<(), Event>
where
    W: AsyncWrite + Unpin,
{
    let items = emission.finds.items.len();
    let mut delays = emission.batch.delays.iter().copied().peekable();
    let first = delays.peek().map_or(items, |(item, _)| item + 1);
    wire.clear();
    if let Some(end) = emission.render(0..first, Some(&mut target.peer.outlet), wire) {
        write(context, target, wire, end)?;
    }
    let mut opens_at = Instant::now();
    while let Some((item, until)) = delays.next() {
        let next = delays.peek().map_or(items, |(item, _)| item + 1);
        opens_at = opens_at.max(until);
        let mut wire = Vec::new();
        let end = emission.render(item + 1..next, None, &mut wire).unwrap_or(Boundary::Message);
        held.get_or_insert_default().gates.push_back(Gate { opens_at, wire, end });
    }
    Ok(())
}

/// Hands bytes to the receiver.
fn write<W>(context: &mut Context<'_>, target: &mut Leg<W>, wire: &[u8], end: Boundary) -> Result<(), Event>
where
    W: AsyncWrite + Unpin,
{
    target.put(context, wire, end).map_err(|_| Event::TargetGone)
}
