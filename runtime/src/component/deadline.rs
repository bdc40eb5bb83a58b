//! The end of a guest's patience: a call has its deadline's worth of processor time, not of time on the wall.
//!
//! On a busy machine a worker can be kept from the processor for longer than a deadline, and a guest is not to blame for
//! that. Asking for processor time costs a system call, so a call is not asked at its start but when half of its
//! deadline has gone by on the wall, which well-behaved calls never see; the other half is processor time.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use wasmtime::{Trap, UpdateDeadline};

use super::ticker::TICK;

/// The deadline of the call under way.
#[derive(Debug, Default)]
pub(super) struct Deadline {
    /// Ticks of processor time, once half of the deadline is over.
    rest: u64,
    /// The thread's processor time at half of the deadline.
    halfway: Option<Duration>,
}

impl Deadline {
    /// Sets the deadline of the next call; gives the ticks after which [`Deadline::over`] is to be asked.
    #[inline]
    pub(super) fn set(&mut self, ticks: u64) -> u64 {
        let first = ticks.div_ceil(2);
        *self = Self { rest: (ticks - first).max(1), halfway: None };
        first
    }

    /// Whether the call's time is over, and if not, when to ask again. For a worker thread while it runs the guest.
    pub(super) fn over(&mut self) -> wasmtime::Result<UpdateDeadline> {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
        self.over_at(Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), nanos))
    }

    fn over_at(&mut self, now: Duration) -> wasmtime::Result<UpdateDeadline> {
        let Some(halfway) = self.halfway else {
            self.halfway = Some(now);
            return Ok(UpdateDeadline::Continue(self.rest));
        };
        // The first tick may have come at once.
        let used = now.saturating_sub(halfway) + TICK;
        let rest = TICK.saturating_mul(u32::try_from(self.rest).unwrap_or(u32::MAX));
        match rest.checked_sub(used).filter(|left| !left.is_zero()) {
            None => Err(Trap::Interrupt.into()),
            Some(left) => {
                let ticks = left.as_nanos().div_ceil(TICK.as_nanos());
                Ok(UpdateDeadline::Continue(u64::try_from(ticks).unwrap_or(u64::MAX / 2)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ticks that a call gets when it is asked at these processor times; `None`: its time is over.
    fn asked(deadline: &mut Deadline, milliseconds: u64) -> Option<u64> {
        match deadline.over_at(Duration::from_millis(milliseconds)) {
            Ok(UpdateDeadline::Continue(ticks)) => Some(ticks),
            Ok(_) => panic!("another update"),
            Err(error) => {
                assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::Interrupt));
                None
            }
        }
    }

    #[test]
    fn a_guest_that_has_the_processor_to_itself_ends_at_its_deadline() {
        let mut deadline = Deadline::default();
        assert_eq!(deadline.set(11), 6);
        assert_eq!(asked(&mut deadline, 1000), Some(5));
        assert_eq!(asked(&mut deadline, 1005), None);
    }

    #[test]
    fn a_guest_that_was_kept_from_the_processor_gets_the_rest_of_its_time() {
        let mut deadline = Deadline::default();
        deadline.set(11);
        asked(&mut deadline, 1000);
        assert_eq!(asked(&mut deadline, 1001), Some(3));
        assert_eq!(asked(&mut deadline, 1002), Some(2));
        assert_eq!(asked(&mut deadline, 1004), None);
    }

    #[test]
    fn a_new_call_starts_over() {
        let mut deadline = Deadline::default();
        deadline.set(2);
        asked(&mut deadline, 0);
        assert_eq!(asked(&mut deadline, 2), None);
        assert_eq!(deadline.set(2), 1);
        assert_eq!(asked(&mut deadline, 3), Some(1));
    }
}
