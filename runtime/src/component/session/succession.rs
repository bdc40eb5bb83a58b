//! Handing a live connection from one version of a filter to the next.

use std::rc::Rc;
use std::sync::Arc;

use super::agenda::Agenda;
use super::{Resource, Session, State};
use crate::component::exports::FilterExports;
use crate::component::instance::Slot;
use crate::component::probation::Probation;
use crate::component::types::{Failure, Handshake};
use crate::component::uses::{FilterUse, OnFailure};
use crate::component::wire;
use crate::metrics::{FailureReason, SwapOutcome};

impl Session {
    /// The use of the filter that serves this connection, as [`FilterUse::id`] names it.
    pub fn filter_id(&self) -> u64 {
        self.filter.id()
    }

    /// The handshake as the filter saw it.
    pub fn handshake(&self) -> &Rc<Handshake> {
        &self.handshake
    }

    /// The name of the component whose place it has in the chain: on probation, that of the filter it is tried for.
    pub fn place_of(&self) -> &str {
        self.filter.recipe().probation().map_or_else(|| self.component(), Probation::of)
    }

    /// Whether its filter is on probation.
    pub fn is_on_probation(&self) -> bool {
        self.filter.recipe().probation().is_some_and(Probation::is_on)
    }

    /// Whether the filter has failed on this connection, which goes on without it.
    pub fn is_bypassed(&self) -> bool {
        matches!(self.guest, State::Over) && self.on_failure() == OnFailure::Bypass
    }

    /// Whether its filter has failed its probation.
    pub fn has_failed_probation(&self) -> bool {
        self.filter.recipe().probation().is_some_and(Probation::has_failed)
    }

    /// Has the place among instances that its predecessor had, which is about to end.
    pub fn sit_down(&self, predecessor: &Self) {
        self.slot.change_seats(&predecessor.slot);
    }

    /// Whether its instance serves this connection alone.
    pub(in crate::component) fn is_isolated(&self) -> bool {
        self.slot.has_seat()
    }

    /// Whether its instance is gone, because a connection needed its place.
    pub fn is_ousted(&self) -> bool {
        self.slot.is_vacated()
    }

    /// The use of the filter that serves this connection.
    pub fn filter(&self) -> &Arc<FilterUse> {
        self.filter.shared()
    }

    /// A session in the instance at `slot` that goes on where `predecessor` stands.
    pub(in crate::component) fn resume(
        slot: Rc<Slot<FilterExports>>,
        filter: &Arc<FilterUse>,
        handshake: Rc<Handshake>,
        predecessor: Option<&mut Self>,
    ) -> Result<Resumed, Failure> {
        let lease_at = predecessor.as_ref().and_then(|session| session.lease_at());
        let (state, outcome) = match predecessor.map(Self::save).transpose()? {
            Some(Saved::State(state)) => (state, SwapOutcome::Swapped),
            Some(Saved::Lost) => (Vec::new(), SwapOutcome::Reset),
            None => (Vec::new(), SwapOutcome::Swapped),
        };
        let connection = &handshake.connection_id;
        slot.check_room(connection)?;
        let resumed = slot.call(&*handshake, |store, exports| {
            let known = wire::Handshake::from(&*handshake);
            Ok(match &exports.resume {
                Some(resume) => resume.call(store, (known, &state))?.0,
                // What it keeps of a connection, it keeps from the start.
                None => match exports.open.call(store, (known,))?.0 {
                    Ok(admission) => Ok(admission.session),
                    Err(refusal) => Err(format!("it would refuse the handshake with {}", refusal.status)),
                },
            })
        });
        let handle = resumed.and_then(|resumed| {
            let refused = |words| format!("it does not take a connection over from its former version: {words}");
            resumed.map_err(|words| slot.refused(connection, FailureReason::Resume, refused(words)))
        });
        let guest = State::Open(Resource::of(handle?, &slot));
        let mut session =
            Self { slot, filter: filter.serve(), handshake, guest, agenda: lease_at.map(Agenda::of_lease) };
        session.heed()?;
        Ok(Resumed { session, outcome })
    }

    /// What a successor has to know. The session stays what it is; where its instance is lost, it is opened again with its
    /// next message.
    ///
    /// # Errors
    /// When the filter does not say, although it can go on.
    fn save(&mut self) -> Result<Saved, Failure> {
        let before = self.guest;
        let opened = match before {
            State::Open(resource) if resource.generation == self.slot.generation() => Ok(resource.handle),
            // Where it cannot be opened, it is not over: it is tried again with its next message.
            State::Open(_) => self.reopen(),
            State::Over => return Ok(Saved::Lost),
        };
        let saved = opened.map(|handle| {
            let connection = &self.handshake.connection_id;
            // Those that it does not save stay with it, so it has to go on.
            self.slot.call_forgiven(connection, |store, exports| match &exports.save {
                Some(save) => Ok(save.call(store, (handle,))?.0),
                None => Ok(Vec::new()),
            })
        });
        match saved {
            Ok(Ok(state)) => Ok(Saved::State(state)),
            Ok(Err(failure)) if failure.reason != FailureReason::Quarantine && !self.has_failed_probation() => {
                self.guest = before;
                Err(failure)
            }
            // It has failed on this connection before, or is not to serve any.
            Ok(Err(_)) | Err(_) => {
                self.guest = before;
                Ok(Saved::Lost)
            }
        }
    }
}

/// A session that has taken a connection over.
#[derive(Debug)]
pub struct Resumed {
    /// The connection, as the filter knows it from now on.
    pub session: Session,
    /// Whether it goes on with what its predecessor knew.
    pub outcome: SwapOutcome,
}

/// What a session has left for its successor.
enum Saved {
    State(Vec<u8>),
    /// Nothing, because it had failed.
    Lost,
}
