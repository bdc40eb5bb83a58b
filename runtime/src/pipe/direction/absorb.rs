//! What a direction does with the bytes of one read, walk by walk.

use std::io;
use std::ops::Range;
use std::task::Context;

use tokio::time::Instant;

use super::{Direction, Event, Mode};
use crate::component::{Content, Outgoing};
use crate::pipe::Shared;
use crate::pipe::deflate::Compressing;
use crate::pipe::emit::{Emission, encode, opcode};
use crate::pipe::item::{Boundary, Fate, Finds, Item, Stop};
use crate::pipe::leg::Leg;
use crate::pipe::scratch::Scratch;
use crate::pipe::transport::Transport;

/// What is to be written and is not put in yet, so that one read makes one write; the bytes are in [`Scratch::wire`].
pub(in crate::pipe) type Unput = Option<Boundary>;

impl Direction {
    /// Deals with bytes; gives how many are dealt with. Where it stopped before their end for another reason than that
    /// the rest is not whole, `fresh` says so.
    pub(super) fn absorb<R, W>(
        &mut self,
        bytes: &[u8],
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        scratch: &mut Scratch,
    ) -> usize
    where
        R: Transport,
        W: Transport,
    {
        if self.mode == Mode::Drain {
            return bytes.len();
        }
        let (mut position, mut work, mut unput) = (0, 0, None);
        scratch.wire.clear();
        loop {
            scratch.finds.clear();
            scratch.finds.split = target.peer.outlet.is_waiting();
            let (next, stop) = self.walk.walk(bytes, position, &mut scratch.finds);
            position = next;
            shared.count(self.from, scratch.finds.tally);
            if scratch.finds.tally.messages != [0, 0] {
                self.assembly = None;
            }
            let is_last = match stop {
                None => true,
                Some(Stop::Slice) => position == bytes.len(),
                _ => false,
            };
            if self.mode == Mode::Forward
                && self.forward(bytes, is_last, &mut unput, context, source, target, shared, scratch).is_err()
            {
                self.push_event(Event::TargetGone);
                self.ignore();
            }
            match stop {
                None => break,
                Some(Stop::Slice) if is_last => break,
                Some(Stop::Full | Stop::Slice) => {}
                Some(Stop::Undecided) => {
                    work += UNDECIDED;
                    let last = scratch.finds.items.len().saturating_sub(1);
                    let goes_on = scratch.batch.passing.last().is_some_and(|passing| passing.item == last);
                    self.walk.decide(if goes_on { Fate::Pass } else { Fate::Discard });
                }
                Some(Stop::Close(close)) => {
                    if self.mode == Mode::Forward {
                        // Nothing may follow it, not even what the other direction has to say before the pipe hears of it.
                        self.put(&mut unput, context, target, scratch);
                        target.peer.outlet.seal();
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
            self.full = scratch.finds.is_full() || work >= Finds::MANY;
            if self.full || self.has_to_wait(&mut unput, context, source, target, scratch) {
                self.fresh = position < bytes.len();
                break;
            }
        }
        self.put(&mut unput, context, target, scratch);
        target.peer.outlet.expect_more(self.fresh && self.mode == Mode::Forward);
        if self.walk.is_inside_frame() {
            shared.clock.inside_frame(self.from);
        }
        scratch.shrink();
        position
    }

    /// Whether nothing more may be decided for now: something is held back, or a peer does not take what there is for it.
    fn has_to_wait<R, W>(
        &mut self,
        unput: &mut Unput,
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        scratch: &mut Scratch,
    ) -> bool
    where
        R: Transport,
        W: Transport,
    {
        if self.mode != Mode::Forward {
            return false;
        }
        if scratch.wire.len() + target.peer.outlet.unwritten() >= UNWRITTEN {
            self.put(unput, context, target, scratch);
            if !target.peer.outlet.is_empty() {
                return true;
            }
        }
        if source.peer.outlet.unwritten() >= UNWRITTEN && source.peer.outlet.holds_messages() {
            // An error shows when that direction meets it.
            let _ = source.poll_flush(context);
            if source.peer.outlet.holds_messages() {
                return true;
            }
        }
        target.peer.outlet.is_shut()
    }

    /// Takes what was found through the filters, and hands over what goes on of it.
    #[expect(clippy::too_many_arguments, reason = "what a direction works on, and how far it is")]
    fn forward<R, W>(
        &mut self,
        bytes: &[u8],
        is_last: bool,
        unput: &mut Unput,
        context: &mut Context<'_>,
        source: &mut Leg<R>,
        target: &mut Leg<W>,
        shared: &mut Shared,
        Scratch { finds, batch, wire, deflater, deflated, .. }: &mut Scratch,
    ) -> io::Result<()>
    where
        W: Transport,
    {
        if target.peer.outlet.is_closed() {
            return Ok(());
        }
        let is_direct = unput.is_none() && !target.peer.outlet.is_waiting();
        if let ([Item::Pass { raw, end }], true) = (finds.items.as_slice(), is_direct) {
            return target.put(context, bytes.get(raw.clone()).unwrap_or_default(), *end);
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
            encode(opcode(kind), true, &payload, self.from, source.peer.outlet.messages());
        }
        source.peer.outlet.settle();
        let halt = batch.halt.take();
        let compressing = self.walk.receiver().map(|receiver| Compressing { receiver, deflater, deflated });
        let mut emission = Emission { bytes, finds, batch, to: self.from.other(), compressing };
        let put = match emission.untouched() {
            Some((run, end)) if halt.is_none() && !target.peer.outlet.is_waiting() => {
                let run = bytes.get(run).unwrap_or_default();
                if is_last && is_direct {
                    target.put(context, run, end)
                } else {
                    wire.extend_from_slice(run);
                    *unput = Some(end);
                    Ok(())
                }
            }
            _ => emit(&mut emission, unput, context, target, wire),
        };
        shared.interests_changed |= shared.chain.show();
        if let Some(halt) = halt {
            // Nothing of what follows a verdict that closes goes on; a close frame among it is noticed.
            self.ignore();
            self.push_event(Event::Halt(halt));
        }
        put
    }

    /// Puts in what was not put in yet.
    fn put<W>(&mut self, unput: &mut Unput, context: &mut Context<'_>, target: &mut Leg<W>, scratch: &mut Scratch)
    where
        W: Transport,
    {
        if put(unput, context, target, &mut scratch.wire).is_err() {
            self.push_event(Event::TargetGone);
            self.ignore();
        }
    }
}

/// What may be unwritten to one peer before nothing more is decided that would add to it.
const UNWRITTEN: usize = Scratch::BULK;

/// How many messages one that is decided before its end is worth: it is a call of the filters of its own.
const UNDECIDED: usize = 16;

/// Hands over what goes on, with a gate where a filter wants a delay.
pub(in crate::pipe) fn emit<W>(
    emission: &mut Emission<'_>,
    unput: &mut Unput,
    context: &mut Context<'_>,
    target: &mut Leg<W>,
    wire: &mut Vec<u8>,
) -> io::Result<()>
where
    W: Transport,
{
    let (batch, finds, mut next) = (emission.batch, emission.finds, 0);
    for &(item, until) in &batch.delays {
        render(emission, next..item + 1, unput, context, target, wire)?;
        put(unput, context, target, wire)?;
        target.peer.outlet.shut(until);
        next = item + 1;
    }
    render(emission, next..batch.items(finds), unput, context, target, wire)?;
    if !batch.delays.is_empty() {
        put(unput, context, target, wire)?;
        target.peer.outlet.open(Instant::now());
    }
    Ok(())
}

/// Writes out items; where frames of our own wait for a place, one by one.
fn render<W>(
    emission: &mut Emission<'_>,
    items: Range<usize>,
    unput: &mut Unput,
    context: &mut Context<'_>,
    target: &mut Leg<W>,
    wire: &mut Vec<u8>,
) -> io::Result<()>
where
    W: Transport,
{
    let mut next = items.start;
    while next < items.end && target.peer.outlet.is_waiting() {
        *unput = emission.render(next..next + 1, wire).or(*unput);
        put(unput, context, target, wire)?;
        next += 1;
    }
    if next < items.end {
        *unput = emission.render(next..items.end, wire).or(*unput);
    }
    Ok(())
}

/// Puts in what was not put in yet.
pub(in crate::pipe) fn put<W>(
    unput: &mut Unput,
    context: &mut Context<'_>,
    target: &mut Leg<W>,
    wire: &mut Vec<u8>,
) -> io::Result<()>
where
    W: Transport,
{
    let Some(end) = unput.take() else { return Ok(()) };
    let put = target.put(context, wire, end);
    wire.clear();
    put
}
