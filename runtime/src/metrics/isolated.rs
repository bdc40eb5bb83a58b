//! The instances that serve one connection each, which all threads take from one stock.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::labels::InstanceHolder;

/// `isolated_instances`: how many there may be, by who has them. Any thread may write.
#[derive(Debug, Default)]
pub struct IsolatedInstances([AtomicUsize; InstanceHolder::COUNT]);

#[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
impl IsolatedInstances {
    /// How many a holder has.
    pub fn of(&self, holder: InstanceHolder) -> usize {
        self.0[holder as usize].load(Ordering::Relaxed)
    }

    /// Counts instances that a holder has got.
    pub fn add(&self, holder: InstanceHolder, count: usize) {
        self.0[holder as usize].fetch_add(count, Ordering::Relaxed);
    }

    /// Counts instances that a holder has given back.
    pub fn sub(&self, holder: InstanceHolder, count: usize) {
        self.0[holder as usize].fetch_sub(count, Ordering::Relaxed);
    }

    /// Gives a holder one that is free, unless no more than `left` are; whether it got it.
    pub fn take(&self, holder: InstanceHolder, left: usize) -> bool {
        let free = &self.0[InstanceHolder::Free as usize];
        let one_less = |free: usize| if free > left { free.checked_sub(1) } else { None };
        let is_taken = free.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok();
        if is_taken {
            self.add(holder, 1);
        }
        is_taken
    }
}
