//! What a direction does with the bytes of one read, walk by walk.

use std::ops::Range;

use tokio::time::Instant;

use super::{Direction, Event, Mode};
use crate::component::{Content, Outgoing, Spent};
use crate::pipe::conversation::Shared;
use crate::pipe::deflate::Compressing;
use crate::pipe::emit::{Emission, encode, opcode};
use crate::pipe::item::{Boundary, Fate, Finds, Item, Stop};
use crate::pipe::outlet::Outlet;
use crate::pipe::peer::Peer;
use crate::pipe::scratch::Scratch;

/// What came of some bytes.
#[derive(Debug)]
pub(in crate::pipe) struct Absorbed {
    /// How many of them are dealt with.
    pub(in crate::pipe) consumed: usize,
    /// What is to be put in for the receiver, behind what is in its outlet already.
    pub(in crate::pipe) onward: Onward,
}

/// What goes on and is not put in yet, so that one read makes one write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::pipe) enum Onward {
    #[default]
    Nothing,
    /// A run of the bytes as they came: nothing copies them.
    Run(Range<usize>, Boundary),
    /// What is in [`Scratch::wire`].
    Wire(Boundary),
}

impl Onward {
    /// The bytes, with where they end.
    pub(in crate::pipe) fn of<'a>(&self, bytes: &'a [u8], wire: &'a [u8]) -> Option<(&'a [u8], Boundary)> {
        match self {
            Self::Nothing => None,
            Self::Run(run, end) => Some((bytes.get(run.clone()).unwrap_or_default(), *end)),
            Self::Wire(end) => Some((wire, *end)),
        }
    }

    fn len(&self, wire: &[u8]) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Run(run, _) => run.len(),
            Self::Wire(_) => wire.len(),
        }
    }

    /// Adds a run of bytes that go on as they came.
    fn add(&mut self, run: Range<usize>, end: Boundary, bytes: &[u8], wire: &mut Vec<u8>) {
        match self {
            Self::Nothing => *self = Self::Run(run, end),
            Self::Run(before, _) if before.end == run.start => *self = Self::Run(before.start..run.end, end),
            _ => {
                self.spill(bytes, wire);
                wire.extend_from_slice(bytes.get(run).unwrap_or_default());
                *self = Self::Wire(end);
            }
        }
    }

    /// Copies a run, for something else to be put behind it.
    fn spill(&mut self, bytes: &[u8], wire: &mut Vec<u8>) {
        if let Self::Run(run, end) = self {
            wire.extend_from_slice(bytes.get(run.clone()).unwrap_or_default());
            *self = Self::Wire(*end);
        }
    }

    /// Puts it in, for something that has to stand behind it in the outlet itself.
    pub(in crate::pipe) fn put(&mut self, bytes: &[u8], wire: &mut Vec<u8>, outlet: &mut Outlet) {
        if let Some((put, end)) = self.of(bytes, wire) {
            outlet.put(put, end);
        }
        wire.clear();
        *self = Self::Nothing;
    }
}

impl Direction {
    /// Deals with bytes. Where it stops before their end for another reason than that the rest is not whole, `fresh` says
    /// so.
    pub(in crate::pipe) fn absorb(
        &mut self,
        bytes: &[u8],
        source: &mut Peer,
        target: &mut Peer,
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) -> Absorbed {
        let mut onward = Onward::Nothing;
        if self.mode == Mode::Drain {
            return Absorbed { consumed: bytes.len(), onward };
        }
        let (mut position, mut work) = (0, 0);
        scratch.wire.clear();
        scratch.finds.single = shared.chain.answers_singly(self.from);
        loop {
            scratch.finds.clear();
            scratch.finds.split = target.outlet.is_waiting();
            scratch.finds.most = self.pace.most();
            let (next, stop) = self.walk.walk(bytes, position, &mut scratch.finds);
            position = next;
            shared.count(self.from, scratch.finds.tally);
            if scratch.finds.tally.messages != [0, 0] {
                self.assembly = None;
            }
            if self.mode == Mode::Forward {
                let before = Spent::so_far();
                self.forward(bytes, &mut onward, source, target, shared, scratch);
                self.pace.took(scratch.finds.items.len(), before.since());
            }
            match stop {
                None => break,
                Some(Stop::Slice) if position == bytes.len() => break,
                Some(Stop::Full | Stop::Slice) => {}
                Some(Stop::Undecided) => {
                    work += UNDECIDED;
                    let last = scratch.finds.items.len().saturating_sub(1);
                    let goes_on = scratch.batch.passing.last().is_some_and(|passing| passing.item == last);
                    self.walk.decide(if goes_on { Fate::Pass } else { Fate::Discard });
                }
                Some(Stop::Close(close)) => {
                    if self.mode == Mode::Forward {
                        // Nothing may follow it, not even what the other direction has to say before anybody hears of it.
                        onward.put(bytes, &mut scratch.wire, &mut target.outlet);
                        target.outlet.seal();
                    }
                    self.mode = Mode::Drain;
                    self.push_event(Event::Close(close));
                    break;
                }
                Some(Stop::Violation(violation)) => {
                    self.push_event(Event::Violation(violation));
                    break;
                }
            }
            // What is left is here again when the worker's other connections have had their turn.
            work += scratch.finds.items.len();
            // A shadow is shown all of a read at once, and each of it may be a call.
            let many = if shared.chain.is_shadowed() { 1 } else { Finds::MANY };
            self.full = scratch.finds.is_full() || work >= many || shared.turn.is_over();
            if self.full || self.has_to_wait(onward.len(&scratch.wire), source, target) {
                self.fresh = position < bytes.len();
                break;
            }
        }
        if self.walk.is_inside_frame() {
            shared.clock.inside_frame(self.from);
        }
        Absorbed { consumed: position, onward }
    }

    /// Whether nothing more may be decided for now: something is held back, or there is much that one of the peers may not
    /// take.
    fn has_to_wait(&self, onward: usize, source: &Peer, target: &Peer) -> bool {
        self.mode == Mode::Forward
            && (onward + target.outlet.unwritten() >= UNWRITTEN
                || source.outlet.unwritten() >= UNWRITTEN && source.outlet.holds_messages()
                || target.outlet.is_shut())
    }

    /// Takes what was found through the filters, and adds what goes on of it.
    fn forward(
        &mut self,
        bytes: &[u8],
        onward: &mut Onward,
        source: &mut Peer,
        target: &mut Peer,
        shared: &mut Shared,
        Scratch { finds, batch, wire, deflater, deflated, .. }: &mut Scratch,
    ) {
        if target.outlet.is_closed() {
            return;
        }
        if let ([Item::Pass { raw, end }], false) = (finds.items.as_slice(), target.outlet.is_waiting()) {
            return onward.add(raw.clone(), *end, bytes, wire);
        }
        batch.load(finds);
        if !batch.passing.is_empty() {
            shared.chain.run(self.from, bytes, finds, batch);
            shared.interests_changed |= batch.bypassed;
        }
        if batch.halt.is_none() {
            shared.chain.show_slice(self.from, bytes, finds, batch);
            shared.interests_changed |= batch.bypassed;
            if batch.halt.is_some() {
                // Nothing goes on of it.
                finds.items.pop();
            }
        }
        // Each filter has answered all messages before the next one did any.
        batch.replies.sort_by_key(|(answered, _)| *answered);
        for (_, Outgoing { message: Content { kind, payload }, .. }) in batch.replies.drain(..) {
            encode(opcode(kind), true, &payload, self.from, source.outlet.messages());
        }
        source.outlet.settle();
        let halt = batch.halt.take();
        let compressing = self.walk.receiver().map(|receiver| Compressing { receiver, deflater, deflated });
        let mut emission = Emission { bytes, finds, batch, to: self.from.other(), compressing };
        match emission.untouched() {
            Some((run, end)) if halt.is_none() && !target.outlet.is_waiting() => onward.add(run, end, bytes, wire),
            _ => emit(&mut emission, onward, &mut target.outlet, wire),
        }
        if let Some(halt) = halt {
            // Nothing of what follows a verdict that closes goes on; a close frame among it is noticed.
            self.ignore();
            self.push_event(Event::Halt(halt));
        }
    }
}

/// What may be unwritten to one peer before nothing more is decided that would add to it.
const UNWRITTEN: usize = Scratch::BULK;

/// How many messages one that is decided before its end is worth: it is a call of the filters of its own.
const UNDECIDED: usize = 16;

/// Adds what goes on, with a gate where a filter wants a delay.
pub(in crate::pipe) fn emit(emission: &mut Emission<'_>, onward: &mut Onward, outlet: &mut Outlet, wire: &mut Vec<u8>) {
    let (bytes, batch, finds, mut next) = (emission.bytes, emission.batch, emission.finds, 0);
    for &(item, until) in &batch.delays {
        render(emission, next..item + 1, onward, outlet, wire);
        onward.put(bytes, wire, outlet);
        outlet.shut(until);
        next = item + 1;
    }
    render(emission, next..batch.items(finds), onward, outlet, wire);
    if !batch.delays.is_empty() {
        onward.put(bytes, wire, outlet);
        outlet.open(Instant::now());
    }
}

/// Writes out items; where frames of our own wait for a place, one by one.
fn render(
    emission: &mut Emission<'_>,
    items: Range<usize>,
    onward: &mut Onward,
    outlet: &mut Outlet,
    wire: &mut Vec<u8>,
) {
    let bytes = emission.bytes;
    let mut next = items.start;
    onward.spill(bytes, wire);
    while next < items.end && outlet.is_waiting() {
        if let Some(end) = emission.render(next..next + 1, wire) {
            *onward = Onward::Wire(end);
        }
        onward.put(bytes, wire, outlet);
        next += 1;
    }
    if next < items.end
        && let Some(end) = emission.render(next..items.end, wire)
    {
        *onward = Onward::Wire(end);
    }
}
