//! Who may ask at a time: so many ordinary places, and some more that nobody but a probe gets an answer at.
//!
//! A connection that asks for nothing has no claim to its place: where all are taken, the one that has been idle for
//! longest goes for one that has just come. So only answers under way can take all of them, and then probes are still
//! answered.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

/// What the admin API bears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The connections that may ask for anything at a time. Sixteen more may ask for `/healthz` and `/readyz`.
    pub max_connections: usize,
    /// How long a client may take to read an answer.
    pub send_timeout: Duration,
}

/// What a connection may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// Anything.
    Ordinary,
    /// Whether the process is well, once.
    Reserved,
}

/// The connections that have a place.
#[derive(Debug)]
pub(super) struct Places {
    most: usize,
    ordinary: Vec<Seat>,
    /// Those that came first stand in front.
    reserved: VecDeque<Seat>,
}

#[derive(Debug)]
struct Seat {
    /// Gone with the connection.
    activity: Weak<Activity>,
    task: AbortHandle,
}

impl Places {
    pub(super) fn new(most: usize) -> Self {
        Self { most, ordinary: Vec::new(), reserved: VecDeque::new() }
    }

    /// Makes room for a connection that has come, and says for what.
    pub(super) fn make_room(&mut self) -> Place {
        self.ordinary.retain(|seat| !seat.task.is_finished());
        self.reserved.retain(|seat| !seat.task.is_finished());
        if self.ordinary.len() < self.most || self.send_idle_away() {
            return Place::Ordinary;
        }
        if self.reserved.len() >= RESERVED
            && let Some(first) = self.reserved.pop_front()
        {
            first.task.abort();
        }
        Place::Reserved
    }

    /// Gives the place to who serves the connection.
    pub(super) fn take(&mut self, place: Place, activity: &Arc<Activity>, task: AbortHandle) {
        let seat = Seat { activity: Arc::downgrade(activity), task };
        match place {
            Place::Ordinary => self.ordinary.push(seat),
            Place::Reserved => self.reserved.push_back(seat),
        }
    }

    /// Ends the connection that has asked for nothing for longest; whether there was one.
    fn send_idle_away(&mut self) -> bool {
        let idle = self.ordinary.iter().enumerate();
        let idle = idle.filter_map(|(index, seat)| Some((seat.activity.upgrade()?.idle_since()?, index)));
        let Some((_, index)) = idle.min() else { return false };
        self.ordinary.swap_remove(index).task.abort();
        true
    }
}

/// What a connection is at.
#[derive(Debug)]
pub(super) struct Activity {
    doing: watch::Sender<Doing>,
    /// Whether any request has come.
    was_asked: AtomicBool,
    /// Held until its answer is sent.
    list: Mutex<Option<OwnedSemaphorePermit>>,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    /// It waits for a request, or for the rest of one.
    Idle(Instant),
    /// The answer is being found.
    Working,
    /// The answer is being sent, and may still be made.
    Sending { since: Instant, is_made: bool },
}

impl Activity {
    /// Of a connection that has just come.
    pub(super) fn new() -> Arc<Self> {
        let doing = watch::Sender::new(Doing::Idle(Instant::now()));
        Arc::new(Self { doing, was_asked: AtomicBool::new(false), list: Mutex::default() })
    }

    /// A request has come.
    pub(super) fn work(&self) {
        self.was_asked.store(true, Ordering::Relaxed);
        self.doing.send_replace(Doing::Working);
    }

    /// Waits for the turn of a list, which may be long and is in memory until it is sent.
    pub(super) async fn take_turn(&self, lists: &Arc<Semaphore>) {
        let turn = lists.clone().acquire_owned().await.ok();
        *self.list.lock().unwrap_or_else(PoisonError::into_inner) = turn;
    }

    /// Its answer is there, and is made until what is returned is dropped.
    pub(super) fn send(self: &Arc<Self>) -> Sending {
        self.doing.send_replace(Doing::Sending { since: Instant::now(), is_made: false });
        Sending(self.clone())
    }

    /// All that was made of it has been taken by the socket.
    fn flushed(&self) {
        let was_sent = self.doing.send_if_modified(|doing| {
            let is_sent = matches!(doing, Doing::Sending { is_made: true, .. });
            if is_sent {
                *doing = Doing::Idle(Instant::now());
            }
            is_sent
        });
        if was_sent {
            self.list.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Waits until a request has come, if none has.
    pub(super) async fn asked(&self) {
        let mut doing = self.doing.subscribe();
        while !self.was_asked.load(Ordering::Relaxed) {
            // Its sender is borrowed here.
            let _ = doing.changed().await;
        }
    }

    fn idle_since(&self) -> Option<Instant> {
        match *self.doing.borrow() {
            Doing::Idle(since) => Some(since),
            Doing::Working | Doing::Sending { .. } => None,
        }
    }

    /// Waits until sending an answer takes longer than this.
    pub(super) async fn overdue(&self, timeout: Duration) {
        let mut doing = self.doing.subscribe();
        loop {
            let now = *doing.borrow_and_update();
            match now {
                Doing::Sending { since, .. } => tokio::select! {
                    () = sleep_until(since + timeout) => return,
                    _ = doing.changed() => {}
                },
                Doing::Idle(_) | Doing::Working => {
                    // Its sender is borrowed here.
                    let _ = doing.changed().await;
                }
            }
        }
    }
}

/// An answer that is being made and sent.
#[derive(Debug)]
pub(super) struct Sending(Arc<Activity>);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.doing.send_modify(|doing| {
            if let Doing::Sending { is_made, .. } = doing {
                *is_made = true;
            }
        });
    }
}

/// A socket that says when everything was written to it.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if flushed.is_ready() {
            self.activity.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Lists that may be in memory at a time: a client that reads slowly keeps one there.
pub(super) const LISTS: usize = 8;
/// More than probe at a time; as each is answered at once, who comes later may have the place of who came first.
const RESERVED: usize = 16;
