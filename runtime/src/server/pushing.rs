//! Sending something to the client of one connection, which lives on the worker that its name says.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::course::Team;
use super::worker::Order;
use crate::admin::Push;
use crate::session::{Pushed, worker_of};

/// Has the worker send it; `None`: it has not said in time what has become of it.
pub(super) async fn push(team: &Team, push: Push) -> Option<Pushed> {
    let Some(worker) = worker_of(&push.connection).filter(|worker| *worker < team.len()) else {
        return Some(Pushed::Unknown);
    };
    let (answer, told) = oneshot::channel();
    team.order(worker, Order::Push(Box::new(push), answer)).ok()?;
    timeout(PATIENCE, told).await.ok()?.ok()
}

/// Workers answer within one turn of their loop.
const PATIENCE: Duration = Duration::from_secs(1);
