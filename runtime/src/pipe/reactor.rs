//! Readiness of the sockets of open connections.
//!
//! A general reactor keeps a record for each socket that any thread may touch, and each wait for it leaves a waker there.
//! Here both sockets of a connection share one record that only its worker touches, and the waker of the connection's
//! task stays in it. The kernel reports edges to an epoll instance of the worker's own, which the runtime watches like
//! any other file descriptor.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::rc::{Rc, Weak};
use std::task::{Context, Waker};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use slab::Slab;
use tokio::io::Interest as Readiness;
use tokio::io::unix::AsyncFd;
use tokio::task::{JoinHandle, spawn_local, yield_now};

use crate::peer::Side;

/// The reactor of one worker.
#[derive(Debug)]
pub struct Reactor {
    registry: Registry,
    ports: RefCell<Slab<Weak<Port>>>,
}

/// What is known of the two sockets of one connection.
pub(super) struct Port {
    reactor: Rc<Reactor>,
    key: usize,
    ready: [Cell<Ready>; Side::COUNT],
    waker: Cell<Option<Waker>>,
}

impl std::fmt::Debug for Port {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Port").field("key", &self.key).finish_non_exhaustive()
    }
}

/// What one socket may be asked without asking in vain.
#[derive(Clone, Copy, Debug)]
struct Ready {
    read: bool,
    write: bool,
    /// Its sending half has ended, or an error waits: there will be no further edge to tell of it.
    ended: bool,
    /// Both halves have ended, or an error waits.
    broken: bool,
}

impl Reactor {
    /// A reactor without sockets, for the thread of a local runtime, on which it starts a task: the one that is returned,
    /// without which no socket is told of anything.
    ///
    /// # Errors
    /// When the system gives no further epoll instance.
    pub fn start() -> io::Result<(Rc<Self>, JoinHandle<()>)> {
        let poll = Poll::new()?;
        let reactor = Rc::new(Self { registry: poll.registry().try_clone()?, ports: RefCell::default() });
        let running = spawn_local(reactor.clone().run(watched(poll)?));
        Ok((reactor, running))
    }

    /// Hands on what the kernel tells, as long as the runtime lives.
    async fn run(self: Rc<Self>, mut poll: AsyncFd<Poll>) {
        let mut events = Events::with_capacity(EVENTS);
        while let Ok(mut guard) = poll.readable_mut().await {
            // Interrupted: the next turn asks again.
            let _ = guard.get_inner_mut().poll(&mut events, Some(Duration::ZERO));
            if self.tell(&events) < EVENTS {
                guard.clear_ready();
            } else {
                yield_now().await;
            }
        }
    }

    /// Tells the connections what happened; gives how much that was.
    fn tell(&self, events: &Events) -> usize {
        let ports = self.ports.borrow();
        let mut count = 0;
        for event in events {
            count += 1;
            let Token(token) = event.token();
            // A connection that is gone, or another in its place: that one asks in vain once.
            let port = ports.get(token / Side::COUNT).and_then(Weak::upgrade);
            if let Some(port) = port {
                port.tell(token % Side::COUNT, event);
            }
        }
        count
    }

    /// Watches the two sockets of one connection.
    ///
    /// # Errors
    /// When the system refuses to watch a further socket.
    pub(super) fn watch(self: &Rc<Self>, client: &TcpStream, upstream: &TcpStream) -> io::Result<Rc<Port>> {
        let mut ports = self.ports.borrow_mut();
        let entry = ports.vacant_entry();
        let key = entry.key();
        let fresh = Ready { read: false, write: true, ended: false, broken: false };
        let ready = [Cell::new(fresh), Cell::new(fresh)];
        let port = Rc::new(Port { reactor: self.clone(), key, ready, waker: Cell::new(None) });
        entry.insert(Rc::downgrade(&port));
        drop(ports);
        for (side, socket) in [(Side::Client, client), (Side::Upstream, upstream)] {
            let token = Token(key * Side::COUNT + side as usize);
            let interest = Interest::READABLE | Interest::WRITABLE;
            self.registry.register(&mut SourceFd(&socket.as_raw_fd()), token, interest)?;
        }
        Ok(port)
    }
}

#[expect(unsafe_code, reason = "the runtime takes file descriptors of others on trust only")]
fn watched(poll: Poll) -> io::Result<AsyncFd<Poll>> {
    // SAFETY: a `Poll` owns its epoll instance, which stays open and the same until it is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(poll, Readiness::READABLE) };
    watched.map_err(Into::into)
}

impl Port {
    fn tell(&self, side: usize, event: &mio::event::Event) {
        let Some(cell) = self.ready.get(side) else { return };
        let mut ready = cell.get();
        ready.read |= event.is_readable();
        ready.write |= event.is_writable() || event.is_error();
        ready.ended |= event.is_read_closed() || event.is_error();
        ready.broken |= event.is_write_closed() || event.is_error();
        cell.set(ready);
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }

    /// Whether reading may bring something; otherwise the task is woken when it may.
    pub(super) fn may_read(&self, side: Side, context: &Context<'_>) -> bool {
        self.ask(side, context, |ready| ready.read || ready.ended)
    }

    /// Whether writing may move something; otherwise the task is woken when it may.
    pub(super) fn may_write(&self, side: Side, context: &Context<'_>) -> bool {
        self.ask(side, context, |ready| ready.write)
    }

    /// Whether the sending half has ended, with what it sent read or unread; otherwise the task is woken when it does.
    pub(super) fn has_ended(&self, side: Side, context: &Context<'_>) -> bool {
        self.ask(side, context, |ready| ready.ended)
    }

    /// Whether both halves have ended, as they do when the other end resets the connection.
    pub(super) fn is_broken(&self, side: Side) -> bool {
        self.ready.get(side as usize).is_some_and(|ready| ready.get().broken)
    }

    /// Notes that everything was read that had come.
    pub(super) fn drained(&self, side: Side) {
        self.note(side, |ready| ready.read = false);
    }

    /// Notes that a read was in vain.
    pub(super) fn empty(&self, side: Side) {
        self.note(side, |ready| (ready.read, ready.ended) = (false, false));
    }

    /// Notes that the socket takes no more for now.
    pub(super) fn filled(&self, side: Side) {
        self.note(side, |ready| ready.write = false);
    }

    fn ask(&self, side: Side, context: &Context<'_>, whether: impl FnOnce(Ready) -> bool) -> bool {
        if self.ready.get(side as usize).is_some_and(|ready| whether(ready.get())) {
            return true;
        }
        let known = self.waker.take().filter(|waker| waker.will_wake(context.waker()));
        self.waker.set(Some(known.unwrap_or_else(|| context.waker().clone())));
        false
    }

    fn note(&self, side: Side, what: impl FnOnce(&mut Ready)) {
        if let Some(cell) = self.ready.get(side as usize) {
            let mut ready = cell.get();
            what(&mut ready);
            cell.set(ready);
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // The sockets leave epoll when they are closed.
        self.reactor.ports.borrow_mut().try_remove(self.key);
    }
}

/// Edges taken at a time, before connections have their turn.
const EVENTS: usize = 256;
