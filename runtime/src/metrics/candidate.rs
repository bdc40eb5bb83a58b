//! What is counted for a candidate.

use super::cells::Counter;
use super::labels::ShadowOutcome;
use super::registry::are_blank;
use super::roster::Counts;

/// What one thread counted for a candidate on a route.
#[derive(Debug, Default)]
pub struct CandidateShard {
    /// `candidate_decisions_total`, by [`ShadowOutcome`].
    pub decisions: [Counter; ShadowOutcome::COUNT],
    /// `candidate_rollbacks_total`.
    pub rollbacks: Counter,
}

impl Counts for CandidateShard {
    fn is_blank(&self) -> bool {
        are_blank(&self.decisions) && self.rollbacks.value() == 0
    }
}

impl CandidateShard {
    /// Counts what came of comparing verdicts.
    #[expect(clippy::indexing_slicing, reason = "sized by the enum that indexes it")]
    pub fn decided(&self, outcome: ShadowOutcome, count: u64) {
        self.decisions[outcome as usize].add(count);
    }
}
