//! How many connections each worker has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many connections each worker has, to hand new ones to the one with the fewest.
#[derive(Debug)]
pub struct Loads {
    connections: Box<[Load]>,
    /// Workers from which connections may come that are not counted yet.
    accepting: AtomicUsize,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// A connection counted for a worker until it is dropped.
#[derive(Debug)]
pub struct Counted {
    loads: Arc<Loads>,
    worker: usize,
}

/// A worker that accepts connections, until it is dropped.
#[derive(Debug)]
pub struct Accepts(Arc<Loads>);

impl Loads {
    /// No connections yet, for this many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        let connections = (0..workers).map(|_| Load::default()).collect();
        Arc::new(Self { connections, accepting: AtomicUsize::new(0) })
    }

    /// The worker that shall have the next connection, which `here` has accepted: `here`, unless another has clearly
    /// fewer. Handing a connection over costs two system calls and a wake-up.
    pub fn place(&self, here: usize) -> usize {
        let load = |load: &Load| load.0.load(Ordering::Relaxed);
        let own = self.connections.get(here).map_or(0, load);
        match self.connections.iter().map(load).enumerate().min_by_key(|(_, count)| *count) {
            Some((fewest, count)) if count + MARGIN < own => fewest,
            _ => here,
        }
    }

    /// Counts a connection for a worker.
    pub fn count(self: &Arc<Self>, worker: usize) -> Counted {
        if let Some(load) = self.connections.get(worker) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
        Counted { loads: self.clone(), worker }
    }

    /// Says that a worker accepts connections from now on.
    pub fn accept(self: &Arc<Self>) -> Accepts {
        self.accepting.fetch_add(1, Ordering::Relaxed);
        Accepts(self.clone())
    }

    /// Whether there is no connection, and none can come any more.
    pub fn are_over(&self) -> bool {
        // In this order: who accepts no more has counted whom it has accepted.
        self.accepting.load(Ordering::Acquire) == 0 && self.total() == 0
    }

    /// The connections of all workers.
    pub fn total(&self) -> usize {
        self.connections.iter().map(|load| load.0.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Accepts {
    fn drop(&mut self) {
        self.0.accepting.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(load) = self.loads.connections.get(self.worker) {
            load.0.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A difference that is not worth handing over.
const MARGIN: usize = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_not_over_while_somebody_accepts_or_a_connection_is_there() {
        let loads = Loads::new(2);
        assert!(loads.are_over());
        let (one, other) = (loads.accept(), loads.accept());
        let connection = loads.count(1);
        for left in [Some(one), Some(other), None] {
            assert!(!loads.are_over());
            drop(left);
        }
        drop(connection);
        assert!(loads.are_over());
    }

    #[test]
    fn a_connection_goes_to_the_worker_with_the_fewest_unless_it_is_a_close_call() {
        let loads = Loads::new(3);
        let held: Vec<_> = [0, 0, 0, 1].map(|worker| loads.count(worker)).into();
        assert_eq!(loads.place(0), 2);
        assert_eq!(loads.place(1), 1);
        drop(held);
        assert_eq!(loads.total(), 0);
    }
}
