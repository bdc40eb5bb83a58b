//! Other filters for an open connection.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::chain::Chain;
use super::filter::Filter;
use crate::component::{Failure, FilterUse, Moment, Pool, Resumed, Session};
use crate::metrics::{SwapOutcome, WorkerIndex};
use crate::peer::Side;
use crate::rollout::Rollout;

/// The filters that a route has after a reload, or after a trial, for its open connections on one worker.
#[derive(Debug)]
pub struct Change {
    /// Where their instances are.
    pub pool: Rc<Pool>,
    /// In the order of the configuration.
    pub filters: Vec<Rollout>,
    /// Which filters of a connection it is about.
    pub scope: Scope,
    /// The time that connections have taken for this change and others that are made with it.
    pub taken: Rc<Cell<Duration>>,
}

/// Which filters of a connection change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All that are others now.
    Whole,
    /// Candidates that failed too often: they give their places back, and nothing else changes.
    Failed,
}

/// Who serves each place of a changed chain, in order.
#[derive(Debug)]
pub(super) struct Succession(Vec<Successor>);

#[derive(Debug)]
struct Successor {
    filter: Arc<FilterUse>,
    /// When it was last decided who serves this place.
    decided: Moment,
    /// Where the session stands that had the place before.
    before: Option<usize>,
    /// Whether that session stays.
    stays: bool,
}

/// A successor that did not take over, which is not asked again before something else is decided about its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Declined {
    /// As [`FilterUse::id`] names it.
    filter: u64,
    decided: Moment,
}

impl Succession {
    /// Whether some place changes hands.
    pub(super) fn is_change(&self, before: usize) -> bool {
        self.0.len() != before || !self.0.iter().enumerate().all(|(at, it)| it.stays && it.before == Some(at))
    }

    /// Whether a filter wants something of what one side sends.
    pub(super) fn wants(&self, from: Side) -> bool {
        self.0.iter().any(|successor| !successor.filter.interest().from(from).is_empty())
    }

    /// The places that change hands.
    fn taken(&self) -> impl Iterator<Item = &Successor> {
        self.0.iter().filter(|successor| !successor.stays)
    }

    /// Counts that a connection could not be changed.
    pub(super) fn refused(&self, worker: WorkerIndex) {
        self.taken().for_each(|successor| successor.filter.swapped(worker, SwapOutcome::Failed));
    }
}

impl Successor {
    /// That it did not take over.
    fn declined(&self) -> Declined {
        Declined { filter: self.filter.id(), decided: self.decided }
    }
}

impl Chain {
    /// Who is to serve after a change.
    pub(super) fn succession(&self, change: &Change) -> Succession {
        Succession(match change.scope {
            Scope::Whole => self.successors(&change.filters),
            Scope::Failed => self.replacements(&change.filters),
        })
    }

    /// What has not changed stays, and what has is succeeded by the new version of the same filter, or by the candidate
    /// for it.
    fn successors(&self, filters: &[Rollout]) -> Vec<Successor> {
        let mut left: Vec<_> = self.sessions().map(Some).collect();
        let mut found: Vec<Option<(usize, &Session)>> = vec![None; filters.len()];
        // The very same before one of the same place in the chain, and that before one that only has the same name.
        let matches: [fn(&Session, &Rollout) -> bool; 3] = [
            |known, place| place.all().any(|filter| filter.id() == known.filter_id()),
            |known, place| known.place_of() == place.filter().component().name(),
            |known, place| known.component() == place.filter().component().name(),
        ];
        for matches in matches {
            for (found, place) in found.iter_mut().zip(filters).filter(|(found, _)| found.is_none()) {
                *found = take(&mut left, |known| matches(known, place));
            }
        }
        let successors = filters.iter().zip(found).map(|(place, found)| {
            let filter = place.succeeding(found.map(|(_, session)| session)).clone();
            let stays = found.is_some_and(|(_, session)| session.filter_id() == filter.id());
            Successor { filter, decided: place.changed(), before: found.map(|(at, _)| at), stays }
        });
        successors.collect()
    }

    /// Everything stays but candidates that have failed too often, which the filters of their places succeed.
    fn replacements(&self, filters: &[Rollout]) -> Vec<Successor> {
        let mut left: Vec<_> = filters.iter().map(Some).collect();
        let mut place_of = |session: &Session| {
            let is_its = |place: &Rollout| place.filter().component().name() == session.place_of();
            let at = left.iter().position(|place| place.is_some_and(is_its))?;
            left.get_mut(at)?.take().filter(|_| session.has_failed_probation())
        };
        let successors = self.sessions().enumerate().map(|(at, session)| match place_of(session) {
            Some(place) => {
                let filter = place.filter().clone();
                Successor { filter, decided: place.changed(), before: Some(at), stays: false }
            }
            None => {
                let filter = session.filter().clone();
                Successor { filter, decided: Moment::default(), before: Some(at), stays: true }
            }
        });
        successors.collect()
    }

    /// Whether one of the successors has not taken this connection over before.
    pub(super) fn has_declined(&self, succession: &Succession) -> bool {
        self.declined().is_some_and(|declined| succession.taken().any(|successor| successor.declined() == declined))
    }

    /// Has successors take over between two messages. All of them do, or none; whether any has.
    ///
    /// A connection without a filter keeps none, because nothing is left of its handshake.
    ///
    /// # Errors
    /// When a filter does not take over. Everything stays as it was then.
    pub(super) fn succeed(
        &mut self,
        succession: Succession,
        pool: &Pool,
        worker: WorkerIndex,
    ) -> Result<bool, Failure> {
        let Some(handshake) = self.sessions().next().map(|session| session.handshake().clone()) else {
            return Ok(false);
        };
        if !succession.is_change(self.filters.len()) {
            return Ok(false);
        }
        let (mut resumed, mut outcomes) = (Vec::new(), Vec::new());
        for successor in succession.taken() {
            let Successor { filter, before, .. } = successor;
            let predecessor = before.and_then(|at| self.filters.get_mut(at)?.session_mut());
            let handshake = predecessor.as_ref().map_or(&handshake, |session| session.handshake()).clone();
            match pool.resume(filter, &handshake, predecessor) {
                Ok(Resumed { session, outcome }) => {
                    resumed.push(session);
                    outcomes.push(outcome);
                }
                Err(failure) => {
                    filter.swapped(worker, SwapOutcome::Failed);
                    // What is nobody's fault may be otherwise the next time.
                    self.decline(failure.reason.is_of_the_component().then(|| successor.declined()));
                    return Err(failure);
                }
            }
        }
        succession.taken().zip(outcomes).for_each(|(successor, outcome)| successor.filter.swapped(worker, outcome));
        let mut before: Vec<_> = std::mem::take(&mut self.filters).into_iter().map(Some).collect();
        let mut resumed = resumed.into_iter();
        let stays = |successor: &Successor| successor.before.filter(|_| successor.stays);
        self.filters = succession
            .0
            .iter()
            .filter_map(|successor| match stays(successor) {
                Some(at) => before.get_mut(at)?.take(),
                None => resumed.next().map(|session| {
                    let predecessor = successor.before.and_then(|at| before.get(at)?.as_ref()?.session());
                    predecessor.into_iter().for_each(|predecessor| session.sit_down(predecessor));
                    Filter::Component(session)
                }),
            })
            .collect();
        self.move_shadows(|from| succession.0.iter().position(|successor| stays(successor) == Some(from)));
        self.decline(None);
        Ok(true)
    }
}

/// The first session left that is wanted, and where it stands.
fn take<'a>(left: &mut [Option<&'a Session>], wanted: impl Fn(&Session) -> bool) -> Option<(usize, &'a Session)> {
    let at = left.iter().position(|session| session.is_some_and(&wanted))?;
    left.get_mut(at)?.take().map(|session| (at, session))
}
