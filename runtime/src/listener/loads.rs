//! How many connections each worker has.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many connections each worker has, to hand new ones to the one with the fewest.
#[derive(Debug)]
pub struct Loads(Box<[Load]>);

#[derive(Debug, Default)]
#[repr(align(128))]
struct Load(AtomicUsize);

/// A connection counted for a worker until it is dropped.
#[derive(Debug)]
pub struct Counted {
    loads: Arc<Loads>,
    worker: usize,
}

impl Loads {
    /// No connections yet, for this many workers.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Self((0..workers).map(|_| Load::default()).collect()))
    }

    /// The worker that shall have the next connection, which `here` has accepted: `here`, unless another has clearly
    /// fewer. Handing a connection over costs two system calls and a wake-up.
    pub fn place(&self, here: usize) -> usize {
        let load = |load: &Load| load.0.load(Ordering::Relaxed);
        let own = self.0.get(here).map_or(0, load);
        match self.0.iter().map(load).enumerate().min_by_key(|(_, count)| *count) {
            Some((fewest, count)) if count + MARGIN < own => fewest,
            _ => here,
        }
    }

    /// Counts a connection for a worker.
    pub fn count(self: &Arc<Self>, worker: usize) -> Counted {
        if let Some(load) = self.0.get(worker) {
            load.0.fetch_add(1, Ordering::Relaxed);
        }
        Counted { loads: self.clone(), worker }
    }

    /// The connections of all workers.
    pub fn total(&self) -> usize {
        self.0.iter().map(|load| load.0.load(Ordering::Relaxed)).sum()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(load) = self.loads.0.get(self.worker) {
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
    fn a_connection_goes_to_the_worker_with_the_fewest_unless_it_is_a_close_call() {
        let loads = Loads::new(3);
        let held: Vec<_> = [0, 0, 0, 1].map(|worker| loads.count(worker)).into();
        assert_eq!(loads.place(0), 2);
        assert_eq!(loads.place(1), 1);
        drop(held);
        assert_eq!(loads.total(), 0);
    }
}
