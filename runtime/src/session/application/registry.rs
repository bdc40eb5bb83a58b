//! The connections of a worker of which an application is told, for whoever pushes something to one, and for their ends.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::rc::Rc;
use std::sync::Arc;

use async_task::{FallibleTask, Task};
use tokio::sync::oneshot;

use super::super::worker::Worker;
use crate::bridge::{Application, Farewell, Outgoing, Queue, Untaken};
use crate::metrics::{Initiator, PushOutcome};
use crate::pipe::Outcome;

/// The connections of a worker of which an application is told, by their names.
#[derive(Default)]
pub(in super::super) struct Applications(RefCell<HashMap<Box<str>, Entry>>);

/// One of them.
pub(super) struct Entry {
    pub(super) route: Box<str>,
    pub(super) application: Arc<Application>,
    pub(super) queue: Rc<Queue<Outgoing>>,
    pub(super) max_message_size: usize,
    pub(super) parting: oneshot::Sender<Farewell>,
    pub(super) task: Task<()>,
}

/// Which routes somebody may push to; `None`: all.
pub type Scope = Option<Arc<[String]>>;

/// What has become of something that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is on its way to the client.
    Taken,
    /// No application is told of a connection of this name.
    Unknown,
    /// It took a route that who pushes has nothing to do with.
    Forbidden,
    /// It has more bytes than `max_message_size` of the route allows.
    TooLarge(usize),
    /// As much waits for the client as may.
    Full,
    /// The connection is about to end.
    Ended,
}

impl Applications {
    /// Sends something to the client of a connection.
    pub(in super::super) fn push(&self, worker: &Worker, id: &str, scope: &Scope, outgoing: Outgoing) -> Pushed {
        let known = self.0.borrow();
        let Some(entry) = known.get(id) else { return Pushed::Unknown };
        if scope.as_ref().is_some_and(|routes| !routes.iter().any(|route| **route == *entry.route)) {
            return Pushed::Forbidden;
        }
        let (bytes, is_last) = (outgoing.len(), outgoing.close.is_some());
        let (outcome, pushed) = match bytes > entry.max_message_size {
            true => (PushOutcome::TooLarge, Pushed::TooLarge(entry.max_message_size)),
            false => match entry.queue.try_put(outgoing, bytes) {
                Ok(()) => (PushOutcome::Taken, Pushed::Taken),
                Err(Untaken::Full) => (PushOutcome::Full, Pushed::Full),
                Err(Untaken::Ended) => (PushOutcome::Ended, Pushed::Ended),
            },
        };
        if is_last && pushed == Pushed::Taken {
            entry.queue.end();
        }
        entry.application.metrics.of(worker.index()).push(outcome);
        pushed
    }

    /// The connection of this name has ended, if an application is told of it. Gives what is left to do for it.
    pub(in super::super) fn end(&self, id: &str, outcome: &Outcome) -> Option<FallibleTask<()>> {
        if self.0.borrow().is_empty() {
            return None;
        }
        let reason = match (&outcome.close, &*outcome.cause) {
            (Some(close), _) if !close.reason.is_empty() => close.reason.clone(),
            (_, cause) => cause.to_owned(),
        };
        self.part(id, Farewell { code: outcome.code(), reason, by: outcome.by })
    }

    fn part(&self, id: &str, farewell: Farewell) -> Option<FallibleTask<()>> {
        let Entry { queue, parting, task, .. } = self.0.borrow_mut().remove(id)?;
        // What waits for the client finds nobody.
        queue.end();
        // Whoever is to hear it has ended where it has not opened.
        let _ = parting.send(farewell);
        Some(task.fallible())
    }
}

impl Debug for Applications {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Applications").field(&self.0.borrow().len()).finish()
    }
}

/// A connection's place there while it opens. Dropping it says that the client has left before its answer.
pub(in super::super) struct Place {
    worker: Rc<Worker>,
    id: Box<str>,
}

impl Place {
    pub(super) fn take(worker: &Rc<Worker>, id: &str, entry: Entry) -> Self {
        worker.applications().0.borrow_mut().insert(id.into(), entry);
        Self { worker: worker.clone(), id: id.into() }
    }

    /// It has opened, so that its end is told by whoever serves it.
    pub(in super::super) fn keep(mut self) {
        self.id = Box::default();
    }

    /// It does not open, because of this.
    pub(super) fn part(self, farewell: Farewell) {
        self.worker.applications().part(&self.id, farewell).into_iter().for_each(FallibleTask::detach);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.id.is_empty() {
            return;
        }
        let reason = "the client left before its answer".to_owned();
        let farewell = Farewell { code: 1006, reason, by: Initiator::Client };
        self.worker.applications().part(&self.id, farewell).into_iter().for_each(FallibleTask::detach);
    }
}
