//! Telling connections to end, or to change.
//!
//! Each open connection has a [`Switch`] on its worker; whoever wants it to end turns it. Nothing is shared between
//! threads: an order reaches a worker as a message, and the worker turns the switches of its own connections.

use std::cell::Cell;
use std::task::{Context, Waker};

use crate::ws::CloseFrame;

/// Ends one connection from outside, with a close frame to both sides, or tells it to change.
pub struct Switch<T> {
    /// Boxed, because most connections never get one.
    close: Cell<Option<Box<(CloseFrame, &'static str)>>>,
    change: Cell<Option<T>>,
    waker: Cell<Option<Waker>>,
}

/// What a connection is told.
#[derive(Debug)]
pub enum Order<T> {
    /// Close both sides with this, because of that: for the access log, where the frame does not say it.
    Close(CloseFrame, &'static str),
    /// Change in this way.
    Change(T),
}

impl<T> std::fmt::Debug for Switch<T> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Switch").finish_non_exhaustive()
    }
}

impl<T> Default for Switch<T> {
    fn default() -> Self {
        Self { close: Cell::default(), change: Cell::default(), waker: Cell::default() }
    }
}

impl<T> Switch<T> {
    /// Tells the connection to close both sides with `close`; the last such order before it wakes counts.
    pub fn turn(&self, close: CloseFrame) {
        self.close_because(close, "drained");
    }

    /// The same for what the close frame itself gives the reason of.
    pub fn dismiss(&self, close: CloseFrame) {
        self.close_because(close, "");
    }

    fn close_because(&self, close: CloseFrame, cause: &'static str) {
        self.close.set(Some(Box::new((close, cause))));
        self.wake();
    }

    /// Tells the connection to change; the last such order before it wakes counts.
    pub fn change(&self, change: T) {
        self.change.set(Some(change));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The order, once there is one; closing comes first. Until then, `context` is woken by it.
    pub fn poll(&self, context: &Context<'_>) -> Option<Order<T>> {
        if let Some(close) = self.close.take() {
            let (close, cause) = *close;
            return Some(Order::Close(close, cause));
        }
        if let Some(change) = self.change.take() {
            return Some(Order::Change(change));
        }
        let known = self.waker.take().filter(|waker| waker.will_wake(context.waker()));
        self.waker.set(Some(known.unwrap_or_else(|| context.waker().clone())));
        None
    }
}
