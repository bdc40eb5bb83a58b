//! Other filters for an open connection.

use std::rc::Rc;
use std::sync::Arc;

use super::chain::Chain;
use crate::component::{Failure, FilterUse, Pool, Rollout, Session};
use crate::metrics::{Side, SwapOutcome, WorkerIndex};

/// The filters that a route has after a reload, or after a trial, for its open connections on one worker.
#[derive(Debug)]
pub struct Change {
    /// Where their instances are.
    pub pool: Rc<Pool>,
    /// In the order of the configuration.
    pub filters: Vec<Rollout>,
}

/// Who serves each place of a changed chain, in order.
#[derive(Debug)]
pub(super) struct Succession(Vec<Successor>);

#[derive(Debug)]
struct Successor {
    filter: Arc<FilterUse>,
    /// Where the session stands that had the place before.
    before: Option<usize>,
    /// Whether that session stays.
    stays: bool,
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
    fn taken(&self) -> impl Iterator<Item = &Arc<FilterUse>> {
        self.0.iter().filter(|successor| !successor.stays).map(|successor| &successor.filter)
    }

    /// Counts that a connection could not be changed.
    pub(super) fn refused(&self, worker: WorkerIndex) {
        self.taken().for_each(|filter| filter.swapped(worker, SwapOutcome::Failed));
    }
}

impl Chain {
    /// Who is to serve after a change: what has not changed stays, and what has is succeeded by the new version of the
    /// same filter, or by the candidate for it.
    pub(super) fn succession(&self, change: &Change) -> Succession {
        let mut left: Vec<_> = self.sessions.iter().map(Some).collect();
        let mut found: Vec<Option<(usize, &Session)>> = vec![None; change.filters.len()];
        // The very same before one of the same place in the chain, and that before one that only has the same name.
        let matches: [fn(&Session, &Rollout) -> bool; 3] = [
            |known, place| place.all().any(|filter| filter.id() == known.filter_id()),
            |known, place| known.place_of() == place.filter().component().name(),
            |known, place| known.component() == place.filter().component().name(),
        ];
        for matches in matches {
            for (found, place) in found.iter_mut().zip(&change.filters).filter(|(found, _)| found.is_none()) {
                *found = take(&mut left, |known| matches(known, place));
            }
        }
        let successors = change.filters.iter().zip(found).map(|(place, found)| {
            let filter = place.succeeding(found.map(|(_, session)| session)).clone();
            let stays = found.is_some_and(|(_, session)| session.filter_id() == filter.id());
            Successor { filter, before: found.map(|(at, _)| at), stays }
        });
        Succession(successors.collect())
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
        let Some(handshake) = self.sessions.first().map(|session| session.handshake().clone()) else {
            return Ok(false);
        };
        if !succession.is_change(self.sessions.len()) {
            return Ok(false);
        }
        let mut resumed = Vec::new();
        for Successor { filter, before, .. } in succession.0.iter().filter(|successor| !successor.stays) {
            let predecessor = before.and_then(|at| self.sessions.get_mut(at));
            let handshake = predecessor.as_ref().map_or(&handshake, |session| session.handshake()).clone();
            let session = pool.resume(filter, &handshake, predecessor);
            resumed.push(session.inspect_err(|_| filter.swapped(worker, SwapOutcome::Failed))?);
        }
        succession.taken().for_each(|filter| filter.swapped(worker, SwapOutcome::Swapped));
        let mut before: Vec<_> = std::mem::take(&mut self.sessions).into_iter().map(Some).collect();
        let mut resumed = resumed.into_iter();
        let stays = |successor: &Successor| successor.before.filter(|_| successor.stays);
        self.sessions = succession
            .0
            .iter()
            .filter_map(|successor| match stays(successor) {
                Some(at) => before.get_mut(at)?.take(),
                None => resumed.next(),
            })
            .collect();
        self.move_shadows(|from| succession.0.iter().position(|successor| stays(successor) == Some(from)));
        Ok(true)
    }
}

/// The first session left that is wanted, and where it stands.
fn take<'a>(left: &mut [Option<&'a Session>], wanted: impl Fn(&Session) -> bool) -> Option<(usize, &'a Session)> {
    let at = left.iter().position(|session| session.is_some_and(&wanted))?;
    left.get_mut(at)?.take().map(|session| (at, session))
}
