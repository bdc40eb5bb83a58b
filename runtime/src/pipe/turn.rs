//! How long the calls of one connection may keep its worker before others have their turn. A call cannot be broken off
//! but by its deadline, so a turn ends between calls: after those about messages that are decided about in one go.

use std::time::Duration;

use crate::component::{MAX_BATCH, Spent};

/// The turn of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Turn(Spent);

impl Turn {
    /// One that begins now.
    #[inline]
    pub(super) fn begin() -> Self {
        Self(Spent::so_far())
    }

    /// Whether others have their turn before the next call.
    #[inline]
    pub(super) fn is_over(self) -> bool {
        self.0.since() >= LONGEST
    }
}

/// How many messages of a direction are decided about in one go: as many as fit into a turn, going by the last ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace(u8);

impl Default for Pace {
    fn default() -> Self {
        Self(FIRST)
    }
}

impl Pace {
    /// So many.
    #[inline]
    pub(super) fn most(self) -> usize {
        self.0.into()
    }

    /// Takes note of how long the calls about so many have taken.
    #[inline]
    pub(super) fn took(&mut self, count: usize, taken: Duration) {
        let more = (self.most() * 2).min(MAX_BATCH);
        let fitting = LONGEST.as_nanos() * count as u128 / taken.as_nanos().max(1);
        let most = usize::try_from(fitting).unwrap_or(more).clamp(1, more);
        self.0 = u8::try_from(most).unwrap_or(u8::MAX);
    }
}

/// What a call may take by default: the others then wait for no more than two.
const LONGEST: Duration = Duration::from_millis(10);

/// Before anything is known of the calls that a connection brings.
const FIRST: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_decided_about_as_fit_into_a_turn_and_at_least_one() {
        let mut pace = Pace::default();
        let mut after = |milliseconds_each: u32| {
            let count = pace.most();
            pace.took(count, Duration::from_millis(milliseconds_each.into()) * u32::try_from(count).unwrap());
            pace.most()
        };
        assert_eq!([0, 0, 0, 0].map(&mut after), [16, 32, 64, 64]);
        assert_eq!([1, 10, 100, 5, 5].map(&mut after), [10, 1, 1, 2, 2]);
    }
}
