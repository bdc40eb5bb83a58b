//! What open connections do when the configuration has changed.
//!
//! A connection is touched only if its own route, the route's upstream or a filter has changed, and then as the route's
//! `on_change` says.

use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use super::connection::Connection;
use super::snapshot::{OnChange, Route};
use super::worker::Worker;
use crate::component::Rollout;
use crate::pipe::Change;

/// Has all open connections of a worker follow what is in force now. Gives those that are to be closed, without keeping
/// them.
///
/// It lets the worker do other things meanwhile, and ends early when there is something newer to follow.
pub async fn follow(worker: &Worker) -> Vec<Weak<Connection>> {
    worker.count_told();
    let (told, snapshot) = (worker.told(), worker.snapshot());
    let mut following = Following::new(worker, snapshot.routes.routes());
    let mut closing = Vec::new();
    let registry = worker.registry();
    registry
        .each(|connection| {
            if worker.told() == told && following.is_to_close(connection) {
                closing.push(Rc::downgrade(connection));
            }
        })
        .await;
    closing
}

/// Has one connection follow that was still opening when the others were told to. Whether it is to be closed.
pub(super) fn catch_up(worker: &Worker, connection: &Connection) -> bool {
    let (snapshot, before) = (worker.snapshot(), connection.route());
    let own = snapshot.routes.routes().find(|route| route.name == before.name);
    Following::new(worker, own.into_iter()).is_to_close(connection)
}

struct Following<'a> {
    worker: &'a Worker,
    routes: HashMap<&'a str, &'a Arc<Route>>,
    changes: HashMap<&'a str, Rc<Change>>,
}

impl<'a> Following<'a> {
    fn new(worker: &'a Worker, routes: impl Iterator<Item = &'a Arc<Route>>) -> Self {
        let routes = routes.map(|route| (route.name.as_str(), route)).collect();
        Self { worker, routes, changes: HashMap::new() }
    }

    /// Changes the connection, if it is to change; whether it is to be closed instead.
    fn is_to_close(&mut self, connection: &Connection) -> bool {
        let before = connection.route();
        let Some(route) = self.routes.get(before.name.as_str()).copied() else {
            // A route that is gone has no filters that could take over.
            return before.on_change == OnChange::Drain;
        };
        // A route that did not change is the very same; but a trial on it may be over.
        let is_same = Arc::ptr_eq(&before, route);
        if is_same && !route.filters.iter().any(Rollout::is_decided) {
            return false;
        }
        connection.follow(route);
        if route.on_change == OnChange::Swap {
            let change = self.changes.entry(&route.name).or_insert_with(|| {
                Rc::new(Change { pool: self.worker.pool().clone(), filters: route.filters.clone() })
            });
            connection.handle.switch.change(change.clone());
        }
        route.on_change == OnChange::Drain && !is_same
    }
}
