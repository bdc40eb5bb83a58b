//! Limits on how many connections there are, and on how fast they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::time::Instant;

/// Places for connections; clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    limit: usize,
    taken: Arc<AtomicUsize>,
}

/// One taken place, given back on drop.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Permits {
    /// This many places, all free.
    pub fn new(limit: usize) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// The same places, of which this many may be taken through what is returned; those taken beyond it stay taken.
    pub fn resized(&self, limit: usize) -> Self {
        Self { limit, taken: Arc::clone(&self.taken) }
    }

    /// Takes a place; `None` when there is none.
    pub fn take(&self) -> Option<Permit> {
        // Never counts more than there are, not even for a moment: whoever came then would be refused for nothing.
        let step = |taken: usize| (taken < self.limit).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        taken.is_ok().then(|| Permit(Arc::clone(&self.taken)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A rate with a burst of one second, as a single number: the time up to which it is used up (GCRA).
#[derive(Debug)]
pub struct Rate {
    started: Instant,
    /// Nanoseconds that one admission uses up.
    cost: u64,
    used_up_to: AtomicU64,
}

impl Rate {
    /// Admits this many in a second; at least one.
    pub fn new(per_second: u32) -> Self {
        let cost = SECOND / u64::from(per_second.max(1));
        Self { started: Instant::now(), cost, used_up_to: AtomicU64::new(0) }
    }

    /// Whether one more is admitted now.
    pub fn admit(&self, now: Instant) -> bool {
        let now = u64::try_from(now.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX);
        let step = |used: u64| {
            let next = used.max(now).saturating_add(self.cost);
            (next <= now.saturating_add(SECOND)).then_some(next)
        };
        self.used_up_to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_place_is_given_back_when_its_permit_is_dropped() {
        let permits = Permits::new(1);
        let taken = permits.take();
        assert!(taken.is_some());
        assert!(permits.take().is_none());
        drop(taken);
        assert!(permits.take().is_some());
    }

    #[test]
    fn a_place_that_is_free_is_found_whoever_else_is_refused_meanwhile() {
        // One thread takes and gives back the last place, with others that ask in vain all the time.
        let permits = Permits::new(2);
        let _held = permits.take().unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        let full = permits.resized(1);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        assert!(full.take().is_none());
                    }
                });
            }
            let found = (0..100_000).filter(|_| permits.take().is_some()).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(found, 100_000);
        });
    }

    #[test]
    fn resized_places_are_the_same_places_under_another_limit() {
        let permits = Permits::new(1);
        let taken = permits.take();
        let larger = permits.resized(2);
        let further = larger.take();
        assert!(further.is_some());
        assert!(larger.take().is_none());
        drop(taken);
        assert!(permits.take().is_none(), "the limit of the old ones was changed");
        drop(further);
        assert!(permits.take().is_some());
    }

    #[test]
    fn a_rate_admits_a_burst_of_a_second_and_then_one_at_a_time() {
        let rate = Rate::new(4);
        let start = rate.started;
        assert_eq!((0..6).filter(|_| rate.admit(start)).count(), 4);
        let later = start + Duration::from_millis(250);
        assert!(rate.admit(later));
        assert!(!rate.admit(later));
    }
}
