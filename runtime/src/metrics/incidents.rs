//! What befalls the process as a whole, told by any thread.

use std::sync::atomic::{AtomicU64, Ordering};

use super::labels::{AdminRefusal, ConnectionRefusal};
use super::registry::Metrics;

/// Connections for which there was no place, faults of the proxy, and what it cannot watch.
#[derive(Debug, Default)]
pub(super) struct Incidents {
    pub(super) connections_refused: [AtomicU64; ConnectionRefusal::COUNT],
    pub(super) admin_refused: [AtomicU64; AdminRefusal::COUNT],
    pub(super) panics: AtomicU64,
    pub(super) worker_restarts: AtomicU64,
    pub(super) polled_directories: AtomicU64,
}

impl Metrics {
    /// Counts connections that were refused because there was no place for them.
    pub fn connections_refused(&self, reason: ConnectionRefusal, count: u64) {
        if let Some(counter) = self.incidents.connections_refused.get(reason as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Counts a client of the admin API that was refused, or cut off.
    pub fn admin_refused(&self, reason: AdminRefusal) {
        if let Some(counter) = self.incidents.admin_refused.get(reason as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts a panic, which costs a connection or a worker.
    pub fn panicked(&self) {
        self.incidents.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a worker that was started in the place of one that had ended.
    pub fn worker_restarted(&self) {
        self.incidents.worker_restarts.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets how many directories cannot be watched, and are polled.
    pub fn set_polled_directories(&self, count: u64) {
        self.incidents.polled_directories.store(count, Ordering::Relaxed);
    }
}
