//! Nanoseconds of `CLOCK_MONOTONIC`, the clock that timers of the kernel use too, so that a due time can be handed to
//! one as it is. No wall clock is read anywhere in this crate.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds since some fixed moment before the process started.
///
/// A kernel without a monotonic clock reads as zero; Linux always has one.
pub fn now() -> u64 {
    match clock_gettime(ClockId::CLOCK_MONOTONIC) {
        Ok(time) => u64::try_from(time.tv_sec()).unwrap_or(0) * SECOND + u64::try_from(time.tv_nsec()).unwrap_or(0),
        Err(_) => 0,
    }
}

/// Nanoseconds in a second.
pub const SECOND: u64 = 1_000_000_000;

/// Seconds as nanoseconds; negative numbers are zero.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "float casts saturate")]
pub fn seconds(seconds: f64) -> u64 {
    (seconds * SECOND as f64) as u64
}
