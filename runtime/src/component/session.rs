//! One connection, as one filter knows it: a resource in an instance of the filter.

mod agenda;
mod part;
mod succession;

pub use succession::Resumed;

use std::iter::Peekable;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use wasmtime::component::ResourceAny;

use self::agenda::Agenda;
use super::answer;
use super::exports::FilterExports;
use super::instance::Slot;
use super::limits::Limits;
use super::types::{
    CloseFrame, Failure, Handshake, HeaderEdit, Interest, Load, Message, Need, Refusal, Selection, Verdict,
};
use super::uses::{FilterUse, OnFailure, Serving};
use super::verdicts::Verdicts;
use super::wire;
use crate::metrics::{CallVerdict, FailureReason};
use crate::peer::Side;

/// A filter's answer to a handshake.
#[derive(Debug)]
pub enum Opened {
    /// The connection may go on.
    Admitted(Admission),
    /// It may not.
    Refused(Refusal),
}

/// What a filter attaches to a handshake that it admits.
#[derive(Debug)]
pub struct Admission {
    /// The connection, as the filter knows it from now on.
    pub session: Session,
    /// Edits of the request that goes to the upstream, in order.
    pub upstream_headers: Vec<HeaderEdit>,
    /// Edits of the 101 answer that goes to the client, in order.
    pub client_headers: Vec<HeaderEdit>,
    /// For later filters, the balancer and the access log.
    pub attributes: Vec<(String, String)>,
    /// After this time the connection is to be closed with 1008.
    pub lease: Option<Duration>,
}

/// One connection in one filter. Dropping it drops the guest's resource.
///
/// After a failure it is over: every further call fails without reaching the guest. When another connection's call
/// brings the shared instance down, the next call here opens the session again from its handshake; what the guest had
/// kept for it is lost, and what the guest attaches to the handshake this time is ignored.
#[derive(Debug)]
pub struct Session {
    slot: Rc<Slot<FilterExports>>,
    filter: Serving,
    handshake: Rc<Handshake>,
    guest: State,
    /// Boxed, because most have none.
    agenda: Option<Box<Agenda>>,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open(Resource),
    Over,
}

/// The guest's own session, valid for one generation of its instance.
#[derive(Clone, Copy, Debug)]
struct Resource {
    handle: ResourceAny,
    generation: u64,
}

impl Resource {
    /// A session that has just been made.
    fn of(handle: ResourceAny, slot: &Slot<FilterExports>) -> Self {
        slot.count_sessions(|sessions| sessions + 1);
        Self { handle, generation: slot.generation() }
    }
}

impl Session {
    /// Opens a session in the instance at `slot`.
    pub(super) fn open(
        slot: Rc<Slot<FilterExports>>,
        filter: &Arc<FilterUse>,
        handshake: Rc<Handshake>,
    ) -> Result<Opened, Failure> {
        let admission = match open(&slot, &handshake)? {
            Ok(admission) => admission,
            Err(refusal) => {
                let connection = &handshake.connection_id;
                check_attachments(&slot, connection, filter, refusal.attachments())?;
                let invalid = |why| slot.invalid(connection, why);
                let refusal = answer::refusal(refusal).map_err(invalid)?;
                slot.verdict(CallVerdict::Refuse);
                return Ok(Opened::Refused(refusal));
            }
        };
        let attachments = admission.attachments();
        // From here on the guest's resource is dropped with the session.
        let guest = State::Open(Resource::of(admission.session, &slot));
        let lease = admission.lease_seconds.map(|seconds| Duration::from_secs(seconds.into()));
        let agenda = lease.map(|lease| Agenda::of_lease(Instant::now() + lease));
        let mut session = Self { slot, filter: filter.serve(), handshake, guest, agenda };
        session.heed()?;
        let slot = &session.slot;
        check_attachments(slot, &session.handshake.connection_id, filter, attachments)?;
        let invalid = |why| session.invalid(why);
        let upstream_headers = answer::edits(admission.upstream_headers).map_err(invalid)?;
        let client_headers = answer::edits(admission.client_headers).map_err(invalid)?;
        answer::attributes(&admission.attributes).map_err(invalid)?;
        slot.verdict(CallVerdict::Admit);
        Ok(Opened::Admitted(Admission {
            upstream_headers,
            client_headers,
            attributes: admission.attributes,
            lease,
            session,
        }))
    }

    /// What the filter wants of this connection's messages.
    pub fn interest(&self) -> Interest {
        self.filter.interest()
    }

    /// Whether each message that `origin` sends is a call of its own whose answer may carry a payload.
    pub fn answers_singly(&self, origin: Side) -> bool {
        !self.filter.hooks().batching && matches!(self.interest().from(origin).need, Need::Whole | Need::Rewrite)
    }

    /// What is to become of this connection when the filter fails.
    pub fn on_failure(&self) -> OnFailure {
        self.filter.on_failure()
    }

    /// The filter's name in the configuration.
    pub fn component(&self) -> &str {
        self.filter.component().name()
    }

    /// Decides about one message: the fastest way for one.
    #[inline]
    pub fn on_message(&mut self, message: Message<'_>) -> Result<Verdict, Failure> {
        self.on_message_beside(&message, Load::default()).map(|(verdict, _)| verdict)
    }

    /// The same beside answers that are held already, and what the verdict carries.
    #[inline]
    fn on_message_beside(&mut self, message: &Message<'_>, held: Load) -> Result<(Verdict, Load), Failure> {
        let selection = self.interest().from(message.origin);
        if selection.need.is_of_parts() {
            return self.on_only_part(message, held);
        }
        self.check_size(message)?;
        let handle = self.resource()?;
        let called = self.slot.call(&*self.handshake, |store, exports| {
            let lowered = wire::Message::of(message, selection.need);
            Ok(exports.on_message.call(store, (handle, message.origin.into(), lowered))?.0)
        });
        let verdict = called.and_then(|verdict| {
            self.heed()?;
            let load = verdict.load();
            self.check_reply(load, held)?;
            Ok((self.checked(verdict, selection)?, load))
        });
        verdict.inspect_err(|_| self.end())
    }

    /// Decides about messages of one sender, in order, and adds a verdict for each. On an error `verdicts` has those on
    /// the messages before the one that failed where the filter may be bypassed, and at least those of the calls before
    /// the one that failed where it may not.
    ///
    /// They reach the guest in batches within [`MAX_BATCH`] and [`MAX_BATCH_BYTES`], a larger message alone.
    pub fn on_messages<'m>(
        &mut self,
        messages: impl Iterator<Item = Message<'m>> + Clone,
        verdicts: &mut Verdicts,
    ) -> Result<(), Failure> {
        let mut rest = messages.peekable();
        let Some(origin) = rest.peek().map(|message| message.origin) else { return Ok(()) };
        let is_single = !self.filter.hooks().batching || self.interest().from(origin).need.is_of_parts();
        loop {
            let ahead = rest.clone();
            let Some(message) = rest.next() else { return Ok(()) };
            match if is_single { 1 } else { self.gather(&message, &mut rest, verdicts) } {
                1 => self.add(&message, verdicts)?,
                count => {
                    let before = verdicts.given();
                    if let Err(failure) = self.on_batch(origin, verdicts) {
                        self.on_single_messages(ahead.take(count), verdicts.given() - before, failure, verdicts)?;
                    }
                }
            }
        }
    }

    /// Decides one by one, in a session that is opened again, about messages of a call that has failed. So none of them
    /// goes by undecided that would not if each had been a call of its own.
    #[cold]
    fn on_single_messages<'m>(
        &mut self,
        mut batch: impl Iterator<Item = Message<'m>>,
        decided: usize,
        failure: Failure,
        verdicts: &mut Verdicts,
    ) -> Result<(), Failure> {
        let is_final = self.on_failure() == OnFailure::Close || failure.reason == FailureReason::Quarantine;
        // An answer that was good up to here was no good for the message behind.
        if is_final || decided > 0 {
            return Err(failure);
        }
        self.reopen().inspect_err(|_| self.end())?;
        batch.try_for_each(|message| self.add(&message, verdicts))
    }

    /// Decides about one message, and adds the verdict.
    #[inline]
    fn add(&mut self, message: &Message<'_>, verdicts: &mut Verdicts) -> Result<(), Failure> {
        let (verdict, load) = self.on_message_beside(message, verdicts.load())?;
        verdicts.push_loaded(verdict, load);
        Ok(())
    }

    /// Gathers a message and those behind it that go into one call with it; how many there are. Alone is what is too large,
    /// and is not gathered.
    fn gather<'m>(
        &self,
        first: &Message<'m>,
        rest: &mut Peekable<impl Iterator<Item = Message<'m>>>,
        verdicts: &mut Verdicts,
    ) -> usize {
        let (most, mut bytes) = (self.filter.component().limits().largest_message().min(MAX_BATCH_BYTES), 0);
        let mut is_fitting = |message: &Message<'_>| {
            let size = message.payload.len();
            let is_fitting = size <= most && bytes + size <= MAX_BATCH_BYTES;
            bytes += if is_fitting { size } else { 0 };
            is_fitting
        };
        let second = if is_fitting(first) { rest.next_if(&mut is_fitting) } else { None };
        let Some(second) = second else { return 1 };
        verdicts.gather(first);
        verdicts.gather_more(&second);
        let mut count = 2;
        while count < MAX_BATCH
            && let Some(message) = rest.next_if(&mut is_fitting)
        {
            verdicts.gather_more(&message);
            count += 1;
        }
        count
    }

    /// Tells the filter that the connection has ended, and drops the session. Failures are counted and logged, because
    /// there is nobody left to tell. Does nothing where the session was lost with its instance.
    pub fn on_close(self, by: Option<Side>, close: Option<&CloseFrame>) {
        let State::Open(resource) = self.guest else { return };
        if self.slot.holds(resource.generation) {
            let close = close.map(wire::CloseFrame::from);
            let connection = &self.handshake.connection_id;
            // Counted and logged already.
            let _ = self.slot.call(connection, |store, exports| match &exports.on_close {
                Some(on_close) => on_close.call(store, (resource.handle, by.map(Into::into), close)),
                None => Ok(()),
            });
        }
    }

    /// Decides about the messages that were gathered.
    fn on_batch(&mut self, origin: Side, verdicts: &mut Verdicts) -> Result<(), Failure> {
        let handle = self.resource()?;
        let (arrivals, bytes) = verdicts.gathered();
        let count = arrivals.len();
        let called = self.slot.call(&*self.handshake, |store, exports| match &exports.on_messages {
            Some(on_messages) => Ok(on_messages.call(store, (handle, origin.into(), arrivals, bytes))?.0),
            None => Err(wasmtime::Error::msg("it takes no batches")),
        });
        let decided = called.and_then(|decisions| {
            self.heed()?;
            self.decided(count, decisions, origin, verdicts)
        });
        decided.inspect_err(|_| self.end())
    }

    /// Checks and counts what was decided about a batch of so many messages.
    fn decided(
        &self,
        count: usize,
        decisions: Vec<wire::Decision>,
        origin: Side,
        verdicts: &mut Verdicts,
    ) -> Result<(), Failure> {
        self.check_reply(decisions.iter().map(|decision| decision.verdict.load()).sum(), verdicts.load())?;
        let (selection, mut next) = (self.interest().from(origin), 0);
        for wire::Decision { message, verdict } in decisions {
            let place = usize::try_from(message).unwrap_or(usize::MAX);
            if !(next..count).contains(&place) {
                return Err(self.invalid(match place < count {
                    true => format!("it decided about message {place} behind one that comes later"),
                    false => format!("it decided about message {place} of {count}, which are counted from 0"),
                }));
            }
            self.forward(place - next, verdicts);
            let load = verdict.load();
            verdicts.push_loaded(self.checked(verdict, selection)?, load);
            next = place + 1;
        }
        self.forward(count - next, verdicts);
        Ok(())
    }

    /// So many messages go on.
    fn forward(&self, count: usize, verdicts: &mut Verdicts) {
        verdicts.forward(count);
        self.slot.verdicts(CallVerdict::Forward, count as u64);
    }

    /// A payload that has no room in the guest's memory would trap it, and with it the neighbours' sessions.
    #[inline]
    fn check_size(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        let (size, limits) = (message.payload.len(), self.filter.component().limits());
        if size <= limits.largest_message() {
            return Ok(());
        }
        let why = match limits.max_message_size.filter(|most| size > *most) {
            Some(most) => format!("a payload of {size} bytes is larger than its max_message_size of {most}"),
            None => format!(
                "a payload of {size} bytes does not fit into its memory of {} with a copy and an answer; raise its max_memory",
                limits.max_memory
            ),
        };
        self.end();
        Err(self.refused(FailureReason::MessageSize, why))
    }

    /// What is answered is held until all that is decided in one go is sent on; so much is `held` of it already. Without
    /// a bound for both together, each filter of a chain would multiply what the one before it has answered.
    #[inline]
    fn check_reply(&self, reply: Load, held: Load) -> Result<(), Failure> {
        let (Limits { max_reply_size, max_reply_messages, .. }, all) = (self.filter.component().limits(), reply + held);
        if all.bytes <= *max_reply_size && all.messages <= *max_reply_messages {
            return Ok(());
        }
        let why = match all.bytes > *max_reply_size {
            true => {
                format!("it answered with {} bytes of payload, and its max_reply_size is {max_reply_size}", all.bytes)
            }
            false => {
                format!(
                    "it answered with {} messages, and its max_reply_messages is {max_reply_messages}",
                    all.messages
                )
            }
        };
        Err(self.refused(FailureReason::ReplySize, why))
    }

    /// The guest's session, opened again where its instance was lost.
    #[inline]
    fn resource(&mut self) -> Result<ResourceAny, Failure> {
        match self.guest {
            State::Open(resource) if resource.generation == self.slot.generation() => Ok(resource.handle),
            State::Open(_) => self.reopen().inspect_err(|_| self.end()),
            State::Over => Err(Failure {
                component: self.component().to_owned(),
                reason: FailureReason::Trap,
                message: "its session has failed before".to_owned(),
            }),
        }
    }

    /// Opens the guest's session anew. Where that fails none is left in the guest, and what becomes of this one is the
    /// caller's to say.
    #[cold]
    fn reopen(&mut self) -> Result<ResourceAny, Failure> {
        self.guest = State::Over;
        match open(&self.slot, &self.handshake)? {
            Ok(admission) => {
                let handle = admission.session;
                self.guest = State::Open(Resource::of(handle, &self.slot));
                self.begin_agenda_anew().inspect_err(|_| self.drop_resource())?;
                Ok(handle)
            }
            Err(refusal) => {
                let status = refusal.status;
                let message = format!("made anew, it refused with {status} a connection that it had admitted");
                Err(self.refused(FailureReason::Start, message))
            }
        }
    }

    /// That the filter answered what the contract forbids.
    #[cold]
    fn invalid(&self, why: impl Into<String>) -> Failure {
        self.refused(FailureReason::InvalidAnswer, why)
    }

    /// That the filter failed on this connection without a call, or by its answer.
    #[cold]
    fn refused(&self, reason: FailureReason, why: impl Into<String>) -> Failure {
        self.slot.refused(&self.handshake.connection_id, reason, why)
    }

    /// Checks and counts a verdict.
    #[inline]
    fn checked(&self, verdict: wire::Verdict, selection: Selection) -> Result<Verdict, Failure> {
        let verdict = answer::verdict(verdict, selection).map_err(|why| self.invalid(why))?;
        self.slot.verdict(label(&verdict));
        Ok(verdict)
    }

    /// Ends the session after a failure. Its lease stands, because it is the connection's.
    #[cold]
    fn end(&mut self) {
        self.clear_timers();
        self.drop_resource();
    }

    /// Drops the guest's resource, where the instance lives on.
    #[cold]
    fn drop_resource(&mut self) {
        if let State::Open(resource) = std::mem::replace(&mut self.guest, State::Over)
            && self.slot.holds(resource.generation)
        {
            let connection = &self.handshake.connection_id;
            // Counted and logged already.
            let _ = self.slot.call(connection, |store, _| resource.handle.resource_drop(store));
            self.slot.count_sessions(|sessions| sessions.saturating_sub(1));
        }
    }
}

#[cfg(test)]
impl Session {
    /// Takes so many sessions for there in its instance.
    pub(super) fn pretend_sessions(&self, sessions: usize) {
        self.slot.count_sessions(|_| sessions);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

/// The most messages of one call.
pub const MAX_BATCH: usize = 64;

/// The most payload bytes of one call, a single larger message apart. The answers are lifted as one tree of lists, and
/// from 256 KiB on the system's allocator hands such trees back and faults them in again each time.
pub const MAX_BATCH_BYTES: usize = 128 << 10;

fn open(slot: &Slot<FilterExports>, handshake: &Handshake) -> Result<Result<wire::Admission, wire::Refusal>, Failure> {
    slot.check_room(&handshake.connection_id)?;
    slot.call(handshake, |store, exports| Ok(exports.open.call(store, (wire::Handshake::from(handshake),))?.0))
}

fn check_attachments(
    slot: &Slot<FilterExports>,
    connection: &str,
    filter: &FilterUse,
    attachments: wire::Attachments,
) -> Result<(), Failure> {
    let checked = answer::attachments(attachments, filter.component().limits());
    checked.map_err(|why| slot.refused(connection, FailureReason::Attachments, why))
}

fn label(verdict: &Verdict) -> CallVerdict {
    match verdict {
        Verdict::Forward => CallVerdict::Forward,
        Verdict::Delay(_) => CallVerdict::Delay,
        Verdict::Replace(_) => CallVerdict::Replace,
        Verdict::Drop => CallVerdict::Drop,
        Verdict::Send(_) => CallVerdict::Send,
        Verdict::Close(_) => CallVerdict::Close,
    }
}
