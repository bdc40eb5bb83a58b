//! The end of a guest's patience: the deadline of a call, of which the second half is processor time.
//!
//! The epoch is only a poke: whenever it moves on while a guest runs, the clocks say whether the call's time is over. On
//! a busy machine a worker can be kept from the processor for longer than a deadline, and a guest is not to blame for
//! that. Asking for processor time costs a system call, so it is first asked for when half of the deadline has gone by
//! on the wall, which well-behaved calls never see.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;
use wasmtime::{Trap, UpdateDeadline};

/// The deadline of the call under way.
#[derive(Debug)]
pub(super) struct Deadline {
    started: Instant,
    limit: Duration,
    /// What is left at the first look after half of the time, and the thread's processor time then.
    rest: Option<Rest>,
}

#[derive(Debug)]
struct Rest {
    left: Duration,
    from: Duration,
}

impl Deadline {
    /// The deadline of a call that starts now.
    #[inline]
    pub(super) fn of(started: Instant, limit: Duration) -> Self {
        Self { started, limit, rest: None }
    }

    /// Ends the call if its time is over, or asks to be asked again when the epoch moves on. For a worker thread while
    /// it runs the guest.
    pub(super) fn look(&mut self) -> wasmtime::Result<UpdateDeadline> {
        if self.is_over(self.started.elapsed(), processor_time) {
            return Err(Trap::Interrupt.into());
        }
        Ok(UpdateDeadline::Continue(1))
    }

    fn is_over(&mut self, elapsed: Duration, processor_time: impl Fn() -> Duration) -> bool {
        match &self.rest {
            None if elapsed < self.limit / 2 => false,
            None => {
                // Seen late, as after a long wait for the processor, a call still gets a moment.
                let left = self.limit.saturating_sub(elapsed).max(self.limit / 4);
                self.rest = Some(Rest { left, from: processor_time() });
                false
            }
            Some(Rest { left, from }) => processor_time().saturating_sub(*from) >= *left,
        }
    }
}

/// The processor time of the calling thread.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn deadline() -> Deadline {
        Deadline::of(Instant::now(), ms(10))
    }

    #[test]
    fn a_guest_that_has_the_processor_to_itself_ends_at_its_deadline() {
        let mut deadline = deadline();
        let looks: Vec<u64> = (1..20).filter(|now| deadline.is_over(ms(*now), || ms(1000 + now))).collect();
        assert_eq!(looks.first(), Some(&10));
    }

    #[test]
    fn a_guest_that_was_kept_from_the_processor_gets_the_rest_of_its_time() {
        let mut deadline = deadline();
        assert!(!deadline.is_over(ms(5), || ms(3)));
        assert!(!deadline.is_over(ms(500), || ms(7)));
        assert!(deadline.is_over(ms(501), || ms(8)));
    }

    #[test]
    fn a_guest_that_is_looked_at_late_gets_a_moment() {
        let mut deadline = deadline();
        assert!(!deadline.is_over(ms(500), || ms(1)));
        assert!(!deadline.is_over(ms(600), || ms(3)));
        assert!(deadline.is_over(ms(601), || ms(4)));
    }
}
