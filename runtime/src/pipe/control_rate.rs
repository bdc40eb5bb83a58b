//! How many control frames one peer may send in a second. Nothing else bounds them: no filter sees them, and they cost
//! their receiver an answer.

use std::num::NonZeroU32;
use std::time::Duration;

use tokio::time::Instant;

use crate::ws::Violation;

/// As many control frames as a second may bring, at once or one after the other.
#[derive(Debug, Default)]
pub(super) struct ControlRate {
    /// When all of them may come at once again. Boxed, because most peers never send any.
    whole_at: Option<Box<Instant>>,
}

impl ControlRate {
    /// Takes note of a control frame that comes now; there is no limit for `None`.
    ///
    /// # Errors
    /// When it is one too many.
    pub(super) fn count(&mut self, limit: Option<NonZeroU32>) -> Result<(), Violation> {
        let Some(limit) = limit else { return Ok(()) };
        let now = Instant::now();
        let whole_at = self.whole_at.get_or_insert_with(|| Box::new(now));
        let after = (**whole_at).max(now) + SECOND / limit.get();
        if after.duration_since(now) > SECOND {
            return Err(Violation::ControlFrames { limit: limit.get() });
        }
        **whole_at = after;
        Ok(())
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn as_many_come_at_once_as_a_second_may_bring_and_then_one_after_the_other() {
        let (mut rate, limit) = (ControlRate::default(), NonZeroU32::new(10));
        for _ in 0..10 {
            rate.count(limit).unwrap();
        }
        advance(SECOND / 10).await;
        rate.count(limit).unwrap();
        assert_eq!(rate.count(limit), Err(Violation::ControlFrames { limit: 10 }));
        advance(SECOND).await;
        for _ in 0..10 {
            rate.count(limit).unwrap();
        }
        assert_eq!(rate.count(limit), Err(Violation::ControlFrames { limit: 10 }));
    }
}
