//! A balancer's instance on one worker, what it has been told, and what it picks.

use std::cell::RefCell;
use std::sync::Arc;

use super::answer;
use super::endpoints::{Difference, PickSet};
use super::exports::BalancerExports;
use super::instance::Slot;
use super::limits::Limits;
use super::types::{Choice, Failure, Handshake};
use super::wire;
use crate::metrics::{CallVerdict, FailureReason};

/// The place of a balancer's instance.
#[derive(Debug)]
pub(super) struct Balancer {
    slot: Slot<BalancerExports>,
    known: RefCell<Option<Known>>,
}

/// What an instance knows.
#[derive(Debug)]
struct Known {
    /// Which of the instances that there have been here.
    generation: u64,
    set: Arc<PickSet>,
}

impl Balancer {
    pub(super) fn new(slot: Slot<BalancerExports>) -> Self {
        Self { slot, known: RefCell::default() }
    }

    /// See [`Pool::pick`](super::Pool::pick).
    pub(super) fn pick(
        &self,
        endpoints: &Arc<PickSet>,
        handshake: &Handshake,
        tried: &[u32],
        limits: &Limits,
    ) -> Result<Option<Choice>, Failure> {
        let (slot, connection) = (&self.slot, &handshake.connection_id);
        self.tell(endpoints, connection)?;
        let picked =
            slot.call(connection, |store, exports| Ok(exports.pick.call(store, (handshake.into(), tried))?.0))?;
        let Some(choice) = picked else {
            slot.verdict(CallVerdict::NoPick);
            return Ok(None);
        };
        let invalid = |why| slot.invalid(connection, why);
        let id = choice.endpoint;
        if endpoints.get(id).is_none() {
            return Err(invalid(format!("it picked endpoint {id}, which does not exist")));
        }
        let attached = answer::attachments(choice.attachments(), limits);
        attached.map_err(|why| slot.refused(connection, FailureReason::Attachments, why))?;
        let client_headers = answer::edits(choice.client_headers).map_err(invalid)?;
        slot.verdict(CallVerdict::Pick);
        Ok(Some(Choice { endpoint: id, client_headers }))
    }

    /// Tells the instance what it does not know yet of a set: a new one, all.
    fn tell(&self, endpoints: &Arc<PickSet>, connection: &str) -> Result<(), Failure> {
        let generation = self.slot.generation();
        let mut kept = self.known.borrow_mut();
        let known = kept.as_ref().filter(|known| known.generation == generation).map(|known| &known.set);
        if known.is_some_and(|known| known.version() == endpoints.version()) {
            return Ok(());
        }
        self.slot.check()?;
        let nothing = PickSet::default();
        let difference = endpoints.since(known.map_or(&nothing, |known| known));
        if known.is_none() || !difference.is_empty() {
            // An instance that fails in the middle is told all again.
            for Difference { changed, gone } in difference.in_portions(PORTION) {
                let changed: Vec<wire::Endpoint<'_>> = changed.iter().map(|endpoint| (*endpoint).into()).collect();
                self.slot.call(connection, |store, exports| {
                    store.data_mut().endpoints = Some(Arc::clone(endpoints));
                    exports.update.call(store, (changed.as_slice(), gone.as_slice()))
                })?;
            }
        }
        *kept = Some(Known { generation, set: Arc::clone(endpoints) });
        Ok(())
    }
}

/// The most endpoints that one call tells of, so that many do not take longer than a call may: a thousand take a standard
/// balancer well under a millisecond.
const PORTION: usize = 1024;
