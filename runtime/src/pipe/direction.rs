//! One direction of a connection: what comes of what one peer sends, and what has to happen before more of it is read.
//!
//! What was read is dealt with in order and no further than it can go on: behind a filter's delay, and while one of the
//! peers takes nothing, the rest of a read stays as it came, and nothing is decided about it. Nothing here reads, writes or
//! waits: [`Drive`](super::drive::Drive) does.

mod absorb;

pub(super) use absorb::Absorbed;
#[cfg(any(fuzzing, test))]
pub(super) use absorb::{Onward, emit};

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use super::assemblies::{Assemblies, Assembly};
use super::carry::Carry;
use super::chain::Halt;
use super::conversation::Shared;
use super::peer::Peer;
use super::scratch::Scratch;
use super::turn::Pace;
use super::walk::Walk;
use crate::component::Spent;
use crate::peer::Side;
use crate::transport::End;
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
    /// Whether so much was decided or inflated that the worker's other connections have their turn first, before what is
    /// left in `carry`.
    full: bool,
    pace: Pace,
    /// The message under way, while a filter waits for it, and what the receiver has not taken: the hold on room for them.
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
    /// Nothing is, but the end of the sender's stream.
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

/// What has to happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// What was held back is to be written.
    Flush,
    /// What was kept of an earlier read is to be dealt with.
    Kept,
    /// So many bytes are to be read at most.
    Read(usize),
    /// Nothing is to be read; who can see the end of the sender's stream looks for it.
    Wait,
    /// Nothing, for ever.
    Nothing,
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
    /// The sender sends nothing more.
    Eof(Option<io::Error>),
    /// The receiver takes nothing more.
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
            pace: Pace::default(),
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

    /// Throws away everything to the end of the sender's stream.
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

    /// Whether replies that it waited for have gone out, so that it has to be looked at again.
    pub(super) fn may_go_on(&self, source: &Peer) -> bool {
        self.awaits == Awaited::Replies && !source.outlet.holds_messages()
    }

    /// When it has to be looked at, although nothing has happened.
    pub(super) fn wakes_at(&self, target: &Peer) -> Option<Instant> {
        let patience = self.aside.as_ref().and_then(|aside| aside.patience.as_ref()).map(|patience| patience.until);
        match self.awaits {
            _ if self.mode == Mode::Ended && !target.outlet.is_shut() => None,
            Awaited::Bytes => self.assembly.as_ref().and_then(|assembly| assembly.ends_at()),
            Awaited::Gate => [target.outlet.opens_at(), patience].into_iter().flatten().min(),
            Awaited::Receiver | Awaited::Replies => patience,
        }
    }

    /// Whether it has nothing to do before more comes.
    #[inline]
    pub(super) fn rests(&self, target: &Peer) -> bool {
        self.awaits == Awaited::Bytes
            && self.mode == Mode::Forward
            && self.carry.is_none()
            && self.assembly.is_none()
            && self.aside.is_none()
            && target.outlet.rests()
    }

    /// What happened that has to be dealt with before anything else, once everything before it has gone on.
    #[inline]
    pub(super) fn event(&mut self, target: &Peer) -> Option<Event> {
        if let Some(assembly) = &mut self.assembly {
            if assembly.stop_waiting() {
                return Some(Event::Violation(Violation::MessageTimeout));
            }
            if assembly.is_called() {
                return Some(Event::NoRoom);
            }
        }
        self.next_event(target)
    }

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

    /// What has to happen next; `is_flushed` says whether the receiver has taken all that is not held back.
    pub(super) fn next(&mut self, is_flushed: bool, source: &Peer, target: &mut Peer, shared: &mut Shared) -> Next {
        // Nothing is read while anything is unwritten: that is all the buffering there is.
        if !is_flushed {
            return self.wait(Awaited::Receiver);
        }
        if target.outlet.is_closed() {
            self.ignore();
        }
        if target.outlet.is_shut() {
            if target.outlet.open(Instant::now()) {
                // What was held back goes on only now.
                shared.clock.active();
                return Next::Flush;
            }
            // The connection's clock says when it opens.
            return self.wait(Awaited::Gate);
        }
        if source.outlet.holds_messages() && self.mode == Mode::Forward {
            return self.wait(Awaited::Replies);
        }
        self.awaits = Awaited::Bytes;
        self.be_patient();
        self.walk.reads(true);
        if !self.walk.is_assembling() && target.outlet.held() == 0 {
            self.assembly = None;
        }
        match (self.mode, &self.carry) {
            (Mode::Ended, _) => Next::Nothing,
            (_, Some(_)) if std::mem::take(&mut self.fresh) => Next::Kept,
            (_, Some(carry)) => Next::Read(carry.room_for(self.walk.needed())),
            (_, None) if self.bulk => Next::Read(Scratch::BULK),
            (_, None) => Next::Read(Scratch::READ),
        }
    }

    fn wait(&mut self, awaits: Awaited) -> Next {
        self.awaits = awaits;
        self.walk.reads(false);
        Next::Wait
    }

    /// Takes note that there is nothing to read for now.
    #[inline]
    pub(super) fn has_all(&mut self) {
        self.bulk = false;
        self.walk.has_all();
        if let Some(assembly) = self.assembly.as_mut().filter(|_| self.walk.is_assembling()) {
            assembly.wait();
        }
    }

    /// Whether others have their turn before what is left of a read, since this was last asked.
    #[inline]
    pub(super) fn has_had_its_turn(&mut self) -> bool {
        std::mem::take(&mut self.full)
    }

    /// Whether something was kept of earlier reads.
    #[inline]
    pub(super) fn keeps_something(&self) -> bool {
        self.carry.is_some()
    }

    /// What was kept of earlier reads, with what has come since behind it; `None` where nothing was kept.
    #[inline]
    pub(super) fn take_kept(&mut self, came: &[u8], spare: &mut Vec<u8>) -> Option<Box<Carry>> {
        let mut kept = self.carry.take()?;
        kept.append(came, self.walk.needed(), spare);
        Some(kept)
    }

    /// Keeps what is left of a read, and takes note of whether one that filled its room has gone on as a whole.
    #[inline]
    pub(super) fn keep(&mut self, rest: &[u8], has_filled: bool, target: &Peer) {
        if self.mode != Mode::Drain {
            self.carry = Carry::of(rest);
        }
        self.bulk = has_filled && target.outlet.is_empty();
    }

    /// Keeps what is left of what was kept, now that `consumed` bytes more are dealt with.
    pub(super) fn keep_on(&mut self, kept: Box<Carry>, consumed: usize, spare: &mut Vec<u8>) {
        if self.mode != Mode::Drain {
            self.carry = kept.consume(consumed, spare);
        }
    }

    /// Takes note that what came of a read is put in, so that shadows may see it, and whether more of it is to follow; and
    /// of what is held now, see [`Direction::account`].
    pub(super) fn has_put(&mut self, target: &mut Peer, shared: &mut Shared, scratch: &Scratch, waker: &Waker) {
        if shared.chain.is_shadowed() {
            let before = Spent::so_far();
            shared.interests_changed |= shared.chain.show();
            self.pace.took(self.pace.most(), before.since());
        }
        target.outlet.expect_more(self.fresh && self.mode == Mode::Forward);
        self.account(target, shared.clock.timers().message_timeout, &scratch.assemblies, waker);
    }

    /// Takes note of what is held of a message that has begun and not ended, if a filter waits for it, and of all that the
    /// receiver, or a filter's delay, is waited for: what goes on, and what filters send to the receiver on their own
    /// account or as replies. `waker` wakes who has to give that up.
    pub(super) fn account(
        &mut self,
        target: &Peer,
        timeout: Option<Duration>,
        assemblies: &Rc<Assemblies>,
        waker: &Waker,
    ) {
        let unwritten = target.outlet.held();
        if self.mode == Mode::Drain || !self.walk.is_assembling() && unwritten == 0 {
            self.assembly = None;
            return;
        }
        let (room, carried) = self.carry.as_ref().map_or((0, 0), |carry| (carry.room(), carry.bytes().len()));
        let (bytes, came) = (room + self.walk.held() + unwritten, carried + self.walk.gathered());
        let assembly = self.assembly.get_or_insert_with(|| Box::new(assemblies.begin(waker)));
        assembly.hold(bytes, came, timeout, waker);
    }

    /// The receiver takes nothing more.
    pub(super) fn target_is_gone(&mut self) {
        self.push_event(Event::TargetGone);
        self.ignore();
    }

    /// The sender sends nothing more.
    pub(super) fn end(&mut self, source: &mut Peer, error: Option<io::Error>) {
        self.mode = Mode::Ended;
        self.forget();
        source.eof = true;
        let aside = self.aside.get_or_insert_default();
        aside.patience = None;
        aside.events.push_back(Event::Eof(error));
    }

    /// Whether it matters, while nothing is read, that the sender's stream ends: the end of a connection has its own
    /// time-out.
    pub(super) fn looks_for_end(&mut self, shared: &Shared) -> bool {
        let looks = !shared.is_ending && self.mode != Mode::Ended;
        if !looks && let Some(aside) = &mut self.aside {
            aside.patience = None;
        }
        looks
    }

    /// The sender's stream was seen to have ended while nothing is read. One that is broken ends the connection at once, with
    /// what is held back; a sender that will send nothing more, but may still listen, is given `close_timeout` for what it
    /// has sent, and as much again whenever a slow peer takes something.
    pub(super) fn sees_end(
        &mut self,
        end: End,
        source: &mut Peer,
        target: &mut Peer,
        shared: &Shared,
    ) -> Option<Event> {
        let error = match end {
            End::Broken(error) => Some(error),
            End::Finished => {
                let unwritten = match self.awaits {
                    Awaited::Gate | Awaited::Bytes => None,
                    Awaited::Receiver => Some(target.outlet.unwritten()),
                    Awaited::Replies => Some(source.outlet.unwritten()),
                };
                if !self.is_out_of_patience(unwritten, shared.clock.timers().close_timeout) {
                    return None;
                }
                None
            }
        };
        target.outlet.forget();
        self.end(source, error);
        self.next_event(target)
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
}
