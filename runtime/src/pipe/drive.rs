//! What moves the bytes of a connection: between a [`Conversation`], which decides, and the transports of its peers. One
//! write for one read.

use std::io;
use std::task::{Context, Poll, ready};

use super::conversation::{Conversation, Shared};
use super::direction::{Absorbed, Direction, Event, Next};
use super::item::Boundary;
use super::peer::Peer;
use super::scratch::Scratch;
use crate::peer::Side;
use crate::reactor::give_way;
use crate::transport::Transport;

/// One side of a connection: what is known of the peer, and what reaches it.
pub(super) struct Leg<'a> {
    pub(super) transport: &'a mut Transport,
    pub(super) peer: &'a mut Peer,
}

/// One direction, and what it reads from.
pub(super) struct Drive<'a> {
    source: &'a mut Transport,
    turn: Turn<'a>,
}

/// One direction, and what it works on while it has its turn.
struct Turn<'a> {
    direction: &'a mut Direction,
    source: &'a mut Peer,
    target: Leg<'a>,
    shared: &'a mut Shared,
    scratch: &'a mut Scratch,
}

impl<'a> Drive<'a> {
    /// What `from` sends.
    pub(super) fn new(
        from: Side,
        Conversation { client, upstream, from_client, from_upstream, shared, .. }: &'a mut Conversation,
        to_client: &'a mut Transport,
        to_upstream: &'a mut Transport,
        scratch: &'a mut Scratch,
    ) -> Self {
        match from {
            Side::Client => {
                let target = Leg { transport: to_upstream, peer: upstream };
                Self {
                    source: to_client,
                    turn: Turn { direction: from_client, source: client, target, shared, scratch },
                }
            }
            Side::Upstream => {
                let target = Leg { transport: to_client, peer: client };
                let turn = Turn { direction: from_upstream, source: upstream, target, shared, scratch };
                Self { source: to_upstream, turn }
            }
        }
    }

    /// Moves what there is to move. Pending once a transport has to be waited for.
    pub(super) fn poll(mut self, context: &mut Context<'_>) -> Poll<Event> {
        for _ in 0..READS_IN_A_ROW {
            let Turn { direction, source, target, shared, .. } = &mut self.turn;
            // Mostly this is all that there is to find out: what came was short, or came from the other side.
            if direction.rests(target.peer) && self.source.poll_readable(context).is_pending() {
                direction.has_all();
                return Poll::Pending;
            }
            if let Some(event) = direction.event(target.peer) {
                return Poll::Ready(event);
            }
            let is_flushed = match target.poll_flush(context) {
                Poll::Ready(Ok(())) => true,
                Poll::Ready(Err(_)) => return Poll::Ready(Event::TargetGone),
                Poll::Pending => false,
            };
            let has_moved = match direction.next(is_flushed, source, target.peer, shared) {
                Next::Flush => continue,
                Next::Wait => return self.poll_end(context),
                Next::Nothing => false,
                Next::Kept => {
                    self.turn.absorb_kept(&[], context);
                    true
                }
                Next::Read(most) => self.poll_read(most, context).is_ready(),
            };
            if !has_moved {
                self.turn.direction.has_all();
                return Poll::Pending;
            }
            if let Some(event) = self.turn.direction.event(self.turn.target.peer) {
                return Poll::Ready(event);
            }
            if self.turn.direction.has_had_its_turn() {
                break;
            }
        }
        give_way(context);
        Poll::Pending
    }

    /// Reads once, and deals with what comes.
    fn poll_read(&mut self, most: usize, context: &mut Context<'_>) -> Poll<()> {
        // All connections of the worker read to the same room: one that waits has none of its own.
        let mut room = std::mem::take(&mut self.turn.scratch.read);
        let lent = self.source.poll_lend(context, room.get_mut(..most).unwrap_or_default());
        let polled = lent.map(|lent| match lent {
            Ok(bytes) if !bytes.is_empty() => self.turn.absorb(bytes, most, context),
            ended => self.turn.direction.end(self.turn.source, ended.err()),
        });
        self.turn.scratch.read = room;
        polled
    }

    /// Sees while nothing is read whether the sender is gone all the same.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        let Turn { direction, source, target, shared, .. } = &mut self.turn;
        if !direction.looks_for_end(shared) {
            return Poll::Pending;
        }
        let end = ready!(self.source.poll_end(context));
        direction.sees_end(end, source, target.peer, shared).map_or(Poll::Pending, Poll::Ready)
    }
}

impl Turn<'_> {
    /// Deals with what has come, of which there might have been `most` bytes.
    fn absorb(&mut self, came: &[u8], most: usize, context: &mut Context<'_>) {
        if self.direction.keeps_something() {
            return self.absorb_kept(came, context);
        }
        let consumed = self.put(came, context);
        let rest = came.get(consumed..).unwrap_or_default();
        self.direction.keep(rest, came.len() == most, self.target.peer);
        self.account(context);
    }

    /// Deals with what was kept, with what has come since behind it.
    fn absorb_kept(&mut self, came: &[u8], context: &mut Context<'_>) {
        let Some(kept) = self.direction.take_kept(came, &mut self.scratch.spare) else { return };
        let consumed = self.put(kept.bytes(), context);
        self.direction.keep_on(kept, consumed, &mut self.scratch.spare);
        self.account(context);
    }

    /// Has bytes dealt with, and puts in what goes on of them; gives how many are dealt with.
    fn put(&mut self, bytes: &[u8], context: &mut Context<'_>) -> usize {
        let Absorbed { consumed, onward } =
            self.direction.absorb(bytes, self.source, self.target.peer, self.shared, self.scratch);
        if let Some((bytes, end)) = onward.of(bytes, &self.scratch.wire)
            && self.target.put(context, bytes, end).is_err()
        {
            self.direction.target_is_gone();
        }
        self.scratch.shrink();
        consumed
    }

    fn account(&mut self, context: &Context<'_>) {
        self.direction.has_put(self.target.peer, self.shared, self.scratch, context.waker());
    }
}

impl Leg<'_> {
    /// Puts in bytes that end at `end`, of which the transport takes at once what it can; nothing happens when it is broken.
    ///
    /// # Errors
    /// When it breaks now.
    fn put(&mut self, context: &mut Context<'_>, bytes: &[u8], end: Boundary) -> io::Result<()> {
        if self.peer.is_broken() {
            return Ok(());
        }
        let mut rest = bytes;
        while !rest.is_empty() && self.peer.outlet.is_clear() {
            match self.transport.poll_send(context, rest) {
                Poll::Ready(Ok(count)) => rest = rest.get(count..).unwrap_or_default(),
                Poll::Ready(Err(error)) => {
                    self.peer.give_up();
                    return Err(error);
                }
                Poll::Pending => break,
            }
        }
        self.peer.outlet.put(rest, end);
        Ok(())
    }

    /// Writes what the transport takes; ready when nothing is left, and at once when it is broken.
    ///
    /// # Errors
    /// When it breaks now.
    #[inline]
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.peer.is_broken() {
            self.peer.outlet.discard();
            return Poll::Ready(Ok(()));
        }
        let flushed = self.poll_write(context);
        if let Poll::Ready(Err(_)) = &flushed {
            self.peer.give_up();
        } else if flushed.is_ready() && self.peer.is_to_shut() && self.transport.poll_shutdown(context).is_ready() {
            // One that cannot be shut down is gone already.
            self.peer.has_shut();
        }
        flushed
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(unwritten) = self.peer.outlet.unwritten_mut() {
            ready!(self.transport.poll_take(context, unwritten))?;
        }
        self.peer.outlet.all_written();
        self.transport.poll_flush(context)
    }
}

/// Reads after which other connections have their turn: a megabyte at most.
const READS_IN_A_ROW: usize = 4;
