//! What a worker holds of messages that have begun and not ended, for filters that wait for them, and of those that a slow
//! receiver or a delay keeps waiting: within the worker's share of `assembly_memory`. The former are held no longer than
//! `message_timeout`.
//!
//! Who began first has waited longest, and goes first when there is no more room. One message alone may always be held,
//! however small the share is, because `max_message_size` bounds it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::{Gauge, Sharded, WorkerIndex};

/// The assemblies of one worker.
#[derive(Debug)]
pub struct Assemblies {
    share: Cell<usize>,
    /// Bytes of those that wait.
    held: Cell<usize>,
    /// In the order in which they began.
    waiting: RefCell<BTreeMap<u64, Rc<Ticket>>>,
    begun: Cell<u64>,
    gauge: Arc<Sharded<Gauge>>,
    worker: WorkerIndex,
}

/// What both the worker and the direction that holds a message know of it.
#[derive(Debug)]
struct Ticket {
    bytes: Cell<usize>,
    /// Whether it has to go.
    called: Cell<bool>,
    waker: RefCell<Waker>,
}

/// A message that has begun and not ended. Dropping it says that nothing of it is held any more.
#[derive(Debug)]
pub struct Assembly {
    assemblies: Rc<Assemblies>,
    number: u64,
    ticket: Rc<Ticket>,
    /// How long it was waited for, while it could come.
    spent: Duration,
    waiting_since: Option<Instant>,
    /// How long it may take, by what has come of it.
    allowed: Option<Duration>,
}

impl Assemblies {
    /// Those of a worker that may hold so many bytes, counted in its shard of `gauge`.
    pub fn new(share: usize, gauge: Arc<Sharded<Gauge>>, worker: WorkerIndex) -> Rc<Self> {
        Rc::new(Self {
            share: Cell::new(share),
            held: Cell::default(),
            waiting: RefCell::default(),
            begun: Cell::default(),
            gauge,
            worker,
        })
    }

    /// Changes how many bytes the worker may hold.
    pub fn set_share(&self, share: usize) {
        self.share.set(share);
        self.make_room();
    }

    /// Takes note of a message that begins; `waker` wakes who holds it.
    pub fn begin(self: &Rc<Self>, waker: &Waker) -> Assembly {
        let number = self.begun.get();
        self.begun.set(number + 1);
        let ticket =
            Rc::new(Ticket { bytes: Cell::default(), called: Cell::default(), waker: RefCell::new(waker.clone()) });
        self.waiting.borrow_mut().insert(number, ticket.clone());
        Assembly { assemblies: self.clone(), number, ticket, spent: Duration::ZERO, waiting_since: None, allowed: None }
    }

    /// How many bytes are held.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.get()
    }

    /// Calls those that have waited longest until the others fit in.
    fn make_room(&self) {
        let mut waiting = self.waiting.borrow_mut();
        while self.held.get() > self.share.get() && waiting.len() > 1 {
            let Some((_, ticket)) = waiting.pop_first() else { break };
            // It goes as soon as its task runs, and does not count any more.
            self.add(0, ticket.bytes.get());
            ticket.called.set(true);
            ticket.waker.borrow().wake_by_ref();
        }
    }

    fn add(&self, more: usize, less: usize) {
        self.held.set((self.held.get() + more).saturating_sub(less));
        self.gauge.of(self.worker).set(i64::try_from(self.held.get()).unwrap_or(i64::MAX));
    }
}

impl Assembly {
    /// Takes note of what is held of it now: so many bytes of memory, for `came` bytes. It may take `timeout` and a
    /// second more for each 64 KiB of these.
    pub fn hold(&mut self, bytes: usize, came: usize, timeout: Option<Duration>, waker: &Waker) {
        self.allowed = timeout.map(|timeout| timeout + Duration::from_secs((came / STEP) as u64));
        if self.ticket.called.get() {
            return;
        }
        if !self.ticket.waker.borrow().will_wake(waker) {
            *self.ticket.waker.borrow_mut() = waker.clone();
        }
        self.assemblies.add(bytes, self.ticket.bytes.replace(bytes));
        self.assemblies.make_room();
    }

    /// Whether it has to go; until then, `waker` wakes who holds it.
    pub fn is_called_for(&self, waker: &Waker) -> bool {
        if !self.ticket.waker.borrow().will_wake(waker) {
            *self.ticket.waker.borrow_mut() = waker.clone();
        }
        self.is_called()
    }

    /// Whether it has to go, because others need the room.
    pub(super) fn is_called(&self) -> bool {
        self.ticket.called.get()
    }

    /// Says that more of it is waited for from now on.
    pub(super) fn wait(&mut self) {
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    /// Says that it is not waited for any more, as when bytes have come or nothing is read; whether it took too long.
    pub(super) fn stop_waiting(&mut self) -> bool {
        if let Some(since) = self.waiting_since.take() {
            self.spent += since.elapsed();
        }
        self.allowed.is_some_and(|allowed| self.spent >= allowed)
    }

    /// When it has taken too long.
    pub(super) fn ends_at(&self) -> Option<Instant> {
        self.waiting_since.zip(self.allowed).map(|(since, allowed)| since + allowed.saturating_sub(self.spent))
    }
}

impl Drop for Assembly {
    fn drop(&mut self) {
        if self.assemblies.waiting.borrow_mut().remove(&self.number).is_some() {
            self.assemblies.add(0, self.ticket.bytes.get());
        }
    }
}

/// For each of these that have come, a message may take a second more.
const STEP: usize = 64 << 10;

#[cfg(test)]
mod tests;
