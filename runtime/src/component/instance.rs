//! One use of a component on one worker: its store and instance, made when first needed and again after a failure.
//!
//! A trap leaves a guest in the middle of whatever it did, so its store is dropped with everything in it. The generation
//! tells those who hold something of that store, a session, that it is gone.

use std::cell::{Cell, RefCell, RefMut};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, warn};
use wasmtime::Store;

use super::configuration::Words;
use super::deadline::Deadline;
use super::exports::{Binder, Exports, Kind};
use super::failure::classify;
use super::guest::Guest;
use super::limits::{MAX_SESSIONS, Quota};
use super::log::{self, Log};
use super::seats::Seat;
use super::spent;
use super::ticker::Beat;
use super::types::{Failure, Handshake};
use super::uses::Recipe;
use super::wishes::Wishes;
use crate::metrics::{CallVerdict, ComponentShard, FailureReason, WorkerIndex};
use crate::token::Bearer;

/// The place of one instance.
pub(super) struct Slot<E> {
    recipe: Arc<Recipe>,
    worker: WorkerIndex,
    beat: Rc<Beat>,
    live: RefCell<Option<Live<E>>>,
    generation: Cell<u64>,
    seat: Cell<Option<Seat>>,
    /// How many sessions there are in the instance of this generation.
    sessions: Cell<(u64, usize)>,
    /// What the last call asked for.
    wishes: Cell<Option<Box<Wishes>>>,
    /// Whether its seat was taken from it.
    vacated: Cell<bool>,
}

/// A configured instance in its store.
struct Live<E> {
    store: Store<Guest>,
    exports: E,
}

/// A place while its instance runs. A panic of ours within the call leaves the guest in the middle of something, as a
/// trap does.
struct Entered<'a, E> {
    live: RefMut<'a, Option<Live<E>>>,
    generation: &'a Cell<u64>,
}

impl<E> Entered<'_, E> {
    fn clear(&mut self) {
        *self.live = None;
        self.generation.set(self.generation.get() + 1);
    }
}

impl<E> Drop for Entered<'_, E> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.clear();
        }
    }
}

/// An instance did not come to life.
#[derive(Debug)]
pub(super) enum StartError {
    /// It refused its configuration, in these words.
    Rejected(Words),
    /// It failed before it could say so.
    Failed {
        failure: Failure,
        /// What it logged until then.
        words: Option<Words>,
    },
}

/// The connection that a call is about.
#[derive(Clone, Copy)]
pub(super) struct Caller<'c> {
    connection: &'c str,
    /// Who has come in by a token, where the call may renew it.
    bearer: Option<&'c Arc<Bearer>>,
}

impl<'c> From<&'c str> for Caller<'c> {
    fn from(connection: &'c str) -> Self {
        Self { connection, bearer: None }
    }
}

impl<'c> From<&'c String> for Caller<'c> {
    fn from(connection: &'c String) -> Self {
        Self::from(connection.as_str())
    }
}

impl<'c> From<&'c Handshake> for Caller<'c> {
    fn from(handshake: &'c Handshake) -> Self {
        Self { connection: &handshake.connection_id, bearer: handshake.bearer.as_ref() }
    }
}

impl<E: Exports> Slot<E> {
    /// An empty place; `seat` is held with it.
    pub(super) fn new(recipe: Arc<Recipe>, worker: WorkerIndex, beat: Rc<Beat>, seat: Option<Seat>) -> Self {
        let (live, generation) = (RefCell::new(None), Cell::new(0));
        let (sessions, wishes, vacated) = (Cell::default(), Cell::default(), Cell::new(false));
        Self { recipe, worker, beat, live, generation, seat: Cell::new(seat), sessions, wishes, vacated }
    }

    /// The sessions that there are in its instance.
    fn sessions(&self) -> usize {
        let (generation, sessions) = self.sessions.get();
        if generation == self.generation.get() { sessions } else { 0 }
    }

    /// Takes note of a session that its instance has been given, or has dropped.
    pub(super) fn count_sessions(&self, count: impl FnOnce(usize) -> usize) {
        self.sessions.set((self.generation.get(), count(self.sessions())));
    }

    /// Whether its instance may have another session. The one that finds its table full would trap, and take the state of
    /// all others with it.
    pub(super) fn check_room(&self, connection: &str) -> Result<(), Failure> {
        if self.sessions() < MAX_SESSIONS {
            return Ok(());
        }
        let why = format!("its instance has {MAX_SESSIONS} sessions on this worker, and may have no more");
        Err(self.refused(connection, FailureReason::Sessions, why))
    }

    /// Gives its seat away, and its instance with it: every further call fails.
    pub(super) fn vacate(&self) -> Option<Seat> {
        self.vacated.set(true);
        self.clear();
        self.seat.take()
    }

    /// Whether it has given its seat away.
    pub(super) fn is_vacated(&self) -> bool {
        self.vacated.get()
    }

    /// Changes seats with another place, if both have one.
    pub(super) fn change_seats(&self, other: &Self) {
        match (self.seat.take(), other.seat.take()) {
            (Some(own), Some(others)) => {
                self.seat.set(Some(others));
                other.seat.set(Some(own));
            }
            (own, others) => {
                self.seat.set(own);
                other.seat.set(others);
            }
        }
    }

    /// Whether it has a seat.
    pub(super) fn has_seat(&self) -> bool {
        let seat = self.seat.take();
        let has_seat = seat.is_some();
        self.seat.set(seat);
        has_seat
    }

    /// Counts the stores that were lost here. What was obtained from a call belongs to the generation of that moment.
    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation.get()
    }

    /// Makes an instance and configures it, as the control thread does once for each use to learn what it answers.
    pub(super) fn configure(&self) -> Result<E::Configured, StartError> {
        let (live, configured) = self.start().map_err(|error| match error {
            StartError::Failed { failure, words } => StartError::Failed { failure: self.reported("", failure), words },
            rejected @ StartError::Rejected(_) => rejected,
        })?;
        *self.live.borrow_mut() = Some(live);
        Ok(configured)
    }

    /// Whether what was obtained in this generation is still there. In quarantine nothing is, so that the guest need not
    /// be called to let go of it.
    #[inline]
    pub(super) fn holds(&self, generation: u64) -> bool {
        if self.recipe.quarantine().is_on() {
            self.clear();
        }
        generation == self.generation.get()
    }

    /// Runs a call about a connection, within the deadline. After a failure the store is gone. In quarantine every call
    /// fails.
    #[inline]
    pub(super) fn call<'c, R>(
        &self,
        caller: impl Into<Caller<'c>>,
        call: impl FnOnce(&mut Store<Guest>, &E) -> wasmtime::Result<R>,
    ) -> Result<R, Failure> {
        let caller = caller.into();
        self.call_and(caller, call, |failure| self.failed(caller.connection, failure))
    }

    /// The same; but what fails here takes the use from nobody, however often it does.
    pub(super) fn call_forgiven<R>(
        &self,
        connection: &str,
        call: impl FnOnce(&mut Store<Guest>, &E) -> wasmtime::Result<R>,
    ) -> Result<R, Failure> {
        self.call_and(connection.into(), call, |failure| self.reported(connection, failure))
    }

    #[inline]
    fn call_and<R>(
        &self,
        Caller { connection, bearer }: Caller<'_>,
        call: impl FnOnce(&mut Store<Guest>, &E) -> wasmtime::Result<R>,
        report: impl FnOnce(Failure) -> Failure,
    ) -> Result<R, Failure> {
        self.check()?;
        let mut place = Entered { live: self.live.borrow_mut(), generation: &self.generation };
        let live = match &mut *place.live {
            Some(live) => live,
            empty => empty.insert(self.restart(connection)?),
        };
        let guest = live.store.data_mut();
        guest.log.set_connection(connection);
        // Most have none.
        if guest.bearer.is_some() || bearer.is_some() {
            guest.bearer = bearer.cloned();
        }
        let started = Instant::now();
        live.store.data_mut().deadline = Deadline::of(started, self.recipe.limits().deadline);
        let result = self.run(&mut live.store, |store| call(store, &live.exports));
        let taken = started.elapsed();
        self.shard().call_seconds.observe(taken);
        spent::add(taken);
        match result {
            Ok(answer) => {
                self.wishes.set(live.store.data_mut().take_wishes());
                Ok(answer)
            }
            Err(error) => {
                let deadline = self.recipe.limits().deadline;
                let failure = classify(self.recipe.component(), &error, live.store.data(), deadline);
                place.clear();
                Err(report(failure))
            }
        }
    }

    /// What the last call asked for, if it has succeeded.
    #[inline]
    pub(super) fn take_wishes(&self) -> Option<Box<Wishes>> {
        self.wishes.take()
    }

    /// The failure of a component that answered what the contract forbids. Its store is sound.
    pub(super) fn invalid(&self, connection: &str, message: impl Into<String>) -> Failure {
        self.refused(connection, FailureReason::InvalidAnswer, message)
    }

    /// A failure that was found without a call, or in its answer.
    pub(super) fn refused(&self, connection: &str, reason: FailureReason, message: impl Into<String>) -> Failure {
        self.failed(connection, Failure { component: self.recipe.name().to_owned(), reason, message: message.into() })
    }

    /// Counts a verdict.
    #[inline]
    pub(super) fn verdict(&self, verdict: CallVerdict) {
        self.verdicts(verdict, 1);
    }

    /// Counts so many verdicts.
    #[inline]
    pub(super) fn verdicts(&self, verdict: CallVerdict, count: u64) {
        self.recipe.verdicts().of(self.worker).verdict(verdict, count);
    }

    /// The instance to go on with: after a trap, or on this worker's first call.
    #[cold]
    fn restart(&self, connection: &str) -> Result<Live<E>, Failure> {
        if self.is_vacated() {
            let (component, reason) = (self.recipe.name().to_owned(), FailureReason::IsolatedInstances);
            return Err(Failure { component, reason, message: "a connection has its instance's place".to_owned() });
        }
        match self.start() {
            Ok((live, _)) => Ok(live),
            Err(StartError::Failed { failure, .. }) => Err(self.failed(connection, failure)),
            Err(StartError::Rejected(_)) => {
                Err(self.refused(connection, FailureReason::Start, "it refused a configuration that it had accepted"))
            }
        }
    }

    fn start(&self) -> Result<(Live<E>, E::Configured), StartError> {
        let component = self.recipe.component();
        let limits = self.recipe.limits();
        let metrics = self.recipe.metrics();
        let quota = Quota::new(limits.max_memory, Arc::clone(metrics), self.worker);
        let log = Log::new(component.shared_name(), component.rate(), Arc::clone(metrics), self.worker);
        let deadline = Deadline::of(Instant::now(), limits.start_deadline());
        let mut store = Store::new(component.host().engine(), Guest::new(quota, deadline, log, limits.bounds()));
        store.limiter(|guest| &mut guest.quota);
        store.set_hostcall_fuel(limits.handed_over());
        store.set_max_component_handles(limits.handles(E::KIND));
        store.epoch_deadline_callback(|mut store| store.data_mut().deadline.look());

        let started = self.run(&mut store, |store| {
            let instance = component.instances().instantiate(&mut *store)?;
            let exports = E::bind(&mut Binder::new(store, instance, component.exports()))?;
            let configured = exports.configure(store, self.recipe.config().reveal())?;
            Ok((exports, configured))
        });
        match started {
            Ok((exports, Ok(configured))) => {
                store.data_mut().log.release();
                // It was about no connection.
                store.data_mut().take_wishes();
                Ok((Live { store, exports }, configured))
            }
            Ok((_, Err(words))) => Err(StartError::Rejected(Words::new(words))),
            Err(error) => {
                let failure = self.start_failure(&error, &store, limits.start_deadline());
                let words = store.data().log.last_words().map(|words| Words::new(words.to_owned()));
                Err(StartError::Failed { failure, words })
            }
        }
    }

    fn start_failure(&self, error: &wasmtime::Error, store: &Store<Guest>, deadline: Duration) -> Failure {
        let failure = classify(self.recipe.component(), error, store.data(), deadline);
        match failure.reason {
            FailureReason::Memory | FailureReason::Deadline | FailureReason::ReplySize => failure,
            _ => Failure { reason: FailureReason::Start, ..failure },
        }
    }

    /// Runs guest code, looking at its deadline whenever the epoch moves on.
    #[inline]
    fn run<R>(&self, store: &mut Store<Guest>, guest: impl FnOnce(&mut Store<Guest>) -> R) -> R {
        let _running = self.beat.enter();
        store.set_epoch_deadline(1);
        guest(store)
    }

    /// Drops the store, as a failure does.
    #[cold]
    fn clear(&self) {
        if self.live.borrow_mut().take().is_some() {
            self.generation.set(self.generation.get() + 1);
        }
    }

    /// Fails as every call does in quarantine.
    #[inline]
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.recipe.quarantine().is_on() { Err(self.quarantined()) } else { Ok(()) }
    }

    /// The failure of a call that was not made. It is counted and not logged, because the quarantine was.
    #[cold]
    fn quarantined(&self) -> Failure {
        self.clear();
        self.shard().failure(FailureReason::Quarantine);
        let (component, reason) = (self.recipe.name().to_owned(), FailureReason::Quarantine);
        Failure { component, reason, message: "it is in quarantine, because it failed too often".to_owned() }
    }

    /// Reports a failure of a use that is in service, which may be one too many.
    #[cold]
    fn failed(&self, connection: &str, failure: Failure) -> Failure {
        let failure = self.reported(connection, failure);
        if let Some(probation) = self.recipe.probation()
            && failure.reason.is_of_the_component()
            && let Some(failures) = probation.failed(self.worker)
        {
            self.recipe.component().host().probation_failed();
            let (component, filter) = (self.recipe.name(), probation.of());
            warn!(
                target: "tidegate::component", component, place = self.recipe.place(), filter, failures,
                "it failed too often as a candidate and is rolled back"
            );
        }
        if self.recipe.quarantine().failed(failure.reason, Instant::now()) {
            let (component, limits) = (self.recipe.name(), self.recipe.limits());
            let max_failures = limits.max_failures.map_or(0, NonZeroU32::get);
            warn!(
                target: "tidegate::component", component, place = self.recipe.place(), max_failures,
                failure_window = ?limits.failure_window, "it failed too often and is in quarantine"
            );
        }
        failure
    }

    /// Counts and logs a failure. The empty text stands for no connection: the component was being configured.
    #[cold]
    fn reported(&self, connection: &str, failure: Failure) -> Failure {
        // A guest may say what a peer has told it.
        let failure = Failure { message: log::escape(&failure.message, 0), ..failure };
        self.shard().failure(failure.reason);
        let (component, place, reason) = (self.recipe.name(), self.recipe.place(), failure.reason.label());
        let connection = Some(connection).filter(|connection| !connection.is_empty());
        if self.recipe.component().kind() == Kind::Balancer {
            // Whoever asked it chooses an endpoint without it, and tells the operator from time to time.
            debug!(target: "tidegate::component", component, place, connection, reason, "{}", failure.message);
        } else if self.recipe.component().rate().admits(Instant::now()) {
            // A client that knows how to make a filter trap must not be able to fill the log.
            warn!(target: "tidegate::component", component, place, connection, reason, "{}", failure.message);
        } else {
            self.shard().log_lines_dropped.add(1);
        }
        failure
    }

    fn shard(&self) -> &ComponentShard {
        self.recipe.metrics().of(self.worker)
    }
}

impl<E> std::fmt::Debug for Slot<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Slot").field("use", &self.recipe.id()).finish_non_exhaustive()
    }
}
