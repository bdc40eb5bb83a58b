//! What the connections of one worker thread share.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use slab::Slab;
use tokio::sync::Notify;

use super::application::{Applications, Pushed, Scope};
use super::bridge::Bridges;
use super::connection::{Connection, Registry};
use super::dismissal::{Dismissal, Dismissals};
use super::multiplexed::Listed;
use super::snapshot::Snapshot;
use super::underway::Requests;
use crate::bridge::Outgoing;
use crate::component::Pool;
use crate::exchange::Links;
use crate::log::AccessLog;
use crate::metrics::{Metrics, RouteMetrics, WorkerIndex};
use crate::pipe::{Assemblies, Scratch};
use crate::upstream::{Http2Connections, Resolver};
use crate::ws::CloseFrame;

/// The shared part of a worker's connections. It belongs to its thread.
#[derive(Debug)]
pub struct Worker {
    index: WorkerIndex,
    pool: Rc<Pool>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    scratch: Rc<RefCell<Scratch>>,
    assemblies: Rc<Assemblies>,
    /// How many workers there are.
    workers: usize,
    registry: Registry,
    /// Its connections that bring many streams at a time, each with what tells it to leave.
    multiplexed: RefCell<Slab<Listed>>,
    access: AccessLog,
    resolver: Resolver,
    /// Its connections over HTTP/2 to endpoints.
    http2: Http2Connections,
    /// Counts handshakes that found no route.
    unrouted: Arc<RouteMetrics>,
    /// Tells this process's connections from those of another, and this worker's from the others'.
    prefix: String,
    connections: Cell<u64>,
    followings: Cell<u64>,
    dismissals: Dismissals,
    requests: Requests,
    links: Rc<Links>,
    bridges: Bridges,
    applications: Applications,
    is_draining: Cell<bool>,
    draining: Notify,
}

impl Worker {
    /// A worker without connections.
    pub fn new(
        index: WorkerIndex,
        pool: Pool,
        snapshot: Arc<ArcSwap<Snapshot>>,
        access: AccessLog,
        metrics: &Metrics,
        process: u32,
        resolver: Resolver,
    ) -> Rc<Self> {
        let workers = metrics.workers().max(1);
        let share = snapshot.load().assembly_memory / workers;
        let assemblies = Assemblies::new(share, metrics.assembly_bytes(), index);
        Rc::new(Self {
            index,
            pool: Rc::new(pool),
            snapshot,
            scratch: Rc::new(RefCell::new(Scratch::new(assemblies.clone()))),
            assemblies,
            workers,
            registry: Registry::default(),
            multiplexed: RefCell::default(),
            access,
            resolver,
            http2: Http2Connections::default(),
            unrouted: metrics.route(""),
            prefix: format!("{process:08x}-{:x}-", index.0),
            connections: Cell::new(0),
            followings: Cell::new(0),
            dismissals: Dismissals::default(),
            requests: Requests::default(),
            links: Rc::default(),
            bridges: Bridges::default(),
            applications: Applications::default(),
            is_draining: Cell::new(false),
            draining: Notify::new(),
        })
    }

    /// Its number.
    pub fn index(&self) -> WorkerIndex {
        self.index
    }

    /// Its open connections.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Has its connections with many streams take no further ones, and end when their last has.
    pub fn leave_multiplexed(&self, close: &CloseFrame) {
        self.multiplexed.borrow().iter().for_each(|(_, listed)| listed.switch.turn(close.clone()));
    }

    /// The same for those whose listener is gone.
    pub fn leave_gone(&self, close: &CloseFrame) {
        let multiplexed = self.multiplexed.borrow();
        let gone = multiplexed.iter().filter(|(_, listed)| listed.gone.is_so());
        gone.for_each(|(_, listed)| listed.switch.turn(close.clone()));
    }

    pub(super) fn multiplexed(&self) -> &RefCell<Slab<Listed>> {
        &self.multiplexed
    }

    /// Its plain requests in progress.
    pub fn requests(&self) -> &Requests {
        &self.requests
    }

    /// From now on connections are not kept for further requests.
    pub fn begin_drain(&self) {
        self.is_draining.set(true);
        self.draining.notify_waiters();
    }

    pub(super) fn is_draining(&self) -> bool {
        self.is_draining.get()
    }

    /// Waits until it is drained.
    pub(super) async fn draining(&self) {
        if !self.is_draining() {
            self.draining.notified().await;
        }
    }

    /// Its connections to endpoints that wait for a plain request.
    pub(super) fn links(&self) -> &Rc<Links> {
        &self.links
    }

    /// Its connections that plain requests share.
    pub(super) fn bridges(&self) -> &Bridges {
        &self.bridges
    }

    /// Its connections of which an application is told.
    pub(super) fn applications(&self) -> &Applications {
        &self.applications
    }

    /// Sends something to the client of a connection of this name, of which an application is told.
    pub fn push(&self, connection: &str, scope: &Scope, outgoing: Outgoing) -> Pushed {
        self.applications.push(self, connection, scope, outgoing)
    }

    /// Its component instances.
    pub fn pool(&self) -> &Rc<Pool> {
        &self.pool
    }

    /// Follows what is in force with what all of its connections share.
    pub fn renew(&self, snapshot: &Snapshot) {
        self.assemblies.set_share(snapshot.assembly_memory / self.workers);
        self.bridges.renew(snapshot);
    }

    /// How often its open connections have been told to follow what is in force.
    pub(super) fn followings(&self) -> u64 {
        self.followings.get()
    }

    pub(super) fn count_following(&self) {
        self.followings.set(self.followings.get().wrapping_add(1));
    }

    /// Closes those of its connections that are meant, and of those that are opening; how many were open. Plain requests in
    /// progress that are meant are ended, too.
    ///
    /// It lets the worker do other things meanwhile.
    pub async fn dismiss(&self, dismissal: Arc<Dismissal>) -> u64 {
        self.dismissals.add(dismissal.clone());
        let mut count = 0;
        let close = |connection: &Rc<Connection>| {
            if dismissal.criteria.holds_for(connection) {
                count += 1;
                connection.handle.switch.dismiss(dismissal.close.clone());
            }
        };
        self.registry.each(close).await;
        self.requests.dismiss(&dismissal);
        count
    }

    pub(super) fn dismissals(&self) -> &Dismissals {
        &self.dismissals
    }

    /// How many workers there are.
    pub(super) fn workers(&self) -> usize {
        self.workers
    }

    /// What is in force now.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(super) fn scratch(&self) -> Rc<RefCell<Scratch>> {
        self.scratch.clone()
    }

    /// What it holds of messages that wait.
    pub(super) fn assemblies(&self) -> &Rc<Assemblies> {
        &self.assemblies
    }

    /// The addresses of endpoints.
    pub(super) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// The connections over HTTP/2 to endpoints.
    pub(super) fn http2(&self) -> &Http2Connections {
        &self.http2
    }

    pub(super) fn access(&self) -> &AccessLog {
        &self.access
    }

    pub(super) fn unrouted(&self) -> &Arc<RouteMetrics> {
        &self.unrouted
    }

    /// A name for the next connection.
    pub(super) fn connection_id(&self) -> String {
        let count = self.connections.get();
        self.connections.set(count.wrapping_add(1));
        format!("{}{count:x}", self.prefix)
    }
}

/// The number of the worker that has named a connection like this, if some may have.
pub fn worker_of(connection: &str) -> Option<usize> {
    let mut parts = connection.split('-').skip(1);
    let worker = parts.next().and_then(|worker| usize::from_str_radix(worker, 16).ok())?;
    parts.next().map(|_| worker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_named_by_its_worker() {
        for (name, worker) in [
            ("0a1b2c3d-0-0", Some(0)),
            ("0a1b2c3d-1f-ffff", Some(31)),
            ("0a1b2c3d-x-0", None),
            ("0a1b2c3d-1", None),
            ("", None),
        ] {
            assert_eq!(worker_of(name), worker, "{name}");
        }
    }
}
