//! What is counted of the connections over HTTP/2 of a listener.

use std::sync::Arc;

use super::cells::{Counter, Gauge, Sharded};
use super::labels::Http2End;
use super::registry::{Metrics, are_blank, total};
use super::roster::Counts;

/// The shards of a listener.
pub type Http2Metrics = Sharded<Http2Shard>;

/// What one thread counted for a listener.
#[derive(Debug, Default)]
pub struct Http2Shard {
    /// `http2_connections_active`.
    pub(super) active: Gauge,
    /// `http2_connections_total`, by how they ended.
    pub(super) ended: [Counter; Http2End::COUNT],
    /// `http2_streams_total`.
    pub(super) streams: Counter,
}

/// An open connection, as long as it is kept.
#[derive(Debug)]
pub struct ActiveHttp2<'a>(&'a Gauge);

impl Http2Shard {
    /// Counts a connection as open.
    pub fn active(&self) -> ActiveHttp2<'_> {
        self.active.add(1);
        ActiveHttp2(&self.active)
    }

    /// Counts one that has ended, or never came about.
    pub fn ended(&self, end: Http2End) {
        if let Some(counter) = self.ended.get(end as usize) {
            counter.add(1);
        }
    }

    /// Counts a stream that a client has opened.
    pub fn stream(&self) {
        self.streams.add(1);
    }
}

impl Drop for ActiveHttp2<'_> {
    fn drop(&mut self) {
        self.0.add(-1);
    }
}

impl Counts for Http2Shard {
    fn is_blank(&self) -> bool {
        are_blank(self.ended.iter().chain([&self.streams]))
    }
}

impl Http2Metrics {
    /// Open connections, over all workers.
    pub fn connections_active(&self) -> u64 {
        total(self.iter().map(|shard| &shard.active))
    }
}

impl Metrics {
    /// The metrics of HTTP/2 of a listener, by its address in the configuration.
    pub fn http2(&self, address: &str) -> Arc<Http2Metrics> {
        self.http2.of(address.into(), || Sharded::new(self.threads, Http2Shard::default))
    }
}
