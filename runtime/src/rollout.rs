//! Rolling a filter out: the one that is in a place of a route's chain, and the candidate that may come to take it.
//!
//! This is policy about versions of a component. What runs them is [`component`](crate::component): it knows of a candidate
//! only that it serves on probation.
//!
//! Which of them serves a connection is decided when it opens, and again whenever its filters change: by the candidate's
//! share until its trial is over, and then for all connections alike.

mod decision;
mod shadow;
mod trial;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

pub use decision::Decisions;
pub use shadow::{Attached, Shadow};
pub use trial::{Candidacy, Mode, Sample, SampledMessage, Standing, Terms};

use decision::Decision;
use trial::Trial;

use crate::component::{Component, Configuration, ConfigureError, FilterUse, Moment, OnFailure, Probation, Session};
use crate::metrics::{Metrics, ShadowOutcome};

/// A place in a route's chain of filters. Cheap to clone; all clones are the same place.
#[derive(Clone, Debug)]
pub struct Rollout {
    filter: Arc<FilterUse>,
    candidate: Option<Candidate>,
}

/// A filter on trial. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct Candidate {
    filter: Arc<FilterUse>,
    trial: Arc<Trial>,
}

impl Rollout {
    /// A place for this filter, for which this candidate is tried.
    pub fn new(filter: Arc<FilterUse>, candidate: Option<Candidate>) -> Self {
        Self { filter, candidate }
    }

    /// The filter as the configuration names it.
    pub fn filter(&self) -> &Arc<FilterUse> {
        &self.filter
    }

    /// The candidate.
    pub fn candidate(&self) -> Option<&Candidate> {
        self.candidate.as_ref()
    }

    /// Whether both are the very same.
    pub fn is(&self, other: &Self) -> bool {
        let candidate = |it: &Self| it.candidate.as_ref().map(|candidate| candidate.filter.id());
        Arc::ptr_eq(&self.filter, &other.filter) && candidate(self) == candidate(other)
    }

    /// The filter, and the candidate if there is one.
    pub fn all(&self) -> impl Iterator<Item = &Arc<FilterUse>> {
        [&self.filter].into_iter().chain(self.candidate.as_ref().map(|candidate| &candidate.filter))
    }

    /// Those of [`Rollout::all`] that connections may need: not a candidate that was rolled back.
    pub fn needed(&self) -> impl Iterator<Item = &Arc<FilterUse>> {
        let is_out = self.candidate.as_ref().is_some_and(Candidate::is_out);
        self.all().take(if is_out { 1 } else { 2 })
    }

    /// When it was last decided who serves here.
    pub fn changed(&self) -> Moment {
        self.candidate.as_ref().map_or_else(Moment::default, |candidate| candidate.trial.decisions().changed())
    }

    /// Whether the candidate has failed too often, so that its connections are to go back to the filter.
    pub fn has_failed(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.standing() == Standing::Failed)
    }

    /// Whether an operator has put the candidate in the filter's place.
    pub fn is_promoted(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.standing() == Standing::Promoted)
    }

    /// Who serves a new connection. Its id decides, so that a greater share is the same connections and some more.
    pub fn serving(&self, connection: &str) -> &Arc<FilterUse> {
        self.chosen(|share| bucket(self.filter.component().name(), connection) < u64::from(share))
    }

    /// The candidate, where it is to shadow new connections that the filter serves.
    pub fn shadow(&self) -> Option<&Candidate> {
        self.candidate
            .as_ref()
            .filter(|candidate| candidate.standing() == Standing::OnTrial && candidate.terms().mode == Mode::Shadow)
    }

    /// Who goes on with an open connection that `before` has served in this place; `None`: nobody has. A canary keeps
    /// its connections, and gets no others.
    pub fn succeeding(&self, before: Option<&Session>) -> &Arc<FilterUse> {
        self.chosen(|_| {
            before.is_some_and(|session| {
                session.is_on_probation() && session.place_of() == self.filter.component().name()
            })
        })
    }

    /// The filter or the candidate; while that is a canary on trial, `is_its_own` decides, who is told its share of ten
    /// thousand.
    fn chosen(&self, is_its_own: impl FnOnce(u16) -> bool) -> &Arc<FilterUse> {
        let Some(candidate) = &self.candidate else { return &self.filter };
        let serves = match (candidate.standing(), candidate.terms().mode) {
            (Standing::Promoted, _) => true,
            (Standing::OnTrial, Mode::Canary { of_ten_thousand }) => is_its_own(of_ten_thousand),
            _ => false,
        };
        if serves { &candidate.filter } else { &self.filter }
    }
}

impl Candidate {
    /// Has a component tried in the place of another filter of a route, for the first time in this `generation` of the
    /// configuration.
    ///
    /// # Errors
    /// When it does not take its configuration.
    pub fn new(
        component: &Component,
        route: &str,
        config: impl Into<Configuration>,
        on_failure: OnFailure,
        generation: u64,
        metrics: &Metrics,
        candidacy: Candidacy,
    ) -> Result<Self, ConfigureError> {
        let trial = Arc::new(Trial::new(candidacy, metrics.candidate(route, component.name())));
        let probation: Arc<dyn Probation> = trial.clone();
        let filter =
            component.filter_on_probation(route, config.into(), on_failure, generation, metrics, Some(probation))?;
        Ok(Self { filter, trial })
    }

    /// The candidate as a filter.
    pub fn filter(&self) -> &Arc<FilterUse> {
        &self.filter
    }

    /// The name of the component whose place it is to take.
    pub fn of(&self) -> &str {
        self.trial.of()
    }

    /// How it is tried.
    pub fn terms(&self) -> &Terms {
        self.trial.terms()
    }

    /// What has become of it.
    pub fn standing(&self) -> Standing {
        self.trial.standing()
    }

    /// Puts it in the filter's place for all connections.
    pub fn promote(&self) {
        self.decide(Decision::Promoted);
    }

    /// Gives its connections back to the filter.
    pub fn roll_back(&self) {
        self.decide(Decision::RolledBack);
    }

    fn decide(&self, decision: Decision) {
        self.trial.decisions().decide(decision);
        let (component, route, filter) = (self.filter.component().name(), self.filter.place(), self.of());
        let what = if decision == Decision::Promoted { "promoted" } else { "rolled back" };
        tracing::info!(target: "tidegate::component", component, route, filter, "the candidate is {what} by an operator");
    }

    /// What is decided about the next version of it, of a reload that began at this moment: what is decided from then
    /// on, and a promotion from before if that `goes_on`.
    pub fn decisions(&self, begun: Moment, goes_on: bool) -> Decisions {
        self.trial.decisions().passed_on(begun, goes_on)
    }

    /// The same with another answer to its failures: its trial goes on.
    #[must_use]
    pub fn again(&self, on_failure: OnFailure, generation: u64, metrics: &Metrics) -> Self {
        let probation: Arc<dyn Probation> = self.trial.clone();
        let filter = self.filter.again_on_probation(self.route(), on_failure, generation, metrics, Some(probation));
        Self { filter, trial: Arc::clone(&self.trial) }
    }

    /// The route that it is tried on.
    pub fn route(&self) -> &str {
        self.filter.place()
    }

    /// How often it has failed, over all workers.
    pub fn failures(&self) -> u32 {
        self.trial.failures()
    }

    /// What came of comparing it as a shadow, in the order of [`ShadowOutcome::ALL`].
    pub fn outcomes(&self) -> [u64; ShadowOutcome::COUNT] {
        self.trial.outcomes()
    }

    /// The last messages on which it disagreed, the oldest first.
    pub fn samples(&self) -> Vec<Sample> {
        self.trial.samples()
    }

    /// The open connections that it serves or shadows, over all workers.
    pub fn connections(&self) -> usize {
        self.filter.connections()
    }

    /// Whether it serves and shadows nobody any more.
    fn is_out(&self) -> bool {
        matches!(self.standing(), Standing::RolledBack | Standing::Failed)
    }

    fn trial(&self) -> &Trial {
        &self.trial
    }
}

/// Where a connection stands among ten thousand, as seen from one place.
fn bucket(place: &str, connection: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    (place, connection).hash(&mut hasher);
    hasher.finish() % 10_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_connections_is_about_that_share() {
        let ids = (0..100_000).map(|count| format!("0badcafe-0-{count:x}"));
        let among = ids.filter(|id| bucket("shout", id) < 500).count();
        assert!((4_600..5_400).contains(&among), "{among} of 100000 for 5%");
    }

    #[test]
    fn places_of_a_chain_choose_independently() {
        let ids = (0..100_000).map(|count| format!("0badcafe-0-{count:x}"));
        let both = ids.filter(|id| bucket("shout", id) < 1_000 && bucket("access", id) < 1_000).count();
        assert!((800..1_200).contains(&both), "{both} of 100000 for 10% of 10%");
    }
}
