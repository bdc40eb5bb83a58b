//! A worker thread: accepts, serves, and carries out orders.

use std::collections::HashSet;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{self, LocalOptions};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::spawn_local;
use tokio::time;

use super::listing::{Slice, Wanted};
use super::pace::Pace;
use crate::component::Host;
use crate::listener::{self, Counted, Loads, Settings};
use crate::log::AccessLog;
use crate::metrics::{Metrics, WorkerIndex};
use crate::pipe::Reactor;
use crate::session::{self, Accepted, Connection, Snapshot, Worker};
use crate::ws::CloseFrame;

/// What a worker is told.
pub(super) enum Order {
    /// Serve a connection that another worker accepted.
    Adopt(Handed),
    /// Tell about open connections, a slice of them.
    List(Wanted, oneshot::Sender<Slice>),
    /// Close connections at a pace: those of one route, or stop accepting and close all.
    Drain { route: Option<String>, close: CloseFrame, pace: Pace },
    /// End, whatever is open.
    End,
}

/// A connection on its way from one worker to another.
pub(super) struct Handed {
    stream: StdStream,
    peer: SocketAddr,
    listener: usize,
    held: Held,
}

/// A place among all connections, and the count of a worker's.
type Held = (OwnedSemaphorePermit, Counted);

/// Everything that a worker thread starts with.
pub(super) struct Prepared {
    pub(super) index: WorkerIndex,
    /// Names the process in connection ids.
    pub(super) process: u32,
    pub(super) host: Host,
    pub(super) metrics: Arc<Metrics>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) access: AccessLog,
    pub(super) loads: Arc<Loads>,
    pub(super) places: Arc<Semaphore>,
    pub(super) neighbours: Vec<mpsc::Sender<Order>>,
    pub(super) orders: mpsc::Receiver<Order>,
    /// Changes with what is in force. Unlike an order this cannot be missed.
    pub(super) generation: watch::Receiver<u64>,
    /// Each with this worker's sockets of it.
    pub(super) listeners: Vec<(Settings, Vec<StdListener>)>,
}

impl Prepared {
    /// Starts the thread.
    pub(super) fn spawn(self) -> io::Result<JoinHandle<()>> {
        let name = format!("worker-{}", self.index.0);
        std::thread::Builder::new().name(name).spawn(move || {
            // A runtime for tasks that stay on their thread is made on that thread.
            let runtime = runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
            if let Err(error) = runtime.and_then(|runtime| runtime.block_on(self.work())) {
                tracing::error!(%error, "a worker cannot serve");
            }
        })
    }

    async fn work(self) -> io::Result<()> {
        let pool = self.host.pool(self.index);
        let reactor = Reactor::start()?;
        spawn_local(pulse());
        let worker =
            Worker::new(self.index, pool, self.snapshot.clone(), self.access, &self.metrics, self.process, reactor);
        let settings: Rc<[Settings]> = self.listeners.iter().map(|(settings, _)| settings.clone()).collect();
        let server = Rc::new(Serving { worker, loads: self.loads, neighbours: self.neighbours, settings });
        let mut accepting = Vec::new();
        for (index, (_, sockets)) in self.listeners.into_iter().enumerate() {
            for socket in sockets {
                let listener = TcpListener::from_std(socket)?;
                accepting.push(spawn_local(server.clone().accept(listener, index, self.places.clone())));
            }
        }
        let (mut orders, mut generation) = (self.orders, self.generation);
        loop {
            let order = tokio::select! {
                Ok(()) = generation.changed() => {
                    server.renew(&self.snapshot.load_full());
                    continue;
                }
                order = orders.recv() => order,
            };
            let Some(order) = order else { return Ok(()) };
            match order {
                Order::Adopt(handed) => server.adopt(handed),
                Order::List(wanted, answer) => {
                    let worker = &server.worker;
                    // Whoever asked may have gone.
                    let _ = answer.send(Slice::of(worker.registry(), worker.index().0, &wanted));
                }
                Order::Drain { route, close, pace } => {
                    if route.is_none() {
                        for task in accepting.drain(..) {
                            task.abort();
                        }
                    }
                    spawn_local(server.clone().drain(route, close, pace));
                }
                Order::End => return Ok(()),
            }
        }
    }
}

/// Lets the runtime wake up in a moment anyway. A timer that were the first to come would have it interrupt itself by a
/// system call, and each handshake sets several.
async fn pulse() {
    let mut pulse = time::interval(PULSE);
    loop {
        pulse.tick().await;
    }
}

/// Shorter than the usual timeouts of a handshake, too long to cost anything.
const PULSE: Duration = Duration::from_secs(1);

/// How often a draining worker looks for connections that have opened since.
const LOOK: Duration = Duration::from_millis(100);

/// A worker at work.
struct Serving {
    worker: Rc<Worker>,
    loads: Arc<Loads>,
    neighbours: Vec<mpsc::Sender<Order>>,
    settings: Rc<[Settings]>,
}

impl Serving {
    /// Accepts as long as there are places for connections.
    async fn accept(self: Rc<Self>, listener: TcpListener, index: usize, places: Arc<Semaphore>) {
        while let Ok(place) = places.clone().acquire_owned().await {
            let (stream, peer) = listener::accept(&listener).await;
            let here = self.worker.index().0;
            // Counted from here on, also on its way to another worker: a drain waits for it.
            match self.loads.place(here) {
                other if other != here => self.hand_over(other, stream, peer, index, (place, self.loads.count(other))),
                _ => self.serve(stream, peer, index, (place, self.loads.count(here))),
            }
        }
    }

    /// Gives a connection to a worker that has fewer; keeps it when that one does not take it.
    fn hand_over(&self, other: usize, stream: TcpStream, peer: SocketAddr, listener: usize, held: Held) {
        let Ok(stream) = stream.into_std() else { return };
        let handed = Order::Adopt(Handed { stream, peer, listener, held });
        let Some(neighbour) = self.neighbours.get(other) else { return };
        if let Err(error) = neighbour.try_send(handed)
            && let Order::Adopt(Handed { stream, peer, listener, held: (place, _) }) = error.into_inner()
        {
            let held = (place, self.loads.count(self.worker.index().0));
            self.adopt(Handed { stream, peer, listener, held });
        }
    }

    fn adopt(&self, Handed { stream, peer, listener, held }: Handed) {
        // A socket that cannot be registered is lost to its client as if it had been refused.
        if let Ok(stream) = TcpStream::from_std(stream) {
            self.serve(stream, peer, listener, held);
        }
    }

    fn serve(&self, stream: TcpStream, peer: SocketAddr, listener: usize, held: Held) {
        let Some(settings) = self.settings.get(listener) else { return };
        let Settings { head, handshake_timeout, .. } = settings;
        // Boxed, because an open connection's task has no use for it.
        let accepted = Box::new(Accepted { stream, peer, head: head.clone(), handshake_timeout: *handshake_timeout });
        spawn_local(session::serve(self.worker.clone(), accepted, held));
    }

    /// Follows a new configuration: instances that it does not need go, and open connections do what their routes say.
    fn renew(self: &Rc<Self>, snapshot: &Snapshot) {
        let live: HashSet<u64> = snapshot.uses().collect();
        self.worker.pool().retire(&|id| live.contains(&id));
        self.worker.renew(snapshot);
        let pace = Pace::of(self.worker.index().0, self.neighbours.len(), snapshot.drain_time);
        let worker = self.worker.clone();
        spawn_local(async move {
            let closing = session::follow(&worker).await;
            Self::close_evenly(closing, &CloseFrame::new(1012, "the route has changed"), pace).await;
        });
    }

    /// Closes the connections of a route, or all of them, and then also those that were still opening.
    async fn drain(self: Rc<Self>, route: Option<String>, close: CloseFrame, pace: Pace) {
        let mut open = Vec::new();
        let registry = self.worker.registry();
        registry
            .each(|connection| {
                if route.as_ref().is_none_or(|route| connection.took(route)) {
                    open.push(Rc::downgrade(connection));
                }
            })
            .await;
        Self::close_evenly(open, &close, pace).await;
        if route.is_some() {
            return;
        }
        let mut look = time::interval(LOOK);
        loop {
            look.tick().await;
            registry.each(|connection| connection.handle.switch.turn(close.clone())).await;
        }
    }

    /// Closes these connections at a pace. What ends before its turn is not kept: it holds an endpoint's lease.
    async fn close_evenly(open: Vec<Weak<Connection>>, close: &CloseFrame, pace: Pace) {
        let turn = |connection: Weak<Connection>| {
            if let Some(connection) = connection.upgrade() {
                connection.handle.switch.turn(close.clone());
            }
        };
        pace.each(open, turn).await;
    }
}
