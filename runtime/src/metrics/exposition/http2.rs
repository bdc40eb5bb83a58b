//! The families of connections over HTTP/2.

use super::family::{Family, Kind};
use super::sum;
use crate::metrics::http2::Http2Metrics;
use crate::metrics::labels::Http2End;
use crate::metrics::registry::Name;
use crate::metrics::roster::Present;

pub(super) fn families(listeners: &Present<Name, Http2Metrics>) -> [Family; 3] {
    let active = Family::of(
        Kind::Gauge,
        "tidegate_http2_connections_active",
        "Open connections over HTTP/2, each of which may carry many WebSockets.",
        listeners,
        |series, listener, metrics| series.add(&[("listener", &**listener)], metrics.connections_active()),
    );
    let ended = Family::of(
        Kind::Counter,
        "tidegate_http2_connections_total",
        "Connections over HTTP/2 that have ended, by how.",
        listeners,
        |series, listener, metrics| {
            for (index, end) in Http2End::ALL.iter().enumerate() {
                let count = sum(metrics.iter().filter_map(|shard| shard.ended.get(index)));
                series.add(&[("listener", &**listener), ("end", end.label())], count);
            }
        },
    );
    let streams = Family::of(
        Kind::Counter,
        "tidegate_http2_streams_total",
        "Streams of connections over HTTP/2: WebSockets, and other requests.",
        listeners,
        |series, listener, metrics| {
            series.add(&[("listener", &**listener)], sum(metrics.iter().map(|shard| &shard.streams)));
        },
    );
    [active, ended, streams]
}
