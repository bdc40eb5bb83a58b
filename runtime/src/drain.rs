//! Telling connections to end.
//!
//! Each open connection has a [`Switch`] on its worker; whoever wants it to end turns it. Nothing is shared between
//! threads: an order reaches a worker as a message, and the worker turns the switches of its own connections.

use std::cell::RefCell;
use std::task::{Context, Waker};

use crate::ws::CloseFrame;

/// Ends one connection from outside, with a close frame to both sides.
#[derive(Debug, Default)]
pub struct Switch {
    /// Boxed, because most connections never get one.
    order: RefCell<Option<Box<CloseFrame>>>,
    waker: RefCell<Option<Waker>>,
}

impl Switch {
    /// Tells the connection to close both sides with `close`; the last order before it wakes counts.
    pub fn turn(&self, close: CloseFrame) {
        self.order.replace(Some(Box::new(close)));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The order, once there is one. Until then, `context` is woken by it.
    pub fn poll(&self, context: &Context<'_>) -> Option<CloseFrame> {
        let order = self.order.take().map(|order| *order);
        if order.is_none() {
            let mut waker = self.waker.borrow_mut();
            match waker.as_mut() {
                Some(waker) => waker.clone_from(context.waker()),
                None => *waker = Some(context.waker().clone()),
            }
        }
        order
    }
}
