//! What dealing with a peer's bytes costs, counted where tests and fuzzing want to know whether it grows with their
//! number and no faster.

#[cfg(any(fuzzing, test))]
use std::cell::Cell;

#[cfg(any(fuzzing, test))]
thread_local! {
    static SPENT: Cell<u64> = const { Cell::new(0) };
}

/// Says that this many bytes are copied, cleared or looked at. It is nothing but in tests and fuzzing.
#[inline]
pub fn spend(bytes: usize) {
    #[cfg(any(fuzzing, test))]
    SPENT.set(SPENT.get().saturating_add(bytes as u64));
    #[cfg(not(any(fuzzing, test)))]
    let _ = bytes;
}

/// What this thread has spent in `work`.
#[cfg(any(fuzzing, test))]
pub fn of(work: impl FnOnce()) -> u64 {
    let before = SPENT.get();
    work();
    SPENT.get() - before
}
