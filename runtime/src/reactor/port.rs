//! Readiness of sockets: what the kernel has told of each, and who waits for it.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token};
use slab::Slab;

use super::{Reactor, exclusive};

/// The sockets that a loop watches.
pub(super) struct Ports {
    registry: Registry,
    watched: RefCell<Slab<Weak<Record>>>,
}

/// What is known of one socket of this thread, and the task that waits for it: only one, the last that asked.
#[derive(Debug)]
pub struct Port(Rc<Record>);

struct Record {
    waker: Cell<Option<Waker>>,
    /// Whether loops of other threads watch the same socket, and one of them is enough.
    is_common: bool,
    /// Its key among the watched, [`UNWATCHED`] before it was waited for.
    key: Cell<u32>,
    ready: Cell<Ready>,
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

impl std::fmt::Debug for Record {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Record").field("ready", &self.ready).finish_non_exhaustive()
    }
}

impl Ports {
    pub(super) fn new(registry: Registry) -> Self {
        Self { registry, watched: RefCell::default() }
    }

    /// Tells the sockets' tasks what happened.
    pub(super) fn tell(&self, events: &Events) {
        let watched = self.watched.borrow();
        for event in events {
            // The word of another thread, or a socket that is gone, or another in its place: that one asks in vain once.
            if let Some(record) = watched.get(event.token().0).and_then(Weak::upgrade) {
                record.tell(event);
            }
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.watched.borrow().len()
    }

    fn watch(&self, socket: RawFd, record: &Rc<Record>) -> io::Result<()> {
        let mut watched = self.watched.borrow_mut();
        let entry = watched.vacant_entry();
        let key = u32::try_from(entry.key()).map_err(io::Error::other)?;
        match record.is_common {
            true => exclusive::watch(&self.registry, socket, Token(entry.key()))?,
            false => {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.registry.register(&mut SourceFd(&socket), Token(entry.key()), interest)?;
            }
        }
        record.key.set(key);
        entry.insert(Rc::downgrade(record));
        Ok(())
    }
}

impl Record {
    fn tell(&self, event: &Event) {
        let mut ready = self.ready.get();
        ready.read |= event.is_readable();
        ready.write |= event.is_writable() || event.is_error();
        ready.ended |= event.is_read_closed() || event.is_error();
        ready.broken |= event.is_write_closed() || event.is_error();
        self.ready.set(ready);
        if let Some(waker) = self.waker.take() {
            waker.wake_by_ref();
            self.waker.set(Some(waker));
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        // The socket leaves epoll when it is closed.
        if self.key.get() != UNWATCHED {
            Reactor::with(|reactor| reactor.ports.watched.borrow_mut().try_remove(self.key.get() as usize));
        }
    }
}

impl Port {
    /// That of a socket of which nothing is known: it may be read and written, until that turns out to be in vain.
    pub fn new() -> Self {
        Self::with(true, false)
    }

    /// That of a listening socket from which other threads accept, too. A connection wakes one of those that sleep.
    pub fn of_common() -> Self {
        Self::with(true, true)
    }

    /// That of a socket that is connecting: there is nothing to read or to write before it has connected.
    pub(super) fn of_connecting() -> Self {
        Self::with(false, false)
    }

    fn with(is_ready: bool, is_common: bool) -> Self {
        let ready = Cell::new(Ready { read: is_ready, write: is_ready, ended: false, broken: false });
        Self(Rc::new(Record { waker: Cell::default(), is_common, key: Cell::new(UNWATCHED), ready }))
    }

    /// Whether reading, or accepting, may bring something; otherwise the task is woken when it may. The first time that
    /// there is something to wait for, the loop begins to watch the socket.
    ///
    /// # Errors
    /// When the system refuses to watch a further socket, or the thread has no loop.
    #[inline]
    pub fn poll_read(&self, socket: &impl AsRawFd, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll(socket, context, |ready| ready.read || ready.ended)
    }

    /// Whether writing may move something; otherwise the task is woken when it may.
    ///
    /// # Errors
    /// Those of [`poll_read`](Self::poll_read).
    #[inline]
    pub fn poll_write(&self, socket: &impl AsRawFd, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll(socket, context, |ready| ready.write)
    }

    /// Whether the sending half has ended, with what it sent read or unread; otherwise the task is woken when it does.
    ///
    /// # Errors
    /// Those of [`poll_read`](Self::poll_read).
    pub fn poll_ended(&self, socket: &impl AsRawFd, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.poll(socket, context, |ready| ready.ended)
    }

    /// Whether both halves have ended, as they do when the other end resets the connection.
    pub fn is_broken(&self) -> bool {
        self.0.ready.get().broken
    }

    /// Notes that everything was read that had come.
    #[inline]
    pub fn drained(&self) {
        self.note(|ready| ready.read = false);
    }

    /// Notes that a read, or an accept, was in vain.
    pub fn empty(&self) {
        self.note(|ready| (ready.read, ready.ended) = (false, false));
    }

    /// Notes that the socket takes no more for now.
    pub fn filled(&self) {
        self.note(|ready| ready.write = false);
    }

    /// Has the loop watch the socket no more. That is for sockets that somebody else has open, too: the others leave epoll
    /// when they are closed.
    pub fn leave(&self, socket: &impl AsRawFd) {
        if self.0.key.get() != UNWATCHED {
            // One that is not there any more needs not leave.
            Reactor::with(|reactor| reactor.ports.registry.deregister(&mut SourceFd(&socket.as_raw_fd())).ok());
        }
    }

    #[inline]
    fn poll(
        &self,
        socket: &impl AsRawFd,
        context: &Context<'_>,
        is_so: impl FnOnce(Ready) -> bool,
    ) -> Poll<io::Result<()>> {
        match is_so(self.0.ready.get()) {
            true => Poll::Ready(Ok(())),
            false => self.wait(socket.as_raw_fd(), context),
        }
    }

    fn wait(&self, socket: RawFd, context: &Context<'_>) -> Poll<io::Result<()>> {
        let known = self.0.waker.take().filter(|waker| waker.will_wake(context.waker()));
        self.0.waker.set(Some(known.unwrap_or_else(|| context.waker().clone())));
        if self.0.key.get() != UNWATCHED {
            return Poll::Pending;
        }
        match Reactor::with(|reactor| reactor.ports.watch(socket, &self.0)) {
            Some(Ok(())) => Poll::Pending,
            Some(Err(error)) => Poll::Ready(Err(error)),
            None => Poll::Ready(Err(io::Error::other("a socket is waited for on a thread without a loop"))),
        }
    }

    #[inline]
    fn note(&self, what: impl FnOnce(&mut Ready)) {
        let mut ready = self.0.ready.get();
        what(&mut ready);
        self.0.ready.set(ready);
    }
}

impl Default for Port {
    fn default() -> Self {
        Self::new()
    }
}

/// The word of another thread.
pub(super) const REMOTE: Token = Token(usize::MAX);
const UNWATCHED: u32 = u32::MAX;
