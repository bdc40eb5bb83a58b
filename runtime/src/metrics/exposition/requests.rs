//! The families of plain requests.

use super::family::{Family, Kind};
use super::{of_routes, sum};
use crate::metrics::RouteMetrics;
use crate::metrics::registry::{Name, RouteShard};
use crate::metrics::request;
use crate::metrics::roster::Present;

pub(super) fn families(routes: &Present<Name, RouteMetrics>) -> [Family; 3] {
    let ended = of_routes(
        Kind::Counter,
        "tidegate_requests_total",
        "Plain requests that have ended, by method and the status that was answered; `none`: the client left before.",
        routes,
        |series, name, route| {
            let shards: Vec<_> = route.iter().filter_map(RouteShard::known_requests).collect();
            if shards.is_empty() {
                return;
            }
            for (method, place) in request::methods() {
                for (index, status) in request::statuses().enumerate() {
                    let count = sum(shards.iter().filter_map(|shard| shard.ended.get(place + index)));
                    if count > 0 {
                        series.add(&[("route", name), ("method", method), ("status", &status)], count);
                    }
                }
            }
        },
    );
    let active = of_routes(
        Kind::Gauge,
        "tidegate_requests_active",
        "Plain requests in progress, streams of events among them.",
        routes,
        |series, name, route| {
            if route.iter().any(|shard| shard.known_requests().is_some()) {
                series.add(&[("route", name)], route.requests_active());
            }
        },
    );
    let duration = of_routes(
        Kind::Histogram,
        "tidegate_request_duration_seconds",
        "How long plain requests took, in seconds from their first byte to the last of their answer.",
        routes,
        |series, name, route| {
            let mut shards = route.iter().filter_map(RouteShard::known_requests).peekable();
            if shards.peek().is_some() {
                series.add_histogram(&[("route", name)], shards.map(|shard| &shard.duration));
            }
        },
    );
    [ended, active, duration]
}
