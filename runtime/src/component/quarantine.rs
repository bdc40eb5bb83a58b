//! Quarantine: a use that failed too often in too short a time is called no more, until an operator or a reload says
//! otherwise.
//!
//! Its state is one for all workers. A call reads one flag; everything else happens when a call has failed, which costs
//! far more than a lock.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::limits::Limits;
use crate::metrics::FailureReason;

/// Whether a use is called, and the failures that decide about it.
#[derive(Debug)]
pub(super) struct Quarantine {
    on: AtomicBool,
    max_failures: Option<usize>,
    window: Duration,
    record: Mutex<Record>,
    /// How many uses with the same labels are in quarantine.
    gauge: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Record {
    /// The last failures, at most `max_failures`.
    failures: VecDeque<Instant>,
    /// A reload has replaced the use, so the gauge is no longer about it.
    retired: bool,
}

impl Quarantine {
    /// A use that is called.
    pub(super) fn new(limits: &Limits, gauge: Arc<AtomicU64>) -> Self {
        Self {
            on: AtomicBool::new(false),
            max_failures: limits.max_failures.and_then(|most| usize::try_from(most.get()).ok()),
            window: limits.failure_window,
            record: Mutex::default(),
            gauge,
        }
    }

    /// Whether the use is not to be called.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Takes note of a failure; whether it was the one too many.
    #[cold]
    pub(super) fn failed(&self, reason: FailureReason, now: Instant) -> bool {
        let Some(most) = self.max_failures.filter(|_| reason.is_of_the_component()) else { return false };
        let mut record = self.record();
        while record.failures.front().is_some_and(|first| now.saturating_duration_since(*first) > self.window) {
            record.failures.pop_front();
        }
        record.failures.push_back(now);
        if record.failures.len() < most || self.on.swap(true, Ordering::Relaxed) {
            record.failures.truncate(most);
            return false;
        }
        record.failures.clear();
        if !record.retired {
            self.gauge.fetch_add(1, Ordering::Relaxed);
        }
        true
    }

    /// Has the use called again; whether it was not.
    pub(super) fn lift(&self) -> bool {
        let mut record = self.record();
        record.failures.clear();
        let was_on = self.on.swap(false, Ordering::Relaxed);
        if was_on && !record.retired {
            self.gauge.fetch_sub(1, Ordering::Relaxed);
        }
        was_on
    }

    /// Takes the use out of the gauge, because a reload has replaced it; whether it was in quarantine. For connections
    /// that still have it, it stays there.
    pub(super) fn retire(&self) -> bool {
        let mut record = self.record();
        let leaves = self.is_on() && !record.retired;
        record.retired = true;
        if leaves {
            self.gauge.fetch_sub(1, Ordering::Relaxed);
        }
        leaves
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);

    fn quarantine(max_failures: u32) -> (Quarantine, Arc<AtomicU64>) {
        let gauge = Arc::new(AtomicU64::new(0));
        let limits =
            Limits { max_failures: NonZeroU32::new(max_failures), failure_window: WINDOW, ..Limits::default() };
        (Quarantine::new(&limits, Arc::clone(&gauge)), gauge)
    }

    #[test]
    fn as_many_failures_as_allowed_within_the_window_begin_it_once() {
        let (quarantine, gauge) = quarantine(3);
        let start = Instant::now();
        let at = |seconds| quarantine.failed(FailureReason::Trap, start + Duration::from_secs(seconds));
        assert!(!at(0) && !at(50) && !at(61), "the first had left the window");
        assert!(!quarantine.is_on());
        assert!(at(100));
        assert!(quarantine.is_on());
        assert!(!at(101) && !at(102) && !at(103));
        assert_eq!(gauge.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn one_failure_may_be_too_many_already() {
        let (quarantine, _) = quarantine(1);
        assert!(quarantine.failed(FailureReason::Deadline, Instant::now()));
    }

    #[test]
    fn it_is_off_by_default() {
        let quarantine = Quarantine::new(&Limits::default(), Arc::default());
        assert!(!(0..1000).any(|_| quarantine.failed(FailureReason::Trap, Instant::now())));
    }

    #[test]
    fn what_is_not_the_components_fault_does_not_count() {
        let (quarantine, _) = quarantine(1);
        for reason in [FailureReason::MessageSize, FailureReason::IsolatedInstances, FailureReason::Quarantine] {
            assert!(!quarantine.failed(reason, Instant::now()), "{reason:?}");
        }
    }

    #[test]
    fn lifting_it_starts_the_count_anew() {
        let (quarantine, gauge) = quarantine(2);
        let now = Instant::now();
        assert!(!quarantine.lift());
        quarantine.failed(FailureReason::Trap, now);
        assert!(quarantine.failed(FailureReason::Trap, now));
        assert!(quarantine.lift());
        assert!(!quarantine.is_on());
        assert_eq!(gauge.load(Ordering::Relaxed), 0);
        assert!(!quarantine.failed(FailureReason::Trap, now));
        assert!(quarantine.failed(FailureReason::Trap, now));
    }

    #[test]
    fn a_use_that_was_replaced_leaves_the_gauge_and_never_comes_back() {
        let (quarantine, gauge) = quarantine(1);
        quarantine.failed(FailureReason::Trap, Instant::now());
        assert!(quarantine.retire());
        assert!(!quarantine.retire());
        assert!(quarantine.is_on());
        quarantine.lift();
        quarantine.failed(FailureReason::Trap, Instant::now());
        assert_eq!(gauge.load(Ordering::Relaxed), 0);
    }
}
