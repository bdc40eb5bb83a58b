//! The timers of one loop.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::task::{Context, Waker};

use slab::Slab;
use tokio::time::Instant;

/// What waits for a moment, in order. The clock is read once a turn: a timer that is not after [`now`](Self::now) has
/// fired and is not kept any more, and one that is later has not.
pub(super) struct Timers {
    now: Cell<Instant>,
    waiting: RefCell<Waiting>,
}

#[derive(Default)]
struct Waiting {
    order: BTreeSet<(Instant, usize)>,
    wakers: Slab<Waker>,
}

impl Default for Timers {
    fn default() -> Self {
        Self { now: Cell::new(Instant::now()), waiting: RefCell::default() }
    }
}

impl Timers {
    /// Whether a moment has come, as of the last look at the clock.
    pub(super) fn has_come(&self, at: Instant) -> bool {
        at <= self.now.get()
    }

    /// Has a task woken at a moment that has not come; gives the key of that.
    pub(super) fn insert(&self, at: Instant, context: &Context<'_>) -> usize {
        let mut waiting = self.waiting.borrow_mut();
        let key = waiting.wakers.insert(context.waker().clone());
        waiting.order.insert((at, key));
        key
    }

    /// Has perhaps another task woken.
    pub(super) fn renew(&self, key: usize, context: &Context<'_>) {
        if let Some(waker) = self.waiting.borrow_mut().wakers.get_mut(key) {
            waker.clone_from(context.waker());
        }
    }

    /// Forgets about a moment that has not come.
    pub(super) fn remove(&self, at: Instant, key: usize) {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.order.remove(&(at, key)) {
            let waker = waiting.wakers.try_remove(key);
            drop(waiting);
            drop(waker);
        }
    }

    /// The earliest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.waiting.borrow().order.first().map(|(at, _)| *at)
    }

    /// Looks at the clock, and wakes those whose moment has come.
    pub(super) fn fire(&self) {
        if self.next().is_none() {
            return;
        }
        let now = Instant::now();
        self.now.set(now);
        while let Some(waker) = self.pop(now) {
            waker.wake();
        }
    }

    fn pop(&self, now: Instant) -> Option<Waker> {
        let mut waiting = self.waiting.borrow_mut();
        let key = waiting.order.first().filter(|(at, _)| *at <= now)?.1;
        waiting.order.pop_first();
        waiting.wakers.try_remove(key)
    }

    /// How many wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().wakers.len()
    }
}
