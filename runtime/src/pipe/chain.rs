//! The filters of a connection, applied to the messages that one read brought.
//!
//! All messages of a batch go through one filter before any goes through the next, so that a filter is called once a
//! read and not once a message. Order is kept; what a filter made of a message stays in that message's place.

use std::time::Duration;

use tokio::time::Instant;

use super::change::Change;
use super::item::{Finds, Found, Item, Seen};
use crate::component::{Failure, Kinds, Message, OnFailure, Outgoing, Payload, Session, Verdict};
use crate::metrics::{Initiator, MessageKind, Side, SwapOutcome, WorkerIndex};
use crate::ws::CloseFrame;

/// The filters of a connection, in the order of the configuration; some may have failed and be bypassed.
#[derive(Default)]
pub(super) struct Chain(Vec<Session>);

/// What the filters made of a batch, in buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What goes on, in order. An item without one goes no further.
    pub(super) passing: Vec<Passing>,
    /// Items after which nothing goes on before a time, in order.
    pub(super) delays: Vec<(usize, Instant)>,
    /// What goes back to the sender.
    pub(super) replies: Vec<Outgoing>,
    /// Why nothing goes on any more, if so.
    pub(super) halt: Option<Halt>,
    /// Whether a filter dropped out, so that what is wanted has changed.
    pub(super) bypassed: bool,
    verdicts: Vec<Verdict>,
}

/// A message on its way through the filters.
#[derive(Debug)]
pub(super) struct Passing {
    /// The item it came in, or was made of.
    pub(super) item: usize,
    pub(super) kind: MessageKind,
    /// The payload a filter gave it; `None` while it is as it came.
    pub(super) made: Option<Vec<u8>>,
}

/// Why a batch ended before its end.
#[derive(Debug)]
pub(super) enum Halt {
    /// A filter closes the connection.
    Close(CloseFrame),
    /// A filter failed and its use says `close`.
    Failed(Failure),
}

impl Batch {
    /// Starts over with the messages among `finds`.
    pub(super) fn load(&mut self, finds: &Finds) {
        self.passing.clear();
        self.delays.clear();
        self.replies.clear();
        self.halt = None;
        self.bypassed = false;
        self.passing.extend(finds.items.iter().enumerate().filter_map(|(item, found)| match found {
            Item::Message(found) => Some(Passing { item, kind: found.kind, made: None }),
            Item::Pass { .. } | Item::Part(_) => None,
        }));
    }

    /// Whether every message goes on as it came, at once.
    pub(super) fn is_untouched(&self, finds: &Finds) -> bool {
        self.delays.is_empty()
            && self.halt.is_none()
            && self.passing.iter().all(|passing| passing.made.is_none())
            && self.passing.len() == finds.items.iter().filter(|item| matches!(item, Item::Message(_))).count()
    }
}

impl Chain {
    pub(super) fn new(sessions: Vec<Session>) -> Self {
        Self(sessions)
    }

    /// What the filters want of each kind of message from one sender: the most that any of them wants.
    pub(super) fn wanted(&self, from: Side) -> [Option<Payload>; MessageKind::COUNT] {
        let of_kind = |kind| {
            let sessions = self.0.iter().filter(|session| !session.is_bypassed());
            let selections = sessions.map(|session| session.interest().from(from));
            selections.filter(|selection| selection.kinds.contains(kind)).map(|selection| selection.payload).reduce(
                |most, payload| match (most, payload) {
                    (Payload::Whole, _) | (_, Payload::Whole) => Payload::Whole,
                    (Payload::Head(most), Payload::Head(head)) => Payload::Head(most.max(head)),
                    (Payload::Head(head), Payload::None) | (Payload::None, Payload::Head(head)) => Payload::Head(head),
                    (Payload::None, Payload::None) => Payload::None,
                },
            )
        };
        [of_kind(MessageKind::Text), of_kind(MessageKind::Binary)]
    }

    /// Takes a loaded batch through the filters.
    pub(super) fn run(&mut self, from: Side, bytes: &[u8], finds: &Finds, batch: &mut Batch) {
        match from {
            Side::Client => self.0.iter_mut().for_each(|session| step(session, from, bytes, finds, batch)),
            Side::Upstream => self.0.iter_mut().rev().for_each(|session| step(session, from, bytes, finds, batch)),
        }
    }

    /// Tells every filter that the connection has ended.
    pub(super) fn close(self, by: Initiator, close: Option<&CloseFrame>) {
        let by = match by {
            Initiator::Client => Some(Side::Client),
            Initiator::Upstream => Some(Side::Upstream),
            Initiator::Proxy => None,
        };
        for session in self.0 {
            session.on_close(by, close);
        }
    }

    /// Puts the filters of `change` into the places of those that are here, between two messages: one that has not
    /// changed stays, one that has is succeeded by its new version. All of them change, or none; whether any has.
    ///
    /// A connection without a filter keeps none, because nothing is left of its handshake.
    ///
    /// # Errors
    /// When a filter does not take over. Everything stays as it was then.
    pub(super) fn succeed(&mut self, change: &Change, worker: WorkerIndex) -> Result<bool, Failure> {
        let Change { pool, filters } = change;
        let same = self.0.iter().map(Session::filter_id).eq(filters.iter().map(|filter| filter.id()));
        let Some(handshake) = self.0.first().map(|session| session.handshake().clone()).filter(|_| !same) else {
            return Ok(false);
        };
        let mut before: Vec<Option<&mut Session>> = self.0.iter_mut().map(Some).collect();
        let kept: Vec<_> = filters
            .iter()
            .map(|filter| take(&mut before, |known| known.filter_id() == filter.id()))
            .map(|found| found.map(|(place, _)| place))
            .collect();
        let mut places = Vec::with_capacity(filters.len());
        for (filter, kept) in filters.iter().zip(kept) {
            places.push(match kept {
                Some(place) => Place::Kept(place),
                None => {
                    let predecessor = take(&mut before, |known| known.component() == filter.component().name());
                    let predecessor = predecessor.map(|(_, session)| session);
                    let handshake = predecessor.as_ref().map_or(&handshake, |session| session.handshake()).clone();
                    let resumed = pool.resume(filter, &handshake, predecessor);
                    Place::Taken(resumed.inspect_err(|_| filter.swapped(worker, SwapOutcome::Failed))?)
                }
            });
        }
        for (filter, _) in filters.iter().zip(&places).filter(|(_, place)| matches!(place, Place::Taken(_))) {
            filter.swapped(worker, SwapOutcome::Swapped);
        }
        let mut before: Vec<_> = std::mem::take(&mut self.0).into_iter().map(Some).collect();
        self.0 = places
            .into_iter()
            .filter_map(|place| match place {
                Place::Kept(place) => before.get_mut(place)?.take(),
                Place::Taken(session) => Some(session),
            })
            .collect();
        Ok(true)
    }
}

/// What a place in a changed chain holds.
enum Place {
    /// The session that was in this place before.
    Kept(usize),
    /// A successor.
    Taken(Session),
}

/// The first session left that is wanted, and where it stood.
fn take<'a>(
    left: &mut [Option<&'a mut Session>],
    wanted: impl Fn(&Session) -> bool,
) -> Option<(usize, &'a mut Session)> {
    let place = left.iter().position(|session| session.as_deref().is_some_and(&wanted))?;
    left.get_mut(place)?.take().map(|session| (place, session))
}

/// Takes a batch through one filter.
fn step(session: &mut Session, from: Side, bytes: &[u8], finds: &Finds, batch: &mut Batch) {
    let selection = session.interest().from(from);
    if selection.is_empty() || session.is_bypassed() {
        return;
    }
    let Batch { passing, verdicts, .. } = batch;
    verdicts.clear();
    let mut messages = passing
        .iter()
        .filter(|passing| selection.kinds.contains(passing.kind))
        .filter_map(|passing| message(passing, from, selection.payload, bytes, finds));
    let called = match (messages.next(), messages.next()) {
        (None, _) => return,
        (Some(only), None) => session.on_message(only).map(|verdict| verdicts.push(verdict)),
        (Some(first), Some(second)) => {
            let all: Vec<_> = [first, second].into_iter().chain(messages).collect();
            session.on_messages(&all, verdicts)
        }
    };
    match called {
        Ok(()) => apply(selection.kinds, from, batch),
        Err(failure) => match session.on_failure() {
            OnFailure::Bypass => batch.bypassed = true,
            OnFailure::Close => {
                let first = batch.passing.iter().position(|passing| selection.kinds.contains(passing.kind));
                batch.passing.truncate(first.unwrap_or_default());
                batch.halt = Some(Halt::Failed(failure));
            }
        },
    }
}

/// A message as one filter sees it.
fn message<'a>(
    passing: &'a Passing,
    origin: Side,
    payload: Payload,
    bytes: &'a [u8],
    finds: &'a Finds,
) -> Option<Message<'a>> {
    let (size, whole) = match (&passing.made, finds.items.get(passing.item)) {
        (Some(made), _) => (made.len() as u64, made.as_slice()),
        (None, Some(Item::Message(found))) => (found.size, seen(found, bytes, finds)),
        (None, _) => return None,
    };
    let payload = match payload {
        Payload::None => &[],
        Payload::Head(head) => whole.get(..head as usize).unwrap_or(whole),
        Payload::Whole => whole,
    };
    Some(Message { origin, kind: passing.kind, size, payload })
}

/// The unmasked payload of a message, as far as any filter needs it.
pub(super) fn seen<'a>(found: &'a Found, bytes: &'a [u8], finds: &'a Finds) -> &'a [u8] {
    match &found.payload {
        Seen::Buffer(range) => bytes.get(range.clone()),
        Seen::Unmasked(range) => finds.unmasked.get(range.clone()),
        Seen::Inflated(range) => finds.inflated.get(range.clone()),
        Seen::Assembled => found.assembled.as_deref(),
    }
    .unwrap_or_default()
}

/// Carries out one filter's verdicts, one for each passing message of the selected kinds.
fn apply(kinds: Kinds, from: Side, batch: &mut Batch) {
    if batch.verdicts.iter().all(|verdict| *verdict == Verdict::Forward) {
        return;
    }
    let mut verdicts = std::mem::take(&mut batch.verdicts);
    let mut given = verdicts.drain(..);
    let before = std::mem::take(&mut batch.passing);
    for mut passing in before {
        let verdict = if kinds.contains(passing.kind) { given.next() } else { Some(Verdict::Forward) };
        match verdict {
            Some(Verdict::Forward) => batch.passing.push(passing),
            Some(Verdict::Delay(milliseconds)) => {
                let until = Instant::now() + Duration::from_millis(milliseconds.into());
                delay(&mut batch.delays, passing.item, until);
                batch.passing.push(passing);
            }
            Some(Verdict::Replace(payload)) => {
                passing.made = Some(payload);
                batch.passing.push(passing);
            }
            Some(Verdict::Drop) => {}
            Some(Verdict::Send(list)) => {
                for outgoing in list {
                    if outgoing.to == from {
                        batch.replies.push(outgoing);
                    } else {
                        let Outgoing { kind, payload, .. } = outgoing;
                        batch.passing.push(Passing { item: passing.item, kind, made: Some(payload) });
                    }
                }
            }
            Some(Verdict::Close(close)) => {
                batch.halt = Some(Halt::Close(close));
                break;
            }
            None => break,
        }
    }
    drop(given);
    batch.verdicts = verdicts;
}

/// Adds a delay after an item, in the order of items; of two after the same item the longer counts.
fn delay(delays: &mut Vec<(usize, Instant)>, item: usize, until: Instant) {
    match delays.binary_search_by_key(&item, |(item, _)| *item) {
        Ok(at) => {
            if let Some((_, known)) = delays.get_mut(at) {
                *known = (*known).max(until);
            }
        }
        Err(at) => delays.insert(at, (item, until)),
    }
}
