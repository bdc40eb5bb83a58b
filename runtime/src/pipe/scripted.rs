//! Filters that are functions of a test, in the places of those that are components.

use crate::component::{Failure, Interest, Message, Need, OnFailure, Part, PartVerdict, Verdict, Verdicts};
use crate::metrics::FailureReason;
use crate::peer::Side;

/// A filter without a component. One that fails has failed for good.
pub struct Scripted {
    interest: Interest,
    on_failure: OnFailure,
    has_failed: bool,
    singly: bool,
    decide: Box<dyn FnMut(Message<'_>) -> Option<Verdict>>,
    decide_part: Box<dyn FnMut(Part<'_>) -> Option<PartVerdict>>,
}

impl Scripted {
    /// A filter that wants no parts.
    pub fn of_messages(interest: Interest, mut decide: impl FnMut(Message<'_>) -> Verdict + 'static) -> Self {
        Self::failing(interest, OnFailure::Close, move |message| Some(decide(message)))
    }

    /// A filter that wants no parts, and fails where it decides nothing.
    pub fn failing(
        interest: Interest,
        on_failure: OnFailure,
        decide: impl FnMut(Message<'_>) -> Option<Verdict> + 'static,
    ) -> Self {
        let decide_part = Box::new(|_: Part<'_>| Some(PartVerdict::Forward));
        Self { interest, on_failure, has_failed: false, singly: false, decide: Box::new(decide), decide_part }
    }

    /// A filter that wants parts.
    pub fn of_parts(interest: Interest, mut decide: impl FnMut(Part<'_>) -> PartVerdict + 'static) -> Self {
        let decide_part = Box::new(move |part: Part<'_>| Some(decide(part)));
        Self { decide_part, ..Self::of_messages(interest, |_| Verdict::Forward) }
    }

    /// Has each message dealt with before the next, as a component without `batching` has.
    pub fn singly(self) -> Self {
        Self { singly: true, ..self }
    }

    pub(super) fn answers_singly(&self, from: Side) -> bool {
        self.singly && matches!(self.interest.from(from).need, Need::Whole | Need::Rewrite)
    }

    pub(super) fn interest(&self) -> Interest {
        self.interest
    }

    pub(super) fn on_failure(&self) -> OnFailure {
        self.on_failure
    }

    pub(super) fn is_bypassed(&self) -> bool {
        self.has_failed && self.on_failure == OnFailure::Bypass
    }

    /// Decides about messages as a component does: about one after the other, until it fails.
    pub(super) fn on_messages<'m>(
        &mut self,
        messages: impl Iterator<Item = Message<'m>>,
        verdicts: &mut Verdicts,
    ) -> Result<(), Failure> {
        for message in messages {
            let Message { origin, kind, payload, .. } = message;
            let verdict = if self.interest.from(origin).need.is_of_parts() {
                let part = Part { origin, kind, first: true, last: true, bytes: payload };
                self.on_part(&part)?.of_message(kind)
            } else {
                let decided = (self.decide)(message);
                self.unless_failed(decided)?
            };
            verdicts.push(verdict);
        }
        Ok(())
    }

    pub(super) fn on_part(&mut self, part: &Part<'_>) -> Result<PartVerdict, Failure> {
        let decided = (self.decide_part)(*part);
        self.unless_failed(decided)
    }

    fn unless_failed<T>(&mut self, decided: Option<T>) -> Result<T, Failure> {
        self.has_failed |= decided.is_none();
        decided.ok_or_else(|| Failure {
            component: "scripted".to_owned(),
            reason: FailureReason::Trap,
            message: "it failed".to_owned(),
        })
    }
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Scripted").field("interest", &self.interest).finish_non_exhaustive()
    }
}
