//! What is counted of a listener.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use super::cells::{Counter, Sharded};
use super::labels::{TlsOutcome, TlsVersion};
use super::registry::{Metrics, are_blank};
use super::roster::Counts;

/// The shards of a listener.
pub type ListenerMetrics = Sharded<ListenerShard>;

/// What one thread counted for a listener.
#[derive(Debug, Default)]
pub struct ListenerShard {
    /// `tls_handshakes_total`, by outcome and version.
    pub(super) tls_handshakes: [[Counter; TlsVersion::COUNT]; TlsOutcome::COUNT],
}

impl ListenerShard {
    /// Counts a TLS handshake that has ended.
    #[expect(clippy::indexing_slicing, reason = "sized by the enums that index it")]
    pub fn tls_handshake(&self, outcome: TlsOutcome, version: TlsVersion) {
        self.tls_handshakes[outcome as usize][version as usize].add(1);
    }
}

impl Counts for ListenerShard {
    fn is_blank(&self) -> bool {
        are_blank(self.tls_handshakes.iter().flatten())
    }
}

/// When a certificate ends, as long as it is in force.
#[derive(Debug, Default)]
pub struct CertificateExpiry(AtomicU64);

impl CertificateExpiry {
    /// Has it end at another time.
    pub fn set(&self, not_after: SystemTime) {
        self.0.store(seconds(not_after), Ordering::Relaxed);
    }

    /// In seconds of Unix time; 0: there is none yet.
    pub(super) fn seconds(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counts for CertificateExpiry {
    /// One that is not in force is nothing to tell about.
    fn is_blank(&self) -> bool {
        true
    }
}

/// `acme_orders_total` of a certificate.
#[derive(Debug, Default)]
pub struct AcmeOrders {
    pub(super) issued: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl AcmeOrders {
    /// Counts an order that has ended in a certificate.
    pub fn issued(&self) {
        self.issued.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one that has failed.
    pub fn failed(&self) {
        self.failed.fetch_add(1, Ordering::Relaxed);
    }
}

impl Counts for AcmeOrders {
    fn is_blank(&self) -> bool {
        [&self.issued, &self.failed].iter().all(|count| count.load(Ordering::Relaxed) == 0)
    }
}

impl Metrics {
    /// The metrics of a listener, by its address in the configuration.
    pub fn listener(&self, address: &str) -> Arc<ListenerMetrics> {
        self.listeners.of(address.into(), || Sharded::new(self.threads, ListenerShard::default))
    }

    /// Shows when a certificate of a listener ends, for as long as what it gives is kept.
    pub fn certificate(&self, listener: &str, name: &str, not_after: SystemTime) -> Arc<CertificateExpiry> {
        let expiry = self.certificates.of((listener.into(), name.into()), CertificateExpiry::default);
        expiry.set(not_after);
        expiry
    }

    /// What is counted of the orders of a certificate, by its name.
    pub fn acme_orders(&self, name: &str) -> Arc<AcmeOrders> {
        self.acme_orders.of(name.into(), AcmeOrders::default)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}
