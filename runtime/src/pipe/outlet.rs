//! The one way to a peer: bytes that its socket has not taken yet, what a filter holds back, and frames of our own.
//!
//! What is put in goes out in that order. A gate in the way holds back whatever is put in behind it until its time has
//! come; nothing gets past it but a ping and a reply of our own, which belong to no order, and may stand only where a
//! frame ends, or a message. A close frame is the last thing that goes out, whoever sent it, and there is only one.

mod gate;
#[cfg(test)]
mod tests;

use tokio::time::Instant;

use super::item::Boundary;
use super::scratch::Scratch;
use crate::transport::Unwritten;
use gate::Gates;

/// The way out to one peer.
#[derive(Debug)]
pub(super) struct Outlet {
    /// Boxed, because an idle connection owns no buffer, and most never need one.
    pending: Option<Box<Unwritten>>,
    /// Boxed, because most connections never have any of it.
    waiting: Option<Box<Waiting>>,
    /// Where what has gone past the gates ends.
    end: Boundary,
    /// Whether more was read than was put in, so that our close frame has to wait for it.
    unfinished: bool,
    /// Whether messages of our own are among what is pending.
    replied: bool,
    /// Whether a ping of ours is among what is pending, or was.
    pinged: bool,
    /// Whether a close frame has gone past the gates, ours or the other peer's: nothing may follow it.
    closed: bool,
}

/// What waits for its time or its place.
#[derive(Debug, Default)]
struct Waiting {
    gates: Gates,
    /// They wait for the end of a frame.
    control: Vec<u8>,
    /// They wait for the end of a message.
    messages: Vec<u8>,
    /// It waits for the end of a frame behind everything that is put in.
    close: Option<Vec<u8>>,
}

impl Waiting {
    /// Whether frames of our own are among it.
    fn has_own(&self) -> bool {
        !self.control.is_empty() || !self.messages.is_empty() || self.close.is_some()
    }
}

impl Outlet {
    pub(super) fn new() -> Self {
        Self {
            pending: None,
            waiting: None,
            end: Boundary::Message,
            unfinished: false,
            replied: false,
            pinged: false,
            closed: false,
        }
    }

    /// Whether everything that went past the gates was written.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether nothing is here and anything may be put in.
    #[inline]
    pub(super) fn rests(&self) -> bool {
        self.pending.is_none() && self.waiting.is_none() && !self.closed
    }

    /// Whether something of our own waits for a place.
    pub(super) fn is_waiting(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.has_own())
    }

    /// Whether messages of our own are still here: who causes them has to wait.
    pub(super) fn holds_messages(&self) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| !waiting.messages.is_empty())
            || self.replied && self.pending.is_some()
    }

    /// Bytes that are here and not held back.
    pub(super) fn unwritten(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| pending.bytes().len())
            + self.waiting.as_ref().map_or(0, |waiting| waiting.messages.len())
    }

    /// The memory of what is here, where that is more than one read brings: of messages that were assembled.
    pub(super) fn held(&self) -> usize {
        let pending = self.pending.as_ref().map_or(0, |pending| pending.room());
        let waiting = |waiting: &Waiting| waiting.messages.capacity() + waiting.gates.held();
        let held = pending + self.waiting.as_deref().map_or(0, waiting);
        if held > Scratch::BULK { held } else { 0 }
    }

    /// Whether a close frame has gone past the gates.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a frame is under way, so that nothing can be put in.
    pub(super) fn inside_frame(&self) -> bool {
        self.end == Boundary::Inside
    }

    /// Whether a gate is shut, so that nothing more should be put in.
    pub(super) fn is_shut(&self) -> bool {
        self.opens_at().is_some()
    }

    /// When the next gate opens.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        self.waiting.as_ref().and_then(|waiting| waiting.gates.opens_at())
    }

    /// Whether bytes may go past it, because nothing is here that they would overtake, and nothing holds them back.
    #[inline]
    pub(super) fn is_clear(&self) -> bool {
        self.pending.is_none() && !self.is_shut() && !self.closed
    }

    /// Puts in bytes that end at `end`, behind everything that is here; of bytes that have gone past it, the rest, which may
    /// be nothing. What follows a close frame goes nowhere.
    pub(super) fn put(&mut self, bytes: &[u8], end: Boundary) {
        let is_held = self.waiting.as_mut().is_some_and(|waiting| waiting.gates.put(bytes, end));
        if !self.closed && !is_held {
            self.end = end;
            self.append(bytes);
            self.settle();
        }
    }

    /// Says that what was put in last ends with a close frame: nothing may follow it.
    pub(super) fn seal(&mut self) {
        let is_held = self.waiting.as_mut().is_some_and(|waiting| waiting.gates.seal());
        if !is_held {
            self.mark_closed();
        }
    }

    /// Says that nothing may follow what has gone past the gates: it ends with a close frame, or inside a frame for ever.
    pub(super) fn mark_closed(&mut self) {
        self.closed = true;
        self.waiting = None;
    }

    /// Lets nothing that is put in from here on go out before `until`.
    pub(super) fn shut(&mut self, until: Instant) {
        if !self.closed {
            self.waiting.get_or_insert_default().gates.shut(until);
        }
    }

    /// Lets go on what was held back until `now`; whether no gate is shut any more.
    pub(super) fn open(&mut self, now: Instant) -> bool {
        while let Some(gate) = self.waiting.as_mut().and_then(|waiting| waiting.gates.next(now)) {
            self.end = gate.end.unwrap_or(self.end);
            self.append(&gate.bytes);
            if gate.seals {
                self.mark_closed();
            }
        }
        self.settle();
        !self.is_shut()
    }

    /// Lets go on all that is held back, for whose time to come nobody can wait any more.
    pub(super) fn release(&mut self) {
        self.unfinished = false;
        if let Some(last) = self.waiting.as_ref().and_then(|waiting| waiting.gates.last_opens_at()) {
            self.open(last);
        }
        self.settle();
    }

    /// Throws away what is held back.
    pub(super) fn forget(&mut self) {
        self.unfinished = false;
        if let Some(waiting) = &mut self.waiting {
            waiting.gates = Gates::default();
        }
        self.settle();
    }

    /// Says whether more was read than was put in.
    #[inline]
    pub(super) fn expect_more(&mut self, unfinished: bool) {
        if std::mem::replace(&mut self.unfinished, unfinished) && !unfinished {
            self.settle();
        }
    }

    /// Puts in a ping of our own as soon as it may stand.
    pub(super) fn insert_ping(&mut self, frame: &[u8]) {
        // One at a time: a peer that does not read is not sent a second one.
        if !self.closed
            && let waiting = self.waiting.get_or_insert_default()
            && waiting.control.is_empty()
        {
            waiting.control.extend_from_slice(frame);
        }
        self.settle();
    }

    /// Whether a ping of ours has left since this was last asked.
    #[inline]
    pub(super) fn take_pinged(&mut self) -> bool {
        let left = self.pinged && self.pending.is_none();
        self.pinged &= !left;
        left
    }

    /// Where to append messages of our own, for [`Outlet::settle`] to put in as soon as they may stand.
    pub(super) fn messages(&mut self) -> &mut Vec<u8> {
        &mut self.waiting.get_or_insert_default().messages
    }

    /// Puts in our close frame as soon as it may stand behind all that was read; nothing follows it. The first close
    /// frame counts.
    pub(super) fn insert_close(&mut self, frame: Vec<u8>) {
        if !self.closed {
            self.waiting.get_or_insert_default().close.get_or_insert(frame);
        }
        self.settle();
    }

    /// Puts in what waits and may stand here.
    pub(super) fn settle(&mut self) {
        let Some(waiting) = &mut self.waiting else { return };
        if self.closed {
            self.waiting = None;
            return;
        }
        let mut wire = Vec::new();
        if self.end != Boundary::Inside {
            self.pinged |= !waiting.control.is_empty();
            wire.append(&mut waiting.control);
            if self.end == Boundary::Message && !waiting.messages.is_empty() {
                wire.append(&mut waiting.messages);
                self.replied = true;
            }
            if let Some(close) = waiting.close.take_if(|_| !self.unfinished && waiting.gates.opens_at().is_none()) {
                wire.extend_from_slice(&close);
                self.closed = true;
            }
        }
        // Messages may still wait for the end of a message, after which nothing but a close frame was sent.
        if self.closed || !waiting.has_own() && waiting.gates.opens_at().is_none() {
            self.waiting = None;
        }
        self.append(&wire);
    }

    fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.pending.get_or_insert_default().extend(bytes);
        }
        self.replied &= self.pending.is_some();
    }

    /// What is to be written, for who writes it.
    #[inline]
    pub(super) fn unwritten_mut(&mut self) -> Option<&mut Unwritten> {
        self.pending.as_deref_mut()
    }

    /// Says that all of that is written.
    #[inline]
    pub(super) fn all_written(&mut self) {
        self.pending = None;
        self.replied = false;
    }

    /// Forgets everything: the socket takes nothing more.
    pub(super) fn discard(&mut self) {
        self.pending = None;
        self.mark_closed();
    }
}
