//! What all workers follow, and the ways to them.
//!
//! The course is a state and not a message, so that a worker that is busy cannot miss any of it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;

use super::worker::Order;
use crate::listener::{Bound, Settings};
use crate::session::Permits;
use crate::ws::CloseFrame;

/// What every worker is to do from now on.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// Where connections are accepted.
    pub(super) listeners: Arc<[Listening]>,
    /// The places for connections of the whole process.
    pub(super) places: Permits,
    pub(super) stage: Stage,
}

/// A listener of the configuration, and its sockets.
#[derive(Clone, Debug)]
pub(super) struct Listening {
    pub(super) settings: Arc<Settings>,
    pub(super) bound: Arc<Bound>,
}

/// How far the process is.
#[derive(Clone, Debug)]
pub(super) enum Stage {
    Serve,
    /// Connections are closed, evenly over a time.
    Drain {
        close: CloseFrame,
        over: Duration,
    },
    /// Whatever is open.
    End,
}

/// The ways to the workers. One that is started anew takes the place of its predecessor.
#[derive(Debug)]
pub(super) struct Team(Box<[ArcSwap<mpsc::Sender<Order>>]>);

impl Team {
    /// Places for this many workers, none of which is there yet.
    pub(super) fn new(workers: usize) -> Arc<Self> {
        let absent = || ArcSwap::from_pointee(mpsc::channel(1).0);
        Arc::new(Self((0..workers).map(|_| absent()).collect()))
    }

    /// The orders of a worker that is about to start.
    pub(super) fn join(&self, worker: usize) -> mpsc::Receiver<Order> {
        let (sender, orders) = mpsc::channel(ORDERS);
        if let Some(place) = self.0.get(worker) {
            place.store(Arc::new(sender));
        }
        orders
    }

    /// How many workers there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Gives an order to a worker, or back when it takes none now.
    pub(super) fn order(&self, worker: usize, order: Order) -> Result<(), Order> {
        match self.0.get(worker) {
            Some(place) => place.load().try_send(order).map_err(mpsc::error::TrySendError::into_inner),
            None => Err(order),
        }
    }

    /// The ways to all workers.
    pub(super) fn all(&self) -> Vec<mpsc::Sender<Order>> {
        self.0.iter().map(|place| place.load().as_ref().clone()).collect()
    }
}

/// Orders that may wait for a worker; connections handed over are most of them.
const ORDERS: usize = 1024;
