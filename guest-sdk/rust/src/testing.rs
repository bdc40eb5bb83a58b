//! Stand-ins for the functions that the runtime lends, for a component's own tests on the machine that builds it.
//!
//! Everything here belongs to the current thread, so tests that run side by side do not meet. Both clocks stand still
//! until [`advance`] is called, and random numbers come in the same order in every run.
//!
//! ```
//! use std::time::Duration;
//! use tidegate_guest::{Admission, Filter, Handshake, Message, Refusal, Side, Verdict, clock, log, testing};
//!
//! /// Lets a message pass once a second, and says so when it does not.
//! struct Sparse;
//! # impl<'de> serde::Deserialize<'de> for Sparse {
//! #     fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
//! #         Ok(Self)
//! #     }
//! # }
//!
//! impl Filter for Sparse {
//!     type Session = Option<Duration>;
//!
//!     fn open(&self, _: &Handshake) -> Result<Admission<Self::Session>, Refusal> {
//!         Ok(Admission::of(None))
//!     }
//!
//!     fn on_message(&self, last: &mut Self::Session, _: Message<'_>) -> Verdict {
//!         let now = clock::monotonic();
//!         if last.is_some_and(|last| now - last < Duration::from_secs(1)) {
//!             log::info("too soon");
//!             return Verdict::Drop;
//!         }
//!         *last = Some(now);
//!         Verdict::Forward
//!     }
//! }
//!
//! // In a test of the component's crate:
//! let mut session = Sparse.open(&Handshake::default()).unwrap().session;
//! let hello = Message::text_from(Side::Client, "hello");
//! assert_eq!(Sparse.on_message(&mut session, hello), Verdict::Forward);
//! assert_eq!(Sparse.on_message(&mut session, hello), Verdict::Drop);
//! assert_eq!(testing::take_log(), [(log::Level::Info, "too soon".to_owned())]);
//! testing::advance(Duration::from_secs(1));
//! assert_eq!(Sparse.on_message(&mut session, hello), Verdict::Forward);
//! ```

mod changes;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::Duration;

pub use self::changes::{EndpointChange, EndpointChanges};
use crate::host::log::Level;

thread_local! {
    static MONOTONIC: Cell<Duration> = const { Cell::new(Duration::from_secs(1_000)) };
    static WALL: Cell<Duration> = const { Cell::new(Duration::from_secs(1_700_000_000)) };
    static RANDOM: Cell<u64> = const { Cell::new(0) };
    static ACTIVE: RefCell<BTreeMap<u32, u32>> = const { RefCell::new(BTreeMap::new()) };
    static PICKED: RefCell<BTreeMap<u32, u64>> = const { RefCell::new(BTreeMap::new()) };
    static TIMERS: RefCell<Vec<(Duration, u64)>> = const { RefCell::new(Vec::new()) };
    static ATTRIBUTES: RefCell<BTreeMap<String, String>> = const { RefCell::new(BTreeMap::new()) };
    static LEASE: Cell<Option<Duration>> = const { Cell::new(None) };
    static LOG: RefCell<Vec<(Level, String)>> = const { RefCell::new(Vec::new()) };
}

/// Moves both clocks on.
pub fn advance(by: Duration) {
    MONOTONIC.set(MONOTONIC.get() + by);
    WALL.set(WALL.get() + by);
}

/// Sets the wall clock, as the time since 1970-01-01T00:00:00Z. It starts at 1,700,000,000 seconds.
pub fn set_wall(time: Duration) {
    WALL.set(time);
}

/// Starts the random numbers over, from another place for another seed.
pub fn seed(seed: u64) {
    RANDOM.set(seed);
}

/// Sets the live connections that `endpoint_stats::active` answers for an endpoint.
pub fn set_active(id: u32, connections: u32) {
    ACTIVE.with_borrow_mut(|active| active.insert(id, connections));
}

/// Sets what `endpoint_stats::picked` answers for an endpoint. The runtime counts after each pick; here the test does.
pub fn set_picked(id: u32, times: u64) {
    PICKED.with_borrow_mut(|picked| picked.insert(id, times));
}

/// The token of the first timer whose time has come, which waits no more. The runtime calls
/// [`Filter::on_timer`](crate::Filter::on_timer) with it; here the test does. All sessions of a test have their timers in
/// common.
pub fn due_timer() -> Option<u64> {
    TIMERS.with_borrow_mut(|timers| {
        let first = timers.iter().enumerate().min_by_key(|(_, (at, _))| *at)?;
        let (place, (at, token)) = (first.0, *first.1);
        (at <= MONOTONIC.get()).then(|| timers.swap_remove(place)).map(|_| token)
    })
}

/// The attributes that were set by `connection::set_attribute`.
pub fn attributes() -> BTreeMap<String, String> {
    ATTRIBUTES.with_borrow(Clone::clone)
}

/// What the lease was last renewed to, by `connection::renew_lease`.
pub fn lease() -> Option<Duration> {
    LEASE.get()
}

/// Takes the lines that were logged since the last call.
pub fn take_log() -> Vec<(Level, String)> {
    LOG.take()
}

pub(crate) fn monotonic() -> Duration {
    MONOTONIC.get()
}

pub(crate) fn wall() -> Duration {
    WALL.get()
}

pub(crate) fn active(id: u32) -> u32 {
    ACTIVE.with_borrow(|active| active.get(&id).copied().unwrap_or(0))
}

pub(crate) fn picked(id: u32) -> u64 {
    PICKED.with_borrow(|picked| picked.get(&id).copied().unwrap_or(0))
}

pub(crate) fn set_timer(token: u64, after: Option<Duration>) {
    TIMERS.with_borrow_mut(|timers| {
        timers.retain(|(_, known)| *known != token);
        timers.extend(after.map(|after| (MONOTONIC.get() + after, token)));
    });
}

pub(crate) fn set_attribute(name: &str, value: &str) {
    ATTRIBUTES.with_borrow_mut(|attributes| attributes.insert(name.to_owned(), value.to_owned()));
}

pub(crate) fn set_lease(time: Duration) {
    LEASE.set(Some(time));
}

pub(crate) fn record(level: Level, text: &str) {
    LOG.with_borrow_mut(|log| log.push((level, text.to_owned())));
}

pub(crate) fn random() -> u64 {
    let mut state = RANDOM.get();
    let number = split_mix(&mut state);
    RANDOM.set(state);
    number
}

/// SplitMix64, whose state is a counter: any seed is as good as any other.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock, log, random};

    #[test]
    fn time_stands_still_until_it_is_advanced() {
        let before = clock::monotonic();
        assert_eq!(clock::monotonic(), before);
        advance(Duration::from_millis(5));
        assert_eq!(clock::monotonic(), before + Duration::from_millis(5));
    }

    #[test]
    fn random_numbers_repeat_and_stay_below_their_bound() {
        seed(7);
        let first: Vec<_> = (0..1_000).map(|_| random::below(3)).collect();
        seed(7);
        let second: Vec<_> = (0..1_000).map(|_| random::below(3)).collect();
        assert_eq!(first, second);
        assert!((0..3).all(|number| first.iter().filter(|&&drawn| drawn == number).count() > 250));
        assert_eq!(random::below(0), 0);
    }

    #[test]
    fn a_timer_is_due_once_its_time_has_come_and_the_last_word_about_its_token_counts() {
        use crate::timer;
        timer::after(Duration::from_millis(30), 3);
        timer::after(Duration::from_micros(9_001), 1);
        timer::after(Duration::from_millis(20), 2);
        timer::after(Duration::from_millis(40), 2);
        timer::cancel(3);
        advance(Duration::from_millis(9));
        assert_eq!(due_timer(), None);
        advance(Duration::from_millis(31));
        assert_eq!([due_timer(), due_timer(), due_timer()], [Some(1), Some(2), None]);
    }

    #[test]
    fn a_logged_line_is_kept_for_the_test_to_see() {
        log::warn("low tide");
        assert_eq!(take_log(), [(Level::Warn, "low tide".to_owned())]);
    }
}
