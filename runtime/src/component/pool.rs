//! The instances of one worker thread, by use.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::time::Instant;
use tracing::warn;

use super::balancer::Balancer;
use super::endpoints::PickSet;
use super::engine::Host;
use super::exports::{FilterExports, PredicateExports};
use super::instance::Slot;
use super::limits::Isolation;
use super::seats::Seat;
use super::session::{Opened, Resumed, Session};
use super::ticker::Beat;
use super::types::{Choice, Failure, Handshake};
use super::uses::{BalancerUse, FilterUse, PredicateUse, Recipe};
use crate::metrics::{CallVerdict, FailureReason, WorkerIndex};

/// The instances of one worker: one for each use, made when first needed and again after a trap.
#[derive(Debug)]
pub struct Pool {
    host: Host,
    worker: WorkerIndex,
    beat: RefCell<Option<Rc<Beat>>>,
    predicates: Slots<Slot<PredicateExports>>,
    balancers: Slots<Balancer>,
    filters: Slots<Slot<FilterExports>>,
    /// Those of shadows that serve one connection each.
    shadows: RefCell<Vec<Weak<Slot<FilterExports>>>>,
}

impl Host {
    /// A pool for one worker's thread; nothing is instantiated yet.
    pub fn pool(&self, worker: WorkerIndex) -> Pool {
        Pool {
            host: self.clone(),
            worker,
            beat: RefCell::default(),
            predicates: Slots::default(),
            balancers: Slots::default(),
            filters: Slots::default(),
            shadows: RefCell::default(),
        }
    }
}

impl Pool {
    /// The worker whose instances these are.
    /// The worker that it is of.
    pub fn worker(&self) -> WorkerIndex {
        self.worker
    }

    /// Whether a predicate holds for a handshake.
    pub fn matches(&self, predicate: &Arc<PredicateUse>, handshake: &Handshake) -> Result<bool, Failure> {
        let connection = &handshake.connection_id;
        let slot = self.predicates.of(predicate.id(), || self.slot(connection, predicate.recipe()))?;
        let matches =
            slot.call(connection, |store, exports| Ok(exports.matches.call(store, (handshake.into(),))?.0))?;
        slot.verdict(if matches { CallVerdict::Match } else { CallVerdict::Mismatch });
        Ok(matches)
    }

    /// What a balancer picks of `endpoints`; `None` when it has none to give. `tried` are the ids to pass over, in
    /// ascending order: those that have failed for this handshake, and those that fail at present.
    ///
    /// The balancer is told first what it does not know yet of these endpoints.
    pub fn pick(
        &self,
        balancer: &Arc<BalancerUse>,
        endpoints: &Arc<PickSet>,
        handshake: &Handshake,
        tried: &[u32],
    ) -> Result<Option<Choice>, Failure> {
        let slot = || Ok(Balancer::new(self.slot(&handshake.connection_id, balancer.recipe())?));
        let place = self.balancers.of(balancer.id(), slot)?;
        place.pick(endpoints, handshake, tried, balancer.component().limits())
    }

    /// Asks a filter to admit a handshake.
    pub fn open(&self, filter: &Arc<FilterUse>, handshake: &Rc<Handshake>) -> Result<Opened, Failure> {
        let seat = || self.seat();
        Session::open(self.filter(&handshake.connection_id, filter, seat)?, filter, Rc::clone(handshake))
    }

    /// Asks a filter that serves nobody to admit a handshake; `None` where no instance is left over for it.
    pub fn open_shadow(&self, filter: &Arc<FilterUse>, handshake: &Rc<Handshake>) -> Option<Result<Opened, Failure>> {
        let connection = &handshake.connection_id;
        let mut seat = None;
        if filter.component().limits().isolation == Isolation::Connection {
            seat = Some(self.host.seats().for_shadow()?);
        }
        let is_isolated = seat.is_some();
        let slot = self.filter(connection, filter, || seat.take());
        Some(slot.and_then(|slot| {
            if is_isolated {
                self.remember(&slot);
            }
            Session::open(slot, filter, Rc::clone(handshake))
        }))
    }

    /// Has a filter take a live connection over, with the state that `predecessor` saves, or with an empty one where
    /// there is none or it had failed. The predecessor stays as it is.
    ///
    /// # Errors
    /// When the filter refuses or fails, or the predecessor fails over what it is to save, which is counted.
    pub fn resume(
        &self,
        filter: &Arc<FilterUse>,
        handshake: &Rc<Handshake>,
        predecessor: Option<&mut Session>,
    ) -> Result<Resumed, Failure> {
        let is_isolated = predecessor.as_ref().is_some_and(|session| session.is_isolated());
        let takeover = || if is_isolated { self.host.seats().for_takeover() } else { None };
        let seat = || takeover().or_else(|| self.seat());
        let slot = self.filter(&handshake.connection_id, filter, seat)?;
        Session::resume(slot, filter, Rc::clone(handshake), predecessor)
    }

    /// Where a filter's instance is; one that serves a single connection gets a `seat`.
    fn filter(
        &self,
        connection: &str,
        filter: &Arc<FilterUse>,
        seat: impl FnOnce() -> Option<Seat>,
    ) -> Result<Rc<Slot<FilterExports>>, Failure> {
        match filter.component().limits().isolation {
            Isolation::Worker => self.filters.of(filter.id(), || self.slot(connection, filter.recipe())),
            Isolation::Connection => Ok(Rc::new(self.isolated(connection, filter.recipe(), seat)?)),
        }
    }

    /// A place for a connection, which a shadow of this worker gives up if there is no other.
    fn seat(&self) -> Option<Seat> {
        self.host.seats().for_connection().or_else(|| {
            let mut shadows = self.shadows.borrow_mut();
            let given_up = || Some(shadows.pop()?.upgrade().and_then(|slot| slot.vacate()));
            std::iter::from_fn(given_up).flatten().next().map(Seat::given_up)
        })
    }

    /// Keeps in mind that a shadow has a place of its own.
    fn remember(&self, slot: &Rc<Slot<FilterExports>>) {
        let mut shadows = self.shadows.borrow_mut();
        if shadows.len() == shadows.capacity() {
            shadows.retain(|shadow| shadow.strong_count() > 0);
        }
        shadows.push(Rc::downgrade(slot));
    }

    /// Drops the instances of uses that are no longer `live`; those that sessions still need go with the last of them.
    pub fn retire(&self, live: &dyn Fn(u64) -> bool) {
        self.predicates.retain(live);
        self.balancers.retain(live);
        self.filters.retain(live);
    }

    fn slot<E: super::exports::Exports>(&self, connection: &str, recipe: &Arc<Recipe>) -> Result<Slot<E>, Failure> {
        Ok(Slot::new(Arc::clone(recipe), self.worker, self.beat(connection, recipe)?, None))
    }

    /// A place that serves one connection.
    fn isolated(
        &self,
        connection: &str,
        recipe: &Arc<Recipe>,
        seat: impl FnOnce() -> Option<Seat>,
    ) -> Result<Slot<FilterExports>, Failure> {
        let beat = self.beat(connection, recipe)?;
        match seat() {
            Some(seat) => Ok(Slot::new(Arc::clone(recipe), self.worker, beat, Some(seat))),
            None => {
                let why = "as many connections as possible have an instance of their own; see max_isolated_instances";
                Err(self.cannot_start(connection, recipe, FailureReason::IsolatedInstances, why))
            }
        }
    }

    /// This thread's beat. It is taken here and not with the pool, because it belongs to the thread.
    fn beat(&self, connection: &str, recipe: &Recipe) -> Result<Rc<Beat>, Failure> {
        let mut beat = self.beat.borrow_mut();
        if beat.is_none() {
            *beat = self.host.beat().map(Rc::new);
        }
        let why = "deadlines are no longer kept";
        beat.clone().ok_or_else(|| self.cannot_start(connection, recipe, FailureReason::Start, why))
    }

    #[cold]
    fn cannot_start(&self, connection: &str, recipe: &Recipe, reason: FailureReason, message: &str) -> Failure {
        let shard = recipe.metrics().of(self.worker);
        shard.failure(reason);
        let component = recipe.name();
        if recipe.component().rate().admits(Instant::now()) {
            let reason = reason.label();
            warn!(target: "tidegate::component", component, place = recipe.place(), connection, reason, "{message}");
        } else {
            shard.log_lines_dropped.add(1);
        }
        Failure { component: component.to_owned(), reason, message: message.to_owned() }
    }
}

/// Slots by use id.
#[derive(Debug)]
struct Slots<T>(RefCell<HashMap<u64, Rc<T>>>);

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Slots<T> {
    fn of(&self, id: u64, make: impl FnOnce() -> Result<T, Failure>) -> Result<Rc<T>, Failure> {
        if let Some(slot) = self.0.borrow().get(&id) {
            return Ok(Rc::clone(slot));
        }
        let slot = Rc::new(make()?);
        self.0.borrow_mut().insert(id, Rc::clone(&slot));
        Ok(slot)
    }

    fn retain(&self, live: &dyn Fn(u64) -> bool) {
        self.0.borrow_mut().retain(|id, _| live(*id));
    }
}
