//! One order of everything that decides who serves: uses that are made, and decisions about candidates.

use std::sync::atomic::{AtomicU64, Ordering};

/// A point in that order. A later one is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(u64);

impl Moment {
    /// A moment of its own, later than all before it.
    pub fn now() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// A number that no other moment has.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The moment of that number.
    pub fn of(number: u64) -> Self {
        Self(number)
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);
