//! How fast connections may come.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A rate with a burst of one second; what is made of one by [`Rate::changed`] shares its level.
#[derive(Clone, Debug)]
pub(super) struct Rate {
    /// Nanoseconds that one admission uses up.
    cost: u64,
    level: Arc<Level>,
}

/// How far a rate is used up, as a single number: the time up to which it is (GCRA).
#[derive(Debug)]
struct Level {
    started: Instant,
    used_up_to: AtomicU64,
}

impl Rate {
    /// Admits this many in a second; all where there is no limit.
    pub(super) fn new(per_second: Option<u32>) -> Self {
        let level = Level { started: Instant::now(), used_up_to: AtomicU64::new(0) };
        Self { cost: cost(per_second), level: Arc::new(level) }
    }

    /// The same rate with another limit: what was admitted in the last second counts.
    pub(super) fn changed(&self, per_second: Option<u32>) -> Self {
        Self { cost: cost(per_second), level: self.level.clone() }
    }

    /// Whether one more is admitted now.
    pub(super) fn admit(&self, now: Instant) -> bool {
        // Workers have nothing to share where there is no limit.
        if self.cost == 0 {
            return true;
        }
        let now = self.level.at(now);
        let step = |used| used_up(used, now, self.cost);
        self.level.used_up_to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }

    /// Whether nothing of it is used up.
    pub(super) fn is_whole(&self, now: Instant) -> bool {
        self.level.used_up_to.load(Ordering::Relaxed) <= self.level.at(now)
    }
}

impl Level {
    fn at(&self, now: Instant) -> u64 {
        nanoseconds(now.saturating_duration_since(self.started))
    }
}

/// Nanoseconds that one admission of a rate uses up; none where there is no limit.
pub(super) fn cost(per_second: Option<u32>) -> u64 {
    per_second.map_or(0, |per_second| SECOND / u64::from(per_second.max(1)))
}

/// Up to when a rate is used up after one more admission now, where it was up to `used`; `None`: it is too much.
pub(super) fn used_up(used: u64, now: u64, cost: u64) -> Option<u64> {
    let next = used.max(now).saturating_add(cost);
    (next <= now.saturating_add(SECOND)).then_some(next)
}

pub(super) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_admits_a_burst_of_a_second_and_then_one_at_a_time() {
        let rate = Rate::new(Some(4));
        let start = rate.level.started;
        assert_eq!((0..6).filter(|_| rate.admit(start)).count(), 4);
        let later = start + Duration::from_millis(250);
        assert!(rate.admit(later));
        assert!(!rate.admit(later));
    }

    #[test]
    fn another_rate_begins_where_the_one_before_has_got_to() {
        let rate = Rate::new(Some(4));
        let start = rate.level.started;
        assert!((0..4).all(|_| rate.admit(start)));
        let slower = rate.changed(Some(2));
        assert!(!slower.admit(start + Duration::from_millis(499)));
        assert!(slower.admit(start + Duration::from_millis(500)));
        assert!(!rate.admit(start + Duration::from_millis(500)));
        let unlimited = rate.changed(None);
        assert!((0..100).all(|_| unlimited.admit(start + Duration::from_millis(500))));
        assert!(!rate.is_whole(start + Duration::from_secs(1)));
        assert!(rate.is_whole(start + Duration::from_millis(1_500)));
    }
}
