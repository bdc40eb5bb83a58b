//! One connection, as one filter knows it: a resource in an instance of the filter.

mod succession;

pub use succession::Resumed;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::ResourceAny;

use super::answer;
use super::exports::FilterExports;
use super::instance::Slot;
use super::types::{CloseFrame, Failure, Handshake, HeaderEdit, Interest, Message, Refusal, Verdict};
use super::uses::{FilterUse, OnFailure, Serving};
use super::wire;
use crate::metrics::{CallVerdict, FailureReason, Side};

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
        let guest = State::Open(Resource { handle: admission.session, generation: slot.generation() });
        let session = Self { slot, filter: filter.serve(), handshake, guest };
        let slot = &session.slot;
        check_attachments(slot, &session.handshake.connection_id, filter, attachments)?;
        let invalid = |why| session.invalid(why);
        let upstream_headers = answer::edits(admission.upstream_headers).map_err(invalid)?;
        let client_headers = answer::edits(admission.client_headers).map_err(invalid)?;
        slot.verdict(CallVerdict::Admit);
        Ok(Opened::Admitted(Admission {
            upstream_headers,
            client_headers,
            attributes: admission.attributes,
            lease: admission.lease_seconds.map(|seconds| Duration::from_secs(seconds.into())),
            session,
        }))
    }

    /// What the filter wants of this connection's messages.
    pub fn interest(&self) -> Interest {
        self.filter.interest()
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
        self.check_size(&message)?;
        let handle = self.resource()?;
        let connection = &self.handshake.connection_id;
        let called = self.slot.call(connection, |store, exports| {
            let Message { origin, kind, size, payload } = message;
            Ok(exports.on_message.call(store, (handle, origin.into(), kind.into(), size, payload))?.0)
        });
        let verdict = called.and_then(|verdict| {
            self.check_reply(std::slice::from_ref(&verdict))?;
            self.checked(verdict, &message)
        });
        verdict.inspect_err(|_| self.end())
    }

    /// Decides about several messages, in order, and appends a verdict for each. On an error `verdicts` holds those of
    /// the messages before the one that failed where the filter may be bypassed, and at least those of the calls before
    /// the one that failed where it may not.
    ///
    /// They reach the guest in batches within [`MAX_BATCH`] and [`MAX_BATCH_BYTES`], a larger message alone.
    pub fn on_messages(&mut self, messages: &[Message<'_>], verdicts: &mut Vec<Verdict>) -> Result<(), Failure> {
        let mut rest = messages;
        while let Some((batch, later)) = rest.split_at_checked(self.batch_length(rest)) {
            match batch {
                [] => break,
                [message] => verdicts.push(self.on_message(*message)?),
                batch => {
                    let before = verdicts.len();
                    if let Err(failure) = self.on_batch(batch, verdicts) {
                        self.on_single_messages(batch, verdicts.len() - before, failure, verdicts)?;
                    }
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Decides one by one, in a session that is opened again, about messages of a call that has failed. So none of them
    /// goes by undecided that would not if each had been a call of its own.
    #[cold]
    fn on_single_messages(
        &mut self,
        batch: &[Message<'_>],
        decided: usize,
        failure: Failure,
        verdicts: &mut Vec<Verdict>,
    ) -> Result<(), Failure> {
        let is_final = self.on_failure() == OnFailure::Close || failure.reason == FailureReason::Quarantine;
        // An answer that was good up to here was no good for the message behind.
        if is_final || decided > 0 {
            return Err(failure);
        }
        self.reopen()?;
        for message in batch {
            verdicts.push(self.on_message(*message)?);
        }
        Ok(())
    }

    /// How many of these messages go into one call: at least one, if there is one, and alone what is too large for any.
    fn batch_length(&self, messages: &[Message<'_>]) -> usize {
        let mut bytes = 0_usize;
        let fits = |message: &&Message<'_>| {
            bytes = bytes.saturating_add(message.payload.len());
            bytes <= MAX_BATCH_BYTES && self.is_fitting(message)
        };
        let fitting = messages.iter().take(MAX_BATCH).take_while(fits).count();
        fitting.max(1).min(messages.len())
    }

    /// Tells the filter that the connection has ended, and drops the session. Failures are counted and logged, because
    /// there is nobody left to tell. Does nothing where the session was lost with its instance.
    pub fn on_close(self, by: Option<Side>, close: Option<&CloseFrame>) {
        let State::Open(resource) = self.guest else { return };
        if self.slot.holds(resource.generation) {
            let close = close.map(wire::CloseFrame::from);
            let connection = &self.handshake.connection_id;
            // Counted and logged already.
            let _ = self.slot.call(connection, |store, exports| {
                exports.on_close.call(store, (resource.handle, by.map(Into::into), close))
            });
        }
    }

    fn on_batch(&mut self, batch: &[Message<'_>], verdicts: &mut Vec<Verdict>) -> Result<(), Failure> {
        let handle = self.resource()?;
        let connection = &self.handshake.connection_id;
        let lowered: Vec<wire::Message<'_>> = batch.iter().map(Into::into).collect();
        let called = self
            .slot
            .call(connection, |store, exports| Ok(exports.on_messages.call(store, (handle, lowered.as_slice()))?.0));
        let decided = called.and_then(|answers| {
            if answers.len() != batch.len() {
                let message = format!("it gave {} verdicts on {} messages", answers.len(), batch.len());
                return Err(self.invalid(message));
            }
            self.check_reply(&answers)?;
            for (verdict, message) in answers.into_iter().zip(batch) {
                verdicts.push(self.checked(verdict, message)?);
            }
            Ok(())
        });
        decided.inspect_err(|_| self.end())
    }

    #[inline]
    fn is_fitting(&self, message: &Message<'_>) -> bool {
        let (size, limits) = (message.payload.len(), self.filter.component().limits());
        size <= limits.fitting() && limits.max_message_size.is_none_or(|most| size <= most)
    }

    /// A payload that has no room in the guest's memory would trap it, and with it the neighbours' sessions.
    #[inline]
    fn check_size(&mut self, message: &Message<'_>) -> Result<(), Failure> {
        if self.is_fitting(message) {
            return Ok(());
        }
        let (size, limits) = (message.payload.len(), self.filter.component().limits());
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

    /// What one call has answered is held until it is sent on.
    #[inline]
    fn check_reply(&self, verdicts: &[wire::Verdict]) -> Result<(), Failure> {
        let size: usize = verdicts.iter().map(wire::Verdict::payload_size).sum();
        let most = self.filter.component().limits().max_reply_size;
        if size <= most {
            return Ok(());
        }
        let why = format!("it answered with {size} bytes of payload, and its max_reply_size is {most}");
        Err(self.refused(FailureReason::ReplySize, why))
    }

    /// The guest's session, opened again where its instance was lost.
    #[inline]
    fn resource(&mut self) -> Result<ResourceAny, Failure> {
        match self.guest {
            State::Open(resource) if resource.generation == self.slot.generation() => Ok(resource.handle),
            State::Open(_) => self.reopen(),
            State::Over => Err(Failure {
                component: self.component().to_owned(),
                reason: FailureReason::Trap,
                message: "its session has failed before".to_owned(),
            }),
        }
    }

    #[cold]
    fn reopen(&mut self) -> Result<ResourceAny, Failure> {
        self.guest = State::Over;
        match open(&self.slot, &self.handshake)? {
            Ok(admission) => {
                let handle = admission.session;
                self.guest = State::Open(Resource { handle, generation: self.slot.generation() });
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
    fn checked(&self, verdict: wire::Verdict, message: &Message<'_>) -> Result<Verdict, Failure> {
        let selection = self.interest().from(message.origin);
        let verdict = answer::verdict(verdict, message, selection).map_err(|why| self.invalid(why))?;
        self.slot.verdict(label(&verdict));
        Ok(verdict)
    }

    /// Ends the session after a failure; where the instance lives on, the guest's resource goes.
    #[cold]
    fn end(&mut self) {
        if let State::Open(resource) = std::mem::replace(&mut self.guest, State::Over)
            && self.slot.holds(resource.generation)
        {
            let connection = &self.handshake.connection_id;
            // Counted and logged already.
            let _ = self.slot.call(connection, |store, _| resource.handle.resource_drop(store));
        }
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
    slot.call(&handshake.connection_id, |store, exports| {
        Ok(exports.open.call(store, (wire::Handshake::from(handshake),))?.0)
    })
}

/// What a filter attaches is kept, sent and logged, so there has to be an end to it.
fn check_attachments(
    slot: &Slot<FilterExports>,
    connection: &str,
    filter: &FilterUse,
    attachments: wire::Attachments,
) -> Result<(), Failure> {
    let wire::Attachments { count, size } = attachments;
    let limits = filter.component().limits();
    let why = if count > limits.max_attachments {
        let most = limits.max_attachments;
        format!("it attached {count} header edits, attributes or fields, and its max_attachments is {most}")
    } else if size > limits.max_attachment_size {
        let most = limits.max_attachment_size;
        format!("it attached {size} bytes to a handshake, and its max_attachment_size is {most}")
    } else {
        return Ok(());
    };
    Err(slot.refused(connection, FailureReason::Attachments, why))
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
