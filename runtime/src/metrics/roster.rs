//! Whoever is counted, by name: found again under the same name for as long as somebody holds the counts, and shown for one
//! more scrape after that, so that what was counted last is not lost.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts that may be left.
pub(super) trait Counts {
    /// Whether nothing was counted so far.
    fn is_blank(&self) -> bool;
}

/// Counts of one kind by name.
#[derive(Debug)]
pub(super) struct Roster<K, V>(Mutex<BTreeMap<K, Entry<V>>>);

#[derive(Debug)]
struct Entry<V> {
    counts: Arc<V>,
    /// How many reloads have found that nobody holds it.
    left: u8,
    /// Whether a scrape has shown it since then.
    shown: bool,
}

/// All that a roster held at one moment.
pub(super) type Present<K, V> = Arc<[(K, Arc<V>)]>;

impl<K, V> Default for Roster<K, V> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord + Clone, V: Counts> Roster<K, V> {
    /// The counts of this name, new ones if there are none.
    pub(super) fn of(&self, name: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = entries.entry(name).or_insert_with(|| Entry::new(Arc::new(make())));
        Arc::clone(&entry.counts)
    }

    /// A roster of its own that finds the same counts.
    pub(super) fn draft(&self) -> Self {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = entries.iter().map(|(name, entry)| (name.clone(), Entry::new(Arc::clone(&entry.counts))));
        Self(Mutex::new(entries.collect()))
    }

    /// Takes in what is new in a draft of this one, which is over with it. What nobody holds, and no scrape asks for, is
    /// forgotten in time.
    pub(super) fn adopt(&self, draft: &Self) {
        let draft = std::mem::take(&mut *draft.0.lock().unwrap_or_else(PoisonError::into_inner));
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, entry) in draft {
            entries.entry(name).or_insert(entry);
        }
        entries.retain(|_, entry| {
            if entry.is_held() {
                entry.left = 0;
                return true;
            }
            entry.left += 1;
            entry.left <= MAX_LEFT && !entry.counts.is_blank()
        });
    }

    /// All of them, for a scrape, so that no lock is held while its text is made. What nobody holds is among them once
    /// more, if anything was counted there, and then no longer.
    pub(super) fn present(&self) -> Present<K, V> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|_, entry| {
            let is_held = entry.is_held();
            let stays = is_held || !(entry.shown || entry.counts.is_blank());
            entry.shown = !is_held;
            stays
        });
        entries.iter().map(|(name, entry)| (name.clone(), Arc::clone(&entry.counts))).collect()
    }
}

impl<V> Entry<V> {
    fn new(counts: Arc<V>) -> Self {
        Self { counts, left: 0, shown: false }
    }

    /// Whether somebody may still count here, or a scrape is showing it.
    fn is_held(&self) -> bool {
        Arc::strong_count(&self.counts) > 1
    }
}

/// So many reloads may follow each other without a scrape between them before the last counts of what they have removed
/// are forgotten unseen.
const MAX_LEFT: u8 = 8;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    type Counters = Roster<String, AtomicU64>;

    fn of(counters: &Counters, name: &str) -> Arc<AtomicU64> {
        counters.of(name.to_owned(), AtomicU64::default)
    }

    fn shown(counters: &Counters) -> Vec<String> {
        counters.present().iter().map(|(name, _)| name.clone()).collect()
    }

    #[test]
    fn counts_are_found_again_while_somebody_holds_them() {
        let counters = Counters::default();
        let held = of(&counters, "a");
        for _ in 0..3 {
            assert_eq!(shown(&counters), ["a"]);
            assert!(Arc::ptr_eq(&held, &of(&counters, "a")));
        }
    }

    #[test]
    fn what_was_counted_last_is_shown_once_more_after_all_have_left() {
        let counters = Counters::default();
        let held = of(&counters, "a");
        shown(&counters);
        held.store(7, Ordering::Relaxed);
        drop(held);
        assert_eq!(shown(&counters), ["a"]);
        assert_eq!(shown(&counters), [""; 0]);
    }

    #[test]
    fn what_was_never_counted_goes_with_the_last_who_holds_it() {
        let counters = Counters::default();
        drop(of(&counters, "a"));
        assert_eq!(shown(&counters), [""; 0]);
    }

    #[test]
    fn who_comes_back_before_the_counts_are_gone_goes_on_where_they_were() {
        let counters = Counters::default();
        of(&counters, "a").store(7, Ordering::Relaxed);
        let draft = counters.draft();
        let again = of(&draft, "a");
        assert_eq!(shown(&counters), ["a"]);
        counters.adopt(&draft);
        drop(draft);
        for _ in 0..3 {
            assert_eq!(shown(&counters), ["a"]);
        }
        assert_eq!(again.load(Ordering::Relaxed), 7);
    }

    #[test]
    fn a_draft_that_is_not_adopted_leaves_nothing() {
        let counters = Counters::default();
        let draft = counters.draft();
        let held = of(&draft, "a");
        held.store(1, Ordering::Relaxed);
        drop(draft);
        assert_eq!(shown(&counters), [""; 0]);
    }

    #[test]
    fn reloads_that_nobody_scrapes_between_do_not_pile_names_up() {
        let counters = Counters::default();
        for reload in 0..1_000 {
            let draft = counters.draft();
            of(&draft, &format!("route-{reload}")).store(1, Ordering::Relaxed);
            counters.adopt(&draft);
        }
        let left = shown(&counters).len();
        assert!(left <= usize::from(MAX_LEFT) + 1, "{left} names");
    }
}
