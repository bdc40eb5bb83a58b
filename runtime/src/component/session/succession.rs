//! Handing a live connection from one version of a filter to the next.

use std::rc::Rc;
use std::sync::Arc;

use super::{Resource, Session, State};
use crate::component::exports::FilterExports;
use crate::component::instance::Slot;
use crate::component::trial::{Standing, Trial};
use crate::component::types::{Failure, Handshake};
use crate::component::uses::{FilterUse, OnFailure};
use crate::component::wire;
use crate::metrics::FailureReason;

impl Session {
    /// The use of the filter that serves this connection, as [`FilterUse::id`] names it.
    pub fn filter_id(&self) -> u64 {
        self.filter.id()
    }

    /// The handshake as the filter saw it.
    pub fn handshake(&self) -> &Rc<Handshake> {
        &self.handshake
    }

    /// The name of the component whose place it has in the chain: of a candidate, that of the filter it is tried for.
    pub fn place_of(&self) -> &str {
        self.filter.recipe().trial().map_or_else(|| self.component(), Trial::of)
    }

    /// Whether it is a candidate whose trial is not over.
    pub fn is_on_trial(&self) -> bool {
        self.filter.recipe().trial().is_some_and(|trial| trial.standing() == Standing::OnTrial)
    }

    /// Whether the filter has failed on this connection, which goes on without it.
    pub fn is_bypassed(&self) -> bool {
        matches!(self.guest, State::Over) && self.on_failure() == OnFailure::Bypass
    }

    /// A session in the instance at `slot` that goes on where `predecessor` stands.
    pub(in crate::component) fn resume(
        slot: Rc<Slot<FilterExports>>,
        filter: &Arc<FilterUse>,
        handshake: Rc<Handshake>,
        predecessor: Option<&mut Self>,
    ) -> Result<Self, Failure> {
        // What fails here was counted as its failure, and what it knew is lost.
        let state = predecessor.and_then(|session| session.save().ok()).unwrap_or_default();
        let connection = &handshake.connection_id;
        let resumed = slot.call(connection, |store, exports| {
            Ok(exports.resume.call(store, (wire::Handshake::from(&*handshake), &state))?.0)
        });
        let handle = resumed.and_then(|resumed| {
            let refused = |words| format!("it does not take a connection over from its former version: {words}");
            resumed.map_err(|words| slot.refused(connection, FailureReason::Resume, refused(words)))
        });
        let guest = State::Open(Resource { handle: handle?, generation: slot.generation() });
        Ok(Self { slot, filter: filter.serve(), handshake, guest })
    }

    /// What a successor has to know; nothing where this session is over.
    fn save(&mut self) -> Result<Vec<u8>, Failure> {
        let handle = self.resource()?;
        let saved =
            self.slot.call(&self.handshake.connection_id, |store, exports| Ok(exports.save.call(store, (handle,))?.0));
        saved.inspect_err(|_| self.end())
    }
}
