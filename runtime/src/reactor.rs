//! The event loop of a thread: its tasks, its timers and its sockets, with one wait of the kernel for each wake.
//!
//! A general runtime keeps each task, each timer and each socket so that any thread may touch it. Here all of them belong
//! to the thread that [`run`]s them; only wakers may go elsewhere. A turn of the loop polls tasks that are ready, up to a
//! number of them, and then looks at the clock, at the sockets and at what other threads have woken. So no task starves
//! the sockets, and a task that gives way with [`yield_now`] has its next turn after that look.
//!
//! A socket is registered once, when it is first waited for, and stays registered until it is closed: a [`Port`] keeps
//! what the kernel has told of it, and which task waits.
//!
//! On a thread without a loop, as in tests under tokio's paused clock, [`Sleep`] and [`yield_now`] are tokio's. Channels
//! and locks of `tokio::sync` work on any thread.

mod exclusive;
mod port;
mod remote;
mod sleep;
mod socket;
mod tasks;
mod timers;
mod turn;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt;
use mio::{Events, Poll};
use tokio::time::Instant;

pub use async_task::Task;
pub use port::Port;
pub use sleep::{Sleep, TimedOut, Timeout, sleep, sleep_until, timeout};
pub use socket::Socket;
pub use tasks::spawn;
pub use turn::{after_others, give_way, yield_now};

use port::Ports;
use remote::Remote;
use tasks::Tasks;
use timers::Timers;
use turn::Yielded;

/// What belongs to the loop of one thread.
struct Reactor {
    tasks: Tasks,
    timers: Timers,
    ports: Ports,
    yielded: Yielded,
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<Reactor>>> = const { RefCell::new(None) };
}

/// Runs a future on this thread, with what it [`spawn`]s, until it has ended. What is left of the others is dropped then,
/// before this returns or passes a panic of the future on.
///
/// # Errors
/// When the system gives no further epoll instance, or waiting on it fails.
pub fn run<F: Future + 'static>(future: F) -> io::Result<F::Output> {
    let mut poll = Poll::new()?;
    let remote = Remote::new(poll.registry())?;
    let reactor = Rc::new(Reactor {
        tasks: Tasks::new(remote),
        timers: Timers::default(),
        ports: Ports::new(poll.registry().try_clone()?),
        yielded: Yielded::default(),
    });
    let current = Current::set(reactor);
    let main = current.0.tasks.spawn(future, true);
    let ended = current.0.run_until(&mut poll, &main);
    current.0.tasks.end();
    ended?;
    drop(current);
    main.now_or_never().ok_or_else(|| io::Error::other("the main task of a loop has not ended"))
}

/// The loop of this thread, for as long as it runs.
struct Current(Rc<Reactor>);

impl Current {
    fn set(reactor: Rc<Reactor>) -> Self {
        CURRENT.set(Some(reactor.clone()));
        Self(reactor)
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.take();
    }
}

impl Reactor {
    fn current() -> Option<Rc<Self>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// Does something with the loop of this thread; `None` when it has none.
    fn with<T>(what: impl FnOnce(&Self) -> T) -> Option<T> {
        // While the thread ends there is none any more.
        CURRENT.try_with(|current| current.borrow().as_deref().map(what)).ok().flatten()
    }

    fn run_until<T>(&self, poll: &mut Poll, main: &Task<T>) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            self.tasks.turn(POLLS);
            if main.is_finished() {
                return Ok(());
            }
            let patience = match self.tasks.are_ready() || self.yielded.are_waiting() {
                true => Some(Duration::ZERO),
                false => self.timers.next().map(|at| at.saturating_duration_since(Instant::now())),
            };
            let waited = match self.tasks.remote.may_sleep(patience) {
                true => poll.poll(&mut events, patience),
                false => poll.poll(&mut events, Some(Duration::ZERO)),
            };
            self.tasks.remote.is_awake();
            match waited {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => events.clear(),
                waited => waited?,
            }
            // The word of another thread comes first: what a worker was told before a client came holds for that client.
            self.tasks.take_remote();
            self.timers.fire();
            self.ports.tell(&events);
            self.yielded.wake();
        }
    }
}

/// Edges taken at a time.
const EVENTS: usize = 256;
/// Tasks polled between two looks at the sockets.
const POLLS: usize = 64;

#[cfg(test)]
mod tests;
