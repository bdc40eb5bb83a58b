//! Who was admitted a moment ago.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use tokio::time::Instant;

use super::question::Key;

/// The fields of an answer that go on.
pub(super) type Copied = Arc<[(HeaderName, HeaderValue)]>;

/// Admissions that are remembered for a while, of all workers.
#[derive(Debug)]
pub(super) struct Remembered {
    lasts: Duration,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    admitted: HashMap<Key, (Instant, Copied)>,
    /// When looking for what is over may find something again.
    next_sweep: Option<Instant>,
}

impl Remembered {
    pub(super) fn new(lasts: Duration) -> Self {
        Self { lasts, known: Mutex::default() }
    }

    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<Copied> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.admitted.get(key).filter(|(until, _)| now < *until).map(|(_, copied)| copied.clone())
    }

    /// Remembers one; not where too many are remembered already.
    pub(super) fn keep(&self, key: Key, copied: &Copied, now: Instant) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { admitted, next_sweep } = &mut *known;
        if admitted.len() >= MOST && next_sweep.is_none_or(|next| next <= now) {
            admitted.retain(|_, (until, _)| now < *until);
            *next_sweep = Some(now + SWEEP);
        }
        if admitted.len() < MOST || admitted.contains_key(&key) {
            admitted.insert(key, (now + self.lasts, copied.clone()));
        }
    }
}

/// Some 10 MiB with what most answers have.
const MOST: usize = 65_536;
/// A sweep of them all takes a millisecond.
const SWEEP: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admission_is_remembered_for_its_time_and_no_more_than_so_many_are() {
        let (remembered, now) = (Remembered::new(Duration::from_secs(10)), Instant::now());
        let key = |number: u32| {
            let mut key = Key::default();
            key[..4].copy_from_slice(&number.to_be_bytes());
            key
        };
        let copied: Copied = Arc::new([]);
        for number in 0..=u32::try_from(MOST).unwrap() {
            remembered.keep(key(number), &copied, now);
        }
        assert!(remembered.find(&key(0), now + Duration::from_secs(9)).is_some());
        assert!(remembered.find(&key(u32::try_from(MOST).unwrap()), now).is_none());
        let later = now + Duration::from_secs(10);
        assert!(remembered.find(&key(0), later).is_none());
        // Those that are over make room.
        remembered.keep(key(1_000_000), &copied, later);
        assert!(remembered.find(&key(1_000_000), later).is_some());
        assert_eq!(remembered.known.lock().unwrap().admitted.len(), 1);
    }
}
