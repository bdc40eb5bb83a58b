//! What the control thread knows of the running server.

use std::collections::HashSet;
use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, Semaphore, mpsc};

use super::reload::{self, Requests};
use super::worker::{Order, Prepared};
use crate::component::Host;
use crate::control::{ReadSources, Sources};
use crate::listener::{Loads, Settings};
use crate::log::AccessLog;
use crate::metrics::{Metrics, WorkerIndex};
use crate::session::Snapshot;
use crate::ws::CloseFrame;

/// The running server, as control sees it.
pub(super) struct State {
    /// Where the configuration is read from.
    pub(super) origin: ReadSources,
    pub(super) host: Host,
    pub(super) metrics: Arc<Metrics>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) loads: Arc<Loads>,
    /// Told when the operator asks for a drain.
    pub(super) drain: Notify,
    pub(super) reloads: reload::Sender,
    sources: Mutex<Arc<Sources>>,
    workers: Mutex<Vec<mpsc::Sender<Order>>>,
    phase: AtomicU8,
}

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting = 0,
    Ready = 1,
    Draining = 2,
}

impl State {
    #[expect(clippy::too_many_arguments, reason = "everything that a start has gathered, once")]
    pub(super) fn new(
        origin: ReadSources,
        sources: Sources,
        snapshot: Snapshot,
        host: Host,
        metrics: Arc<Metrics>,
        access: AccessLog,
        listeners: Vec<(Settings, Vec<StdListener>)>,
        workers: usize,
        max_connections: usize,
    ) -> (Arc<Self>, Vec<Prepared>, Requests) {
        let (reloads, requests) = reload::channel();
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        let loads = Loads::new(workers);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(ORDERS)).unzip();
        // Each accepting loop holds a place for the connection it waits for.
        let places = max_connections.saturating_add(workers * listeners.len());
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        let process = rand::random();
        let mut sockets: Vec<_> =
            listeners.into_iter().map(|(settings, sockets)| (settings, sockets.into_iter())).collect();
        let prepared = receivers.into_iter().enumerate().map(|(index, orders)| Prepared {
            index: WorkerIndex(index),
            process,
            host: host.clone(),
            metrics: metrics.clone(),
            snapshot: snapshot.clone(),
            access: access.clone(),
            loads: loads.clone(),
            places: places.clone(),
            neighbours: senders.clone(),
            orders,
            listeners: sockets
                .iter_mut()
                .filter_map(|(settings, sockets)| Some((settings.clone(), sockets.next()?)))
                .collect(),
        });
        let prepared = prepared.collect();
        let state = Self {
            origin,
            host,
            metrics,
            snapshot,
            loads,
            drain: Notify::new(),
            reloads,
            sources: Mutex::new(Arc::new(sources)),
            workers: Mutex::new(senders),
            phase: AtomicU8::new(Phase::Starting as u8),
        };
        (Arc::new(state), prepared, requests)
    }

    /// What is in force was made of.
    pub(super) fn sources(&self) -> Arc<Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a snapshot in force. Handshakes from now on see it; the workers let go of what it no longer needs.
    pub(super) fn put_in_force(&self, snapshot: Snapshot, sources: Sources) {
        self.metrics.set_generation(snapshot.generation);
        let kept: HashSet<u64> = snapshot.uses().collect();
        let before = self.snapshot.swap(Arc::new(snapshot));
        before.all_uses().filter(|replaced| !kept.contains(&replaced.id())).for_each(|replaced| replaced.retire());
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
        for worker in self.workers() {
            // A worker that is this far behind retires instances at the next reload.
            let _ = worker.try_send(Order::Retire);
        }
    }

    /// The ways to the workers.
    pub(super) fn workers(&self) -> Vec<mpsc::Sender<Order>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Stops accepting and has all workers close their connections over the configured time.
    pub(super) async fn begin_drain(&self) {
        self.enter(Phase::Draining);
        let over = self.sources().config.drain_time;
        let close = CloseFrame::new(1012, "the server restarts");
        for worker in self.workers() {
            // A worker that has ended has nothing to drain.
            let _ = worker.send(Order::Drain { close: close.clone(), over }).await;
        }
    }

    /// Lets the workers end: without a way to reach them, they have nothing to wait for.
    pub(super) fn end(&self) {
        let workers = std::mem::take(&mut *self.workers.lock().unwrap_or_else(PoisonError::into_inner));
        for worker in workers {
            let _ = worker.try_send(Order::End);
        }
    }
}

/// Orders that may wait for a worker; connections handed over are most of them.
const ORDERS: usize = 1024;
