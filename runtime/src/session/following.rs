//! What open connections do when the configuration has changed, or when it was decided about a candidate.
//!
//! A connection is touched only if its own route, the route's upstream (its endpoints apart) or a filter has changed, and
//! then as the route's `on_change` says. Its filters are asked to follow once for each change of theirs: one that stays
//! behind is left alone until they change again.

use std::cell::Cell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::effect::Effect;
use super::snapshot::{OnChange, Route};
use super::worker::Worker;
use crate::component::Moment;
use crate::pipe::{Change, Scope};
use crate::reactor::yield_now;

/// Has all open connections of a worker follow what is in force now. Gives those that are to be closed, without keeping
/// them.
///
/// It lets the worker do other things meanwhile, and ends early when there is something newer to follow.
pub async fn follow(worker: &Worker) -> Vec<Weak<Connection>> {
    worker.count_following();
    let (followings, snapshot) = (worker.followings(), worker.snapshot());
    let mut following = Following::new(worker, snapshot.routes.routes());
    let mut turn = Turn::default();
    let (mut closing, mut from) = (Vec::new(), Some(0));
    while let Some(place) = from {
        let mut behind = Vec::new();
        from = worker.registry().slice(place, |connection| {
            if following.is_behind(connection) {
                behind.push(Rc::downgrade(connection));
            }
        });
        for connection in behind {
            // One that ends meanwhile is not kept: it holds an endpoint's lease.
            let Some(connection) = connection.upgrade() else { continue };
            if worker.followings() != followings {
                return closing;
            }
            let taken = following.taken.clone();
            match following.tell(&connection) {
                Consequence::Change => {
                    drop(connection);
                    turn.asked(&taken).await;
                }
                Consequence::Close => closing.push(Rc::downgrade(&connection)),
                Consequence::Nothing => {}
            }
        }
        if from.is_some() {
            yield_now().await;
        }
    }
    closing
}

/// Has one connection follow that was still opening when the others were told to. Whether it is to be closed.
pub(super) fn catch_up(worker: &Worker, connection: &Connection) -> bool {
    let (snapshot, before) = (worker.snapshot(), connection.route());
    let own = snapshot.routes.routes().find(|route| route.name == before.name);
    let mut following = Following::new(worker, own.into_iter());
    following.is_behind(connection) && following.tell(connection) == Consequence::Close
}

struct Following<'a> {
    worker: &'a Worker,
    routes: HashMap<&'a str, (&'a Arc<Route>, Moment)>,
    changes: HashMap<&'a str, Rc<Change>>,
    /// The time that connections have taken to change.
    taken: Rc<Cell<Duration>>,
}

/// What a connection was told.
#[derive(Debug, PartialEq, Eq)]
enum Consequence {
    /// Nothing that it has to do something about.
    Nothing,
    /// That its filters change.
    Change,
    /// Nothing, because it is to be closed.
    Close,
}

impl<'a> Following<'a> {
    fn new(worker: &'a Worker, routes: impl Iterator<Item = &'a Arc<Route>>) -> Self {
        let routes = routes.map(|route| (route.name.as_str(), (route, route.decided()))).collect();
        Self { worker, routes, changes: HashMap::new(), taken: Rc::default() }
    }

    /// Whether a connection has something to follow.
    fn is_behind(&self, connection: &Connection) -> bool {
        let before = connection.route.borrow();
        match self.routes.get(before.name.as_str()) {
            // A route that did not change is the very same; but it may have been decided about a candidate.
            Some((route, decided)) => !Arc::ptr_eq(&before, route) || connection.followed.get() != *decided,
            // A route that is gone has no filters that could take over.
            None => Effect::of(&before, None) == Effect::Closed,
        }
    }

    /// Changes a connection that is behind, if it is to change.
    fn tell(&mut self, connection: &Connection) -> Consequence {
        let before = connection.route();
        let Some((route, decided)) = self.routes.get(before.name.as_str()).copied() else {
            return Consequence::Close;
        };
        let scope = match route.on_change {
            OnChange::Swap => Scope::Whole,
            OnChange::Keep | OnChange::Drain => Scope::Failed,
        };
        let effect = Effect::of(&before, Some(route));
        let is_news =
            effect == Effect::Swapped || connection.followed.get() != decided || !before.has_filters(&route.filters);
        connection.follow(route, decided);
        if effect == Effect::Closed {
            return Consequence::Close;
        }
        if !is_news || (scope == Scope::Failed && route.candidates().next().is_none()) {
            return Consequence::Nothing;
        }
        let change = self.changes.entry(&route.name).or_insert_with(|| {
            let (pool, filters, taken) = (self.worker.pool().clone(), route.filters.clone(), self.taken.clone());
            Rc::new(Change { pool, filters, scope, taken })
        });
        connection.handle.switch.change(change.clone());
        Consequence::Change
    }
}

/// How many connections change before the worker does something else.
#[derive(Debug)]
struct Turn {
    asked: u32,
    most: u32,
}

impl Default for Turn {
    fn default() -> Self {
        Self { asked: 0, most: 1 }
    }
}

impl Turn {
    /// Takes note of a connection that was told to change; lets all do so, and the worker look at its sockets, when those
    /// were enough for a turn. The time that they have `taken` says how many are enough for the next one.
    async fn asked(&mut self, taken: &Cell<Duration>) {
        self.asked += 1;
        if self.asked >= self.most {
            yield_now().await;
            self.end(taken.take());
        }
    }

    fn end(&mut self, taken: Duration) {
        let each = (taken / self.asked.max(1)).max(Duration::from_nanos(1));
        let fitting = u32::try_from(TURN.as_nanos() / each.as_nanos()).unwrap_or(u32::MAX);
        *self = Self { asked: 0, most: fitting.clamp(1, (self.most * 2).min(MOST_IN_A_TURN)) };
    }
}

/// What a neighbour's message waits at most for those that change, as long as one alone does not take longer.
const TURN: Duration = Duration::from_millis(1);
/// However fast the last ones were: the next may be slow.
const MOST_IN_A_TURN: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are told in a turn, when those of each turn have taken so long.
    fn turns(microseconds_each: &[u32]) -> Vec<u32> {
        let mut turn = Turn::default();
        let after = |each: &u32| {
            turn.asked = turn.most;
            turn.end(Duration::from_micros((each * turn.most).into()));
            turn.most
        };
        microseconds_each.iter().map(after).collect()
    }

    #[test]
    fn a_turn_has_as_many_as_fit_into_a_millisecond_and_at_least_one() {
        assert_eq!(turns(&[0, 0, 0, 0, 0]), [2, 4, 8, 16, 16]);
        assert_eq!(turns(&[20, 20, 20, 200, 200, 5_000, 5_000]), [2, 4, 8, 5, 5, 1, 1]);
    }
}
