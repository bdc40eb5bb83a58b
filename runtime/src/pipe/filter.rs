//! One filter of a connection, as the chain knows it.

#[cfg(any(fuzzing, test))]
use super::scripted::Scripted;
use crate::component::{Failure, Interest, Message, OnFailure, Part, PartVerdict, Session, Verdicts};
use crate::peer::Side;

/// A filter.
#[derive(Debug)]
pub(super) enum Filter {
    /// A component's session.
    Component(Session),
    /// A function of a test's own.
    #[cfg(any(fuzzing, test))]
    Scripted(Scripted),
}

impl Filter {
    /// The session, where it is a component's.
    #[inline]
    pub(super) fn session(&self) -> Option<&Session> {
        match self {
            Self::Component(session) => Some(session),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(_) => None,
        }
    }

    /// See [`Filter::session`].
    #[inline]
    pub(super) fn session_mut(&mut self) -> Option<&mut Session> {
        match self {
            Self::Component(session) => Some(session),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(_) => None,
        }
    }

    /// See [`Filter::session`].
    pub(super) fn into_session(self) -> Option<Session> {
        match self {
            Self::Component(session) => Some(session),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(_) => None,
        }
    }

    /// Whether it has failed for good, and messages pass it by.
    #[inline]
    pub(super) fn is_bypassed(&self) -> bool {
        match self {
            Self::Component(session) => session.is_bypassed(),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(scripted) => scripted.is_bypassed(),
        }
    }

    /// What it wants.
    #[inline]
    pub(super) fn interest(&self) -> Interest {
        match self {
            Self::Component(session) => session.interest(),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(scripted) => scripted.interest(),
        }
    }

    /// See [`Session::answers_singly`].
    #[inline]
    pub(super) fn answers_singly(&self, from: Side) -> bool {
        match self {
            Self::Component(session) => session.answers_singly(from),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(scripted) => scripted.answers_singly(from),
        }
    }

    /// What becomes of the connection when it fails.
    pub(super) fn on_failure(&self) -> OnFailure {
        match self {
            Self::Component(session) => session.on_failure(),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(scripted) => scripted.on_failure(),
        }
    }

    /// Decides about messages, see [`Session::on_messages`].
    ///
    /// # Errors
    /// When it fails; `verdicts` has what it decided before.
    #[inline]
    pub(super) fn on_messages<'m>(
        &mut self,
        messages: impl Iterator<Item = Message<'m>> + Clone,
        verdicts: &mut Verdicts,
    ) -> Result<(), Failure> {
        match self {
            Self::Component(session) => session.on_messages(messages, verdicts),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(scripted) => scripted.on_messages(messages, verdicts),
        }
    }

    /// Decides about a part of a message.
    ///
    /// # Errors
    /// When it fails.
    pub(super) fn on_part(&mut self, part: &Part<'_>) -> Result<PartVerdict, Failure> {
        match self {
            Self::Component(session) => session.on_part(part),
            #[cfg(any(fuzzing, test))]
            Self::Scripted(scripted) => scripted.on_part(part),
        }
    }
}
