//! How long calls of components have kept their thread busy.

use std::cell::Cell;
use std::time::Duration;

/// What calls on this thread had taken at a moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent(Duration);

impl Spent {
    /// Up to now.
    #[inline]
    pub fn so_far() -> Self {
        Self(SPENT.get())
    }

    /// What has come to it since.
    #[inline]
    pub fn since(self) -> Duration {
        SPENT.get().saturating_sub(self.0)
    }
}

/// Takes note of a call.
#[inline]
pub(super) fn add(taken: Duration) {
    SPENT.set(SPENT.get().saturating_add(taken));
}

#[cfg(any(fuzzing, test))]
impl Spent {
    /// Takes note of a call of a function in the place of a component.
    pub fn pretend(taken: Duration) {
        add(taken);
    }
}

thread_local! {
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}
