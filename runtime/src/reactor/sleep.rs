//! Waiting for a moment.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use thiserror::Error;
use tokio::time::Instant;

use super::Reactor;
use super::timers::Timers;

/// Ends at a moment, or up to a millisecond and a turn of the loop later. Until it is polled it costs nothing.
#[derive(Debug)]
pub struct Sleep {
    deadline: Instant,
    timer: Timer,
}

/// Who will wake the task.
#[derive(Debug)]
enum Timer {
    Nobody,
    /// The loop of this thread, by this key.
    Loop(usize),
    /// The runtime of a thread that has no loop.
    Tokio(Pin<Box<tokio::time::Sleep>>),
}

/// Waits until a moment.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, timer: Timer::Nobody }
}

/// Waits for a time.
pub fn sleep(time: Duration) -> Sleep {
    let now = Instant::now();
    sleep_until(now.checked_add(time).unwrap_or_else(|| now + FAR_AWAY))
}

/// What a future gives within a time, which runs from its first poll on. One that is ready by then costs no timer.
///
/// # Errors
/// When the time was over first.
pub fn timeout<F: Future>(limit: Duration, future: F) -> Timeout<F> {
    Timeout { future, limit, sleep: None }
}

/// The time was over first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("it took too long")]
pub struct TimedOut;

pin_project! {
    /// What [`timeout`] gives.
    #[derive(Debug)]
    pub struct Timeout<F> {
        #[pin]
        future: F,
        limit: Duration,
        sleep: Option<Sleep>,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, TimedOut>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(output) = this.future.poll(context) {
            return Poll::Ready(Ok(output));
        }
        let sleep = this.sleep.get_or_insert_with(|| sleep(*this.limit));
        Pin::new(sleep).poll(context).map(|()| Err(TimedOut))
    }
}

impl Sleep {
    /// The moment.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Waits for another moment.
    pub fn reset(&mut self, deadline: Instant) {
        self.cancel();
        self.deadline = deadline;
    }

    fn cancel(&mut self) {
        if let Timer::Loop(key) = std::mem::replace(&mut self.timer, Timer::Nobody) {
            Reactor::with(|reactor| reactor.timers.remove(self.deadline, key));
        }
    }

    /// Has the loop of a thread wake the task.
    fn poll_loop(&mut self, timers: &Timers, context: &Context<'_>) -> Poll<()> {
        if timers.has_come(self.deadline) {
            self.timer = Timer::Nobody;
            return Poll::Ready(());
        }
        match self.timer {
            Timer::Loop(key) => timers.renew(key, context),
            _ => self.timer = Timer::Loop(timers.insert(self.deadline, context)),
        }
        Poll::Pending
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(polled) = Reactor::with(|reactor| self.poll_loop(&reactor.timers, context)) {
            return polled;
        }
        let deadline = self.deadline;
        if !matches!(self.timer, Timer::Tokio(_)) {
            self.timer = Timer::Tokio(Box::pin(tokio::time::sleep_until(deadline)));
        }
        match &mut self.timer {
            Timer::Tokio(sleep) => sleep.as_mut().poll(context),
            Timer::Nobody | Timer::Loop(_) => Poll::Pending,
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// As good as never, for times that no clock counts to.
const FAR_AWAY: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
