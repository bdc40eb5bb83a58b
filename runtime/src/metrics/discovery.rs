//! What is counted of a source of endpoints.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::registry::Metrics;
use super::roster::Counts;

/// How a source of endpoints is doing. Any thread may write.
#[derive(Debug, Default)]
pub struct DiscoveryMetrics {
    is_up: AtomicBool,
    /// When the endpoints were last known to be the right ones.
    confirmed: Mutex<Option<Instant>>,
    pub(super) updates: AtomicU64,
    pub(super) failures: AtomicU64,
    pub(super) endpoints: AtomicU64,
    pub(super) unreadable: AtomicU64,
}

impl DiscoveryMetrics {
    /// It has said what there is; so many endpoints, and further entries that cannot be read.
    pub fn found(&self, endpoints: usize, unreadable: usize) {
        self.is_up.store(true, Ordering::Relaxed);
        self.confirm();
        self.updates.fetch_add(1, Ordering::Relaxed);
        self.endpoints.store(endpoints as u64, Ordering::Relaxed);
        self.unreadable.store(unreadable as u64, Ordering::Relaxed);
    }

    /// It has failed.
    pub fn failed(&self) {
        if self.is_up.swap(false, Ordering::Relaxed) {
            self.confirm();
        }
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it says at present what there is.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// For how long nobody has been able to say whether its endpoints are the right ones; `None`: it has never said any.
    pub fn set_age(&self) -> Option<Duration> {
        let confirmed = (*self.confirmed.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(if self.is_up() { Duration::ZERO } else { confirmed.elapsed() })
    }

    fn confirm(&self) {
        *self.confirmed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Counts for DiscoveryMetrics {
    /// One that nobody follows is nothing to tell about.
    fn is_blank(&self) -> bool {
        true
    }
}

impl Metrics {
    /// What is counted of the source of an upstream's endpoints, by its kind.
    pub fn discovery(&self, upstream: &str, source: &str) -> Arc<DiscoveryMetrics> {
        self.discoveries.of((upstream.into(), source.into()), DiscoveryMetrics::default)
    }
}
