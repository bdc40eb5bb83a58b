//! What is decided about a candidate: by operators, or by its failures.
//!
//! A candidate that a reload replaces has its decisions in common with its successor. So a decision is about what is in
//! force and about what a reload under way is to put in force, whichever of the two comes first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::component::Moment;

/// What an operator has decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The candidate takes the filter's place.
    Promoted,
    /// The filter has its place again.
    RolledBack,
}

/// The decisions that hold for one version of a candidate.
#[derive(Clone, Debug)]
pub struct Decisions {
    about: Arc<About>,
    /// Decisions before are about former versions only.
    since: Moment,
}

/// Of all versions of a candidate.
#[derive(Debug, Default)]
struct About {
    /// The number of the last decision's moment, and in the lowest bit which one it was; zero: there was none.
    last: AtomicU64,
    /// The number of the moment in which who serves has changed last.
    changed: AtomicU64,
}

impl Decisions {
    /// Those about a candidate that has no former version.
    pub fn none() -> Self {
        Self { about: Arc::default(), since: Moment::default() }
    }

    /// Those that hold for the next version, which a reload brings that began at that moment: what is decided since then,
    /// and, where the next version `goes_on` in the place that this one was given, that promotion.
    #[must_use]
    pub(super) fn passed_on(&self, begun: Moment, goes_on: bool) -> Self {
        let since = match self.last() {
            Some((moment, Decision::Promoted)) if goes_on => moment.min(begun),
            _ => begun,
        };
        Self { about: Arc::clone(&self.about), since }
    }

    /// The last decision that holds.
    #[inline]
    pub(super) fn decided(&self) -> Option<Decision> {
        self.last().map(|(_, decision)| decision)
    }

    /// Takes a decision, which holds for this version and all later ones so far.
    pub(super) fn decide(&self, decision: Decision) {
        let moment = Moment::now();
        let last = moment.number() << 1 | u64::from(decision == Decision::Promoted);
        self.about.last.fetch_max(last, Ordering::Relaxed);
        self.note(moment);
    }

    /// Says that this version has failed too often, which changes who serves.
    pub(super) fn failed(&self) {
        self.note(Moment::now());
    }

    /// When it was last decided who serves, by whatever.
    pub(super) fn changed(&self) -> Moment {
        Moment::of(self.about.changed.load(Ordering::Relaxed))
    }

    fn note(&self, moment: Moment) {
        self.about.changed.fetch_max(moment.number(), Ordering::Relaxed);
    }

    #[inline]
    fn last(&self) -> Option<(Moment, Decision)> {
        let last = self.about.last.load(Ordering::Relaxed);
        let (moment, is_promoted) = (Moment::of(last >> 1), last & 1 == 1);
        let decision = if is_promoted { Decision::Promoted } else { Decision::RolledBack };
        (last > 0 && moment >= self.since).then_some((moment, decision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_during_a_reload_holds_for_both_versions() {
        for decision in [Decision::Promoted, Decision::RolledBack] {
            for goes_on in [false, true] {
                let former = Decisions::none();
                let begun = Moment::now();
                let (early, late) = (former.passed_on(begun, goes_on), former.clone());
                late.decide(decision);
                let late = late.passed_on(begun, goes_on);
                assert_eq!([&former, &early, &late].map(Decisions::decided), [Some(decision); 3]);
            }
        }
    }

    #[test]
    fn of_what_was_decided_before_a_reload_only_a_promotion_is_passed_on() {
        let next = |decision, goes_on| {
            let former = Decisions::none();
            former.decide(decision);
            former.passed_on(Moment::now(), goes_on).decided()
        };
        assert_eq!(next(Decision::Promoted, true), Some(Decision::Promoted));
        assert_eq!(next(Decision::Promoted, false), None);
        assert_eq!(next(Decision::RolledBack, true), None);
    }

    #[test]
    fn what_did_not_hold_for_a_version_does_not_hold_for_the_one_after_it() {
        let first = Decisions::none();
        first.decide(Decision::Promoted);
        let second = first.passed_on(Moment::now(), false);
        assert_eq!(second.passed_on(Moment::now(), true).decided(), None);
    }

    #[test]
    fn a_promotion_outlives_any_number_of_versions_until_it_is_taken_back() {
        let mut version = Decisions::none();
        version.decide(Decision::Promoted);
        for _ in 0..3 {
            version = version.passed_on(Moment::now(), true);
            assert_eq!(version.decided(), Some(Decision::Promoted));
        }
        version.decide(Decision::RolledBack);
        assert_eq!(version.decided(), Some(Decision::RolledBack));
    }

    #[test]
    fn every_decision_is_a_change_of_its_own() {
        let decisions = Decisions::none();
        let before = decisions.changed();
        decisions.decide(Decision::Promoted);
        let first = decisions.changed();
        decisions.decide(Decision::Promoted);
        let second = decisions.changed();
        decisions.failed();
        assert!(before < first && first < second && second < decisions.changed());
    }
}
