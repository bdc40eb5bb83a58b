//! A worker thread: follows the course and carries out orders.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};

use super::accepting::Accepting;
use super::course::{Course, Stage, Team};
use super::listing::{Slice, Wanted};
use super::pace::Pace;
use super::serving::{Handed, Serving};
use crate::admin::Push;
use crate::component::Host;
use crate::listener::{Accepts, Loads, Refusals};
use crate::log::AccessLog;
use crate::metrics::{Metrics, WorkerIndex};
use crate::reactor::{self, spawn};
use crate::session::{Dismissal, Pushed, Snapshot, Worker};
use crate::upstream::Resolver;
use crate::ws::CloseFrame;

/// What a worker is told.
pub(super) enum Order {
    /// Serve a connection that another worker accepted.
    Adopt(Handed),
    /// Tell about open connections, a slice of them.
    List(Wanted, oneshot::Sender<Slice>),
    /// Close those of the connections that are meant, and tell how many were open.
    Dismiss(Arc<Dismissal>, oneshot::Sender<u64>),
    /// Send something to the client of a connection, and tell what has become of it.
    Push(Box<Push>, oneshot::Sender<Pushed>),
    /// Close the connections of a route at a pace.
    Drain { route: String, close: CloseFrame, pace: Pace },
    /// Do this, outside of any connection.
    #[cfg(test)]
    Do(Box<dyn FnOnce() + Send>),
}

/// What a worker tells about itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Report {
    /// It can serve.
    Up,
    /// It accepts connections.
    Accepting,
    /// It has ended, because it was told to.
    Ended,
    /// It has ended, because of this.
    Failed(String),
}

/// What all workers start with.
#[derive(Clone)]
pub(super) struct Blueprint {
    pub(super) host: Host,
    pub(super) metrics: Arc<Metrics>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) access: AccessLog,
    pub(super) resolver: Resolver,
    pub(super) loads: Arc<Loads>,
    pub(super) refusals: Arc<Refusals>,
    pub(super) team: Arc<Team>,
    pub(super) course: watch::Receiver<Course>,
    pub(super) reports: mpsc::Sender<(usize, Report)>,
}

impl Blueprint {
    /// Starts the thread of a worker. What comes of it, it reports.
    pub(super) fn start(&self, index: usize) -> io::Result<JoinHandle<()>> {
        let (blueprint, orders) = (self.clone(), self.team.join(index));
        std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
            let mut last = LastWords { reports: blueprint.reports.clone(), index, ended: PANICKED.to_owned() };
            // The end of the loop is that of every connection that is left, each with its line in the access log.
            let worked = catch_unwind(AssertUnwindSafe(|| reactor::run(blueprint.work(index, orders))));
            last.ended = match worked {
                Ok(Ok(Ok(()))) => String::new(),
                Ok(Ok(Err(error)) | Err(error)) => error.to_string(),
                Err(_) => PANICKED.to_owned(),
            };
        })
    }

    async fn work(self, index: usize, mut orders: mpsc::Receiver<Order>) -> io::Result<()> {
        let index = WorkerIndex(index);
        // Chosen anew for a worker that is started anew: it counts its connections from the start again.
        let process = rand::random();
        let pool = self.host.pool(index);
        let (snapshot, resolver) = (self.snapshot.clone(), self.resolver);
        let worker = Worker::new(index, pool, snapshot, self.access, &self.metrics, process, resolver);
        let mut course = self.course;
        let first = course.borrow_and_update().clone();
        let server = Serving::new(worker, self.loads, self.team, self.refusals, first.places.clone());
        let mut accepting = Accepting::new(server.clone());
        // Who hears nothing of it has ended.
        let _ = self.reports.send((index.0, Report::Up)).await;
        let mut following = Following { draining: false, accepts: None, index: index.0 };
        if following.follow(first, &server, &mut accepting, &self.reports).await {
            return Ok(());
        }
        loop {
            let order = tokio::select! {
                Ok(()) = course.changed() => {
                    server.renew(&self.snapshot.load_full());
                    let next = course.borrow_and_update().clone();
                    if following.follow(next, &server, &mut accepting, &self.reports).await {
                        return Ok(());
                    }
                    continue;
                }
                () = accepting.broken() => {
                    accepting.restart(&course.borrow().listeners);
                    continue;
                }
                order = orders.recv() => order,
            };
            match order {
                None => return Err(io::Error::other("nobody can reach it")),
                Some(Order::Adopt(handed)) => server.adopt(handed),
                Some(Order::List(wanted, answer)) => {
                    // Whoever asked may have gone.
                    let _ = answer.send(server.slice(&wanted));
                }
                Some(Order::Dismiss(dismissal, answer)) => spawn(server.clone().dismiss(dismissal, answer)).detach(),
                Some(Order::Push(push, answer)) => {
                    let _ = answer.send(server.push(*push));
                }
                Some(Order::Drain { route, close, pace }) => {
                    spawn(server.clone().drain_route(route, close, pace)).detach();
                }
                #[cfg(test)]
                Some(Order::Do(what)) => what(),
            }
        }
    }
}

/// How far a worker has followed the course.
struct Following {
    index: usize,
    draining: bool,
    /// While it accepts.
    accepts: Option<Accepts>,
}

impl Following {
    /// Does what the course says; whether that is to end.
    async fn follow(
        &mut self,
        course: Course,
        server: &Rc<Serving>,
        accepting: &mut Accepting,
        reports: &mpsc::Sender<(usize, Report)>,
    ) -> bool {
        server.set_places(course.places);
        match course.stage {
            Stage::Serve => {
                let was_accepting = self.accepts.is_some();
                // First, so that a drain waits for whom it accepts.
                self.accepts.get_or_insert_with(|| server.accepts());
                accepting.follow(&course.listeners);
                if course.listeners.is_empty() {
                    self.accepts = None;
                }
                server.leave_gone();
                if !was_accepting && self.accepts.is_some() {
                    let _ = reports.send((self.index, Report::Accepting)).await;
                }
            }
            Stage::Drain { close, over } => {
                accepting.stop();
                self.accepts = None;
                if !std::mem::replace(&mut self.draining, true) {
                    let pace = Pace::of(self.index, server.workers(), over);
                    spawn(server.clone().drain(close, pace)).detach();
                }
            }
            Stage::End => return true,
        }
        false
    }
}

/// Reports how a worker has ended, however that was.
struct LastWords {
    reports: mpsc::Sender<(usize, Report)>,
    index: usize,
    /// Empty when it was told to.
    ended: String,
}

impl Drop for LastWords {
    fn drop(&mut self) {
        let ended = std::mem::take(&mut self.ended);
        let report = if ended.is_empty() { Report::Ended } else { Report::Failed(ended) };
        // Whoever supervised it has ended.
        let _ = self.reports.blocking_send((self.index, report));
    }
}

const PANICKED: &str = "it has panicked";
