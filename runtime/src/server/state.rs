//! What the control thread knows of the running server.

use std::collections::HashSet;
use std::io;
use std::net::TcpListener as StdListener;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Semaphore, mpsc, watch};

use super::handover::Sockets;
use super::pace::Pace;
use super::reload::{self, Requests};
use super::worker::{Order, Prepared};
use crate::admin::DrainCode;
use crate::component::Host;
use crate::control::{ReadSources, Sources};
use crate::listener::{self, Loads, Settings};
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
    /// How to drain, once that was asked for.
    pub(super) drain: watch::Sender<Option<Drain>>,
    pub(super) reloads: reload::Sender,
    sources: Mutex<Arc<Sources>>,
    workers: Mutex<Vec<mpsc::Sender<Order>>>,
    /// Tells the workers that another configuration is in force.
    generation: watch::Sender<u64>,
    /// Whether a new process serves in place of this one.
    handed_over: watch::Sender<bool>,
    /// Duplicates, for the process that replaces this one. Ports are closed once these are gone, too.
    sockets: Mutex<Option<Arc<Sockets>>>,
    phase: AtomicU8,
}

/// How connections are closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) code: DrainCode,
    pub(super) over: Duration,
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
        sockets: Sockets,
        workers: usize,
        max_connections: usize,
    ) -> (Arc<Self>, Vec<Prepared>, Requests) {
        let (reloads, requests) = reload::channel();
        let snapshot = Arc::new(ArcSwap::from_pointee(snapshot));
        // Handshakes that find no route; each worker counts its own.
        metrics.route("");
        let loads = Loads::new(workers);
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..workers).map(|_| mpsc::channel(ORDERS)).unzip();
        // Each accepting loop holds a place for the connection it waits for.
        let accepting: usize = listeners.iter().map(|(_, sockets)| sockets.len()).sum();
        let places = max_connections.saturating_add(accepting);
        let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
        let process = rand::random();
        let (generation, renewed) = watch::channel(snapshot.load().generation);
        let mut dealt: Vec<_> = listeners
            .into_iter()
            .map(|(settings, sockets)| (settings, listener::deal(sockets, workers).into_iter()))
            .collect();
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
            generation: renewed.clone(),
            listeners: dealt
                .iter_mut()
                .map(|(settings, dealt)| (settings.clone(), dealt.next().unwrap_or_default()))
                .collect(),
        });
        let prepared = prepared.collect();
        let state = Self {
            origin,
            host,
            metrics,
            snapshot,
            loads,
            drain: watch::Sender::new(None),
            handed_over: watch::Sender::new(false),
            reloads,
            sources: Mutex::new(Arc::new(sources)),
            workers: Mutex::new(senders),
            generation,
            sockets: Mutex::new(Some(Arc::new(sockets))),
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
        let generation = snapshot.generation;
        self.metrics.set_generation(generation);
        let kept: HashSet<u64> = snapshot.uses().collect();
        let before = self.snapshot.swap(Arc::new(snapshot));
        before.all_uses().filter(|replaced| !kept.contains(&replaced.id())).for_each(|replaced| replaced.retire());
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
        self.generation.send_replace(generation);
    }

    /// Has open connections follow what trials of candidates have come to, under the same configuration.
    pub(super) fn renew(&self) {
        self.generation.send_modify(|_| {});
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

    /// Has every socket listen, also those that were bound to join others of another process.
    pub(super) fn listen(&self) -> io::Result<()> {
        let sockets = self.sockets();
        let listeners = sockets.iter().flat_map(|sockets| &sockets.listeners);
        listeners.flat_map(|(_, sockets)| sockets).try_for_each(listener::listen)
    }

    /// The sockets of the process, for one that replaces it; `None` once it is draining.
    pub(super) fn sockets(&self) -> Option<Arc<Sockets>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a drain of the whole process; not if one was asked for already.
    pub(super) fn ask_drain(&self, drain: Drain) -> bool {
        let is_first = self.drain.send_if_modified(|asked| {
            let is_first = asked.is_none();
            asked.get_or_insert(drain);
            is_first
        });
        if is_first {
            self.enter(Phase::Draining);
        }
        is_first
    }

    /// Leaves what comes from now on to the process that has taken over, and drains.
    pub(super) fn hand_over(&self) {
        self.handed_over.send_replace(true);
        self.ask_drain(self.usual_drain());
    }

    /// Whether a new process has taken over.
    pub(super) fn is_handed_over(&self) -> bool {
        *self.handed_over.borrow()
    }

    /// Waits until a new process has taken over.
    pub(super) fn until_handed_over(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut handed_over = self.handed_over.subscribe();
        async move {
            if handed_over.wait_for(|handed_over| *handed_over).await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// The drain that the configuration describes.
    pub(super) fn usual_drain(&self) -> Drain {
        Drain { code: DrainCode::default(), over: self.sources().config.drain_time }
    }

    /// Stops accepting and has all workers close their connections.
    pub(super) async fn begin_drain(&self, drain: Drain) {
        drop(self.sockets.lock().unwrap_or_else(PoisonError::into_inner).take());
        let reason = match drain.code {
            DrainCode::GoingAway => "the server goes away",
            DrainCode::ServiceRestart => "the server restarts",
        };
        self.order_drain(None, CloseFrame::new(drain.code.number(), reason), drain.over).await;
    }

    /// Has all workers close the connections of a route.
    pub(super) async fn drain_route(&self, route: &str, drain: Drain) {
        let close = CloseFrame::new(drain.code.number(), "the route is drained");
        self.order_drain(Some(route), close, drain.over).await;
    }

    async fn order_drain(&self, route: Option<&str>, close: CloseFrame, over: Duration) {
        let workers = self.workers();
        for (index, worker) in workers.iter().enumerate() {
            let pace = Pace::of(index, workers.len(), over);
            // A worker that has ended has nothing to drain.
            let _ = worker.send(Order::Drain { route: route.map(str::to_owned), close: close.clone(), pace }).await;
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
