//! The filters of a connection, applied to the messages that one read brought.
//!
//! All messages of a batch go through one filter before any goes through the next, so that a filter is called once a
//! read and not once a message. Order is kept; what a filter made of a message stays in that message's place.

pub(super) mod parts;

use std::time::Duration;

use tokio::time::Instant;

use super::change::{Change, Declined, Scope};
use super::filter::Filter;
use super::item::{Finds, Found, Item, Seen};
#[cfg(any(fuzzing, test))]
use super::scripted::Scripted;
use super::shadow::Shadowing;
use crate::component::{
    Content, Failure, Interest, Kinds, Message, Need, OnFailure, Outgoing, Session, Verdict, Verdicts,
};
use crate::metrics::Initiator;
use crate::peer::{MessageKind, Side};
use crate::rollout::Shadow;
use crate::ws::CloseFrame;

/// The filters of a connection, in the order of the configuration; some may have failed and be bypassed.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) filters: Vec<Filter>,
    /// Boxed, because hardly any connection has anything of it.
    aside: Option<Box<Aside>>,
}

/// What a connection has beside its filters.
#[derive(Default)]
struct Aside {
    /// The shadows of some of the filters.
    shadows: Vec<Shadowing>,
    /// Who did not take over when the filters were last to change.
    declined: Option<Declined>,
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.shadows.is_empty() && self.declined.is_none()
    }
}

/// What the filters made of a batch, in buffers that are used again.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// What goes on, in order. An item without one goes no further.
    pub(super) passing: Vec<Passing>,
    /// Items after which nothing goes on before a time, in order.
    pub(super) delays: Vec<(usize, Instant)>,
    /// What goes back to the sender, each with the item that it answers.
    pub(super) replies: Vec<(usize, Outgoing)>,
    /// Why nothing goes on behind [`Batch::last`], if so.
    pub(super) halt: Option<Halt>,
    /// The last item of which anything goes on, unless it is the last of all.
    pub(super) last: Option<usize>,
    /// What a filter made of the further part of a message that is the last item; `None` while it is as it came.
    pub(super) slice: Option<Vec<u8>>,
    /// Whether a filter dropped out, so that what is wanted has changed.
    pub(super) bypassed: bool,
    pub(super) verdicts: Verdicts,
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
        self.last = None;
        self.bypassed = false;
        self.slice = None;
        self.passing.extend(finds.items.iter().enumerate().filter_map(|(item, found)| match found {
            Item::Message(found) => Some(Passing { item, kind: found.kind, made: None }),
            Item::Pass { .. } | Item::Part(_) | Item::Slice(_) => None,
        }));
    }

    /// How many of the items go on, if anything does of them.
    pub(super) fn items(&self, finds: &Finds) -> usize {
        self.last.map_or(finds.items.len(), |last| last + 1)
    }

    /// Lets nothing go on, and nothing go back, of what stands behind an item.
    fn cut(&mut self, item: usize, halt: Halt) {
        self.passing.retain(|passing| passing.item <= item);
        self.replies.retain(|(answered, _)| *answered <= item);
        self.delays.retain(|(delayed, _)| *delayed < item);
        self.last = Some(item);
        self.halt = Some(halt);
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
    /// `shadows` come with the places of their filters.
    pub(super) fn new(sessions: Vec<Session>, shadows: Vec<(usize, Shadow)>) -> Self {
        let shadows: Vec<_> = shadows.into_iter().map(|(place, shadow)| Shadowing::new(place, shadow)).collect();
        let aside = (!shadows.is_empty()).then(|| Box::new(Aside { shadows, declined: None }));
        Self { filters: sessions.into_iter().map(Filter::Component).collect(), aside }
    }

    /// Filters that are functions, in the order in which client messages pass them.
    #[cfg(any(fuzzing, test))]
    pub(super) fn scripted(scripted: Vec<Scripted>) -> Self {
        Self { filters: scripted.into_iter().map(Filter::Scripted).collect(), aside: None }
    }

    /// The filters that are components: all of them, in their order, but in tests.
    pub(super) fn sessions(&self) -> impl Iterator<Item = &Session> {
        self.filters.iter().filter_map(Filter::session)
    }

    /// What each of the filters and their shadows wants.
    fn interests(&self) -> impl Iterator<Item = Interest> {
        let filters = self.filters.iter().filter(|filter| !filter.is_bypassed());
        let shadows = self.aside.iter().flat_map(|aside| &aside.shadows);
        filters.map(Filter::interest).chain(shadows.map(|it| it.shadow().interest()))
    }

    /// Whether a filter answers each message in a call of its own, so that the answers to many would be held at once.
    pub(super) fn answers_singly(&self, from: Side) -> bool {
        self.filters.iter().any(|filter| !filter.is_bypassed() && filter.answers_singly(from))
    }

    /// What the filters and their shadows want of each kind of message from one sender: the most that any of them wants.
    pub(super) fn wanted(&self, from: Side) -> [Option<Need>; MessageKind::COUNT] {
        let of_kind = |kind| {
            let selections = self.interests().map(|interest| interest.from(from));
            selections.filter(|selection| selection.kinds.contains(kind)).map(|selection| selection.need).reduce(
                |most, payload| match (most, payload) {
                    (Need::Whole, _) | (_, Need::Whole) => Need::Whole,
                    (Need::Rewrite, _) | (_, Need::Rewrite) => Need::Rewrite,
                    (Need::Stream, _) | (_, Need::Stream) => Need::Stream,
                    (Need::Head(most), Need::Head(head)) => Need::Head(most.max(head)),
                    (Need::Head(head), Need::Nothing) | (Need::Nothing, Need::Head(head)) => Need::Head(head),
                    (Need::Nothing, Need::Nothing) => Need::Nothing,
                },
            )
        };
        [of_kind(MessageKind::Text), of_kind(MessageKind::Binary)]
    }

    /// Takes a loaded batch through the filters.
    pub(super) fn run(&mut self, from: Side, bytes: &[u8], finds: &Finds, batch: &mut Batch) {
        let Self { filters, aside } = self;
        let mut step = |(place, filter): (usize, &mut Filter)| {
            let shadow = aside.as_mut().and_then(|it| it.shadows.iter_mut().find(|shadow| shadow.place == place));
            step(filter, shadow, from, bytes, finds, batch);
        };
        let places = filters.iter_mut().enumerate();
        match from {
            Side::Client => places.for_each(&mut step),
            Side::Upstream => places.rev().for_each(&mut step),
        }
    }

    /// Shows the shadows what the filters have decided about the last read; whether any shadow is gone for good.
    #[inline]
    pub(super) fn show(&mut self) -> bool {
        self.retain_shadows(Shadowing::show)
    }

    /// Whether a filter has a shadow.
    #[inline]
    pub(super) fn is_shadowed(&self) -> bool {
        self.aside.as_ref().is_some_and(|aside| !aside.shadows.is_empty())
    }

    /// Gives each shadow its filter's new place; one whose filter has none is gone.
    pub(super) fn move_shadows(&mut self, to: impl Fn(usize) -> Option<usize>) {
        self.retain_shadows(|shadow| to(shadow.place).map(|place| shadow.place = place).is_some());
    }

    /// Lets only shadows go on that a change leaves; whether any is gone.
    pub(super) fn keep_shadows(&mut self, change: &Change) -> bool {
        self.retain_shadows(|shadow| match change.scope {
            Scope::Whole => change.filters.iter().any(|place| shadow.is_of(place)),
            Scope::Failed => shadow.is_on_trial(),
        })
    }

    /// Lets only these shadows go on; whether any is gone.
    #[inline]
    fn retain_shadows(&mut self, keep: impl FnMut(&mut Shadowing) -> bool) -> bool {
        let Some(aside) = &mut self.aside else { return false };
        let before = aside.shadows.len();
        aside.shadows.retain_mut(keep);
        let is_fewer = aside.shadows.len() < before;
        if aside.is_empty() {
            self.aside = None;
        }
        is_fewer
    }

    /// Who did not take this connection over when its filters were last to change.
    pub(super) fn declined(&self) -> Option<Declined> {
        self.aside.as_ref().and_then(|aside| aside.declined)
    }

    /// Takes note of who did not take over, or that everybody has.
    pub(super) fn decline(&mut self, declined: Option<Declined>) {
        if declined.is_some() || self.aside.is_some() {
            let aside = self.aside.get_or_insert_default();
            aside.declined = declined;
            if aside.is_empty() {
                self.aside = None;
            }
        }
    }

    /// Tells every filter that the connection has ended.
    pub(super) fn close(self, by: Initiator, close: Option<&CloseFrame>) {
        let by = match by {
            Initiator::Client => Some(Side::Client),
            Initiator::Upstream => Some(Side::Upstream),
            Initiator::Proxy => None,
        };
        for session in self.filters.into_iter().filter_map(Filter::into_session) {
            session.on_close(by, close);
        }
        for shadow in self.aside.into_iter().flat_map(|aside| aside.shadows) {
            shadow.into_shadow().on_close(by, close);
        }
    }
}

/// Takes a batch through one filter.
fn step(
    filter: &mut Filter,
    mut shadow: Option<&mut Shadowing>,
    from: Side,
    bytes: &[u8],
    finds: &Finds,
    batch: &mut Batch,
) {
    if filter.is_bypassed() {
        return;
    }
    let selection = filter.interest().from(from);
    if let Some(shadow) = &mut shadow {
        shadow.observe(selection.kinds, from, &batch.passing, bytes, finds);
    }
    if selection.is_empty() {
        return;
    }
    let Batch { passing, verdicts, .. } = batch;
    verdicts.clear();
    let mut selected = passing.as_slice();
    let begun = if selection.need.is_of_parts() { parts::begun(&mut selected, finds) } else { None };
    let messages = selected
        .iter()
        .filter(|passing| selection.kinds.contains(passing.kind))
        .filter_map(|passing| message(passing, from, selection.need, bytes, finds));
    let called = filter.on_messages(messages, verdicts).and_then(|()| match begun {
        Some(begun) if selection.kinds.contains(begun.kind) => {
            let message = message(begun, from, selection.need, bytes, finds);
            message.map_or(Ok(()), |message| parts::begin(filter, &message).map(|verdict| verdicts.push(verdict)))
        }
        _ => Ok(()),
    });
    match called {
        Ok(()) => {
            if let Some(shadow) = shadow {
                shadow.decided(selection.kinds, &batch.verdicts);
            }
            apply(selection.kinds, from, None, batch);
        }
        Err(failure) => {
            if let Some(shadow) = shadow {
                shadow.forget();
            }
            match filter.on_failure() {
                OnFailure::Bypass => {
                    batch.bypassed = true;
                    apply(selection.kinds, from, None, batch);
                }
                OnFailure::Close => apply(selection.kinds, from, Some(failure), batch),
            }
        }
    }
}

/// A message as one filter sees it.
#[inline]
pub(super) fn message<'a>(
    passing: &'a Passing,
    origin: Side,
    payload: Need,
    bytes: &'a [u8],
    finds: &'a Finds,
) -> Option<Message<'a>> {
    let (size, whole) = match (&passing.made, finds.items.get(passing.item)) {
        (Some(made), _) => (made.len() as u64, made.as_slice()),
        (None, Some(Item::Message(found))) => (found.size, seen(found, bytes, finds)),
        (None, _) => return None,
    };
    let payload = match payload {
        Need::Nothing => &[],
        Need::Head(head) => whole.get(..head as usize).unwrap_or(whole),
        Need::Stream | Need::Rewrite | Need::Whole => whole,
    };
    Some(Message { origin, kind: passing.kind, size, payload })
}

/// The unmasked payload of a message, as far as any filter needs it.
pub(super) fn seen<'a>(found: &'a Found, bytes: &'a [u8], finds: &'a Finds) -> &'a [u8] {
    match &found.payload {
        Seen::Assembled => found.assembled.as_deref().unwrap_or_default(),
        payload => unmasked(payload, bytes, finds),
    }
}

/// The bytes at a place in the buffers of a walk.
pub(super) fn unmasked<'a>(payload: &Seen, bytes: &'a [u8], finds: &'a Finds) -> &'a [u8] {
    match payload {
        Seen::Buffer(range) => bytes.get(range.clone()),
        Seen::Unmasked(range) => finds.unmasked.get(range.clone()),
        Seen::Inflated(range) => finds.inflated.get(range.clone()),
        Seen::Assembled => None,
    }
    .unwrap_or_default()
}

/// Carries out one filter's verdicts, one for each passing message of the selected kinds. Where the filter has failed
/// before it gave all, those that it gave stand; the message that would have had the next one goes by, or ends the
/// connection with the failure.
fn apply(kinds: Kinds, from: Side, mut failure: Option<Failure>, batch: &mut Batch) {
    if failure.is_none() && batch.verdicts.is_forward() {
        return;
    }
    let mut verdicts = std::mem::take(&mut batch.verdicts);
    let mut given = verdicts.drain();
    let before = std::mem::take(&mut batch.passing);
    for passing in before {
        let verdict = if kinds.contains(passing.kind) { given.next() } else { Some(Verdict::Forward) };
        match verdict {
            Some(Verdict::Forward) => batch.passing.push(passing),
            Some(Verdict::Delay(milliseconds)) => {
                let until = Instant::now() + Duration::from_millis(milliseconds.into());
                delay(&mut batch.delays, passing.item, until);
                batch.passing.push(passing);
            }
            Some(Verdict::Replace(Content { kind, payload })) => {
                batch.passing.push(Passing { item: passing.item, kind, made: Some(payload) });
            }
            Some(Verdict::Drop) => {}
            Some(Verdict::Send(list)) => {
                for outgoing in list {
                    if outgoing.to == from {
                        batch.replies.push((passing.item, outgoing));
                    } else {
                        let Content { kind, payload } = outgoing.message;
                        batch.passing.push(Passing { item: passing.item, kind, made: Some(payload) });
                    }
                }
            }
            Some(Verdict::Close(close)) => {
                batch.cut(passing.item, Halt::Close(close));
                break;
            }
            None => match failure.take() {
                Some(failure) => {
                    batch.cut(passing.item, Halt::Failed(failure));
                    break;
                }
                None => batch.passing.push(passing),
            },
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
