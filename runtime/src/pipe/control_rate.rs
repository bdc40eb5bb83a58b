//! How many control frames one peer may send in a second. Nothing else bounds them: no filter sees them, and they cost
//! their receiver an answer.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::ws::Violation;

/// As many control frames as a second may bring, at once or one after the other; and as many more as may have come while
/// nothing was read.
#[derive(Debug, Default)]
pub(super) struct ControlRate {
    /// Boxed, because most peers never send any.
    known: Option<Box<Known>>,
}

#[derive(Debug)]
struct Known {
    /// When all of a second may come at once again.
    whole_at: Instant,
    /// Since when nothing is read.
    unread_since: Option<Instant>,
    /// The time in which nothing was read, as far as what has come in it may still be unread and is not counted.
    unread: Duration,
}

impl ControlRate {
    /// Takes note of a control frame that comes now; there is no limit for `None`.
    ///
    /// # Errors
    /// When it is one too many.
    pub(super) fn count(&mut self, limit: Option<NonZeroU32>) -> Result<(), Violation> {
        let Some(limit) = limit else { return Ok(()) };
        let now = Instant::now();
        let known = self.known_at(now);
        let after = known.whole_at.max(now) + SECOND / limit.get();
        let beyond = after.duration_since(now).saturating_sub(SECOND);
        let Some(unread) = known.unread.checked_sub(beyond) else {
            return Err(Violation::ControlFrames { limit: limit.get() });
        };
        (known.unread, known.whole_at) = (unread, after - beyond);
        Ok(())
    }

    /// Says that nothing is read from now on: what comes is counted later than it comes.
    pub(super) fn pause(&mut self) {
        if self.known.as_ref().is_none_or(|known| known.unread_since.is_none()) {
            let now = Instant::now();
            self.known_at(now).unread_since = Some(now);
        }
    }

    /// Says that it is read again.
    #[inline]
    pub(super) fn resume(&mut self) {
        if let Some(known) = &mut self.known
            && let Some(since) = known.unread_since.take()
        {
            known.unread = (known.unread + since.elapsed()).min(MOST_UNREAD);
        }
    }

    /// Says that all was read that has come.
    #[inline]
    pub(super) fn has_all(&mut self) {
        if let Some(known) = &mut self.known {
            known.unread = Duration::ZERO;
        }
    }

    fn known_at(&mut self, now: Instant) -> &mut Known {
        self.known.get_or_insert_with(|| Box::new(Known { whole_at: now, unread_since: None, unread: Duration::ZERO }))
    }
}

/// A peer whose bytes never run out has no more than this to its credit, however long it was not read for.
const MOST_UNREAD: Duration = Duration::from_secs(600);
const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const LIMIT: Option<NonZeroU32> = NonZeroU32::new(10);

    /// Demands that so many may come now, and no more.
    fn admits(rate: &mut ControlRate, count: usize) {
        for _ in 0..count {
            rate.count(LIMIT).unwrap();
        }
        assert_eq!(rate.count(LIMIT), Err(Violation::ControlFrames { limit: 10 }));
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_come_at_once_as_a_second_may_bring_and_then_one_after_the_other() {
        let mut rate = ControlRate::default();
        for _ in 0..10 {
            rate.count(LIMIT).unwrap();
        }
        advance(SECOND / 10).await;
        admits(&mut rate, 1);
        advance(SECOND).await;
        admits(&mut rate, 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_come_while_nothing_was_read_is_counted_over_that_time_and_only_until_all_was_read() {
        let mut rate = ControlRate::default();
        rate.pause();
        advance(3 * SECOND).await;
        rate.pause();
        rate.resume();
        admits(&mut rate, 40);
        rate.pause();
        advance(3 * SECOND).await;
        rate.resume();
        rate.has_all();
        admits(&mut rate, 10);
    }
}
