//! The families of sources of endpoints.

use std::sync::atomic::Ordering;

use super::family::{Family, Kind};
use crate::metrics::discovery::DiscoveryMetrics;
use crate::metrics::registry::Pair;
use crate::metrics::roster::Present;

pub(super) fn families(discoveries: &Present<Pair, DiscoveryMetrics>) -> [Family; 6] {
    type Read = fn(&DiscoveryMetrics) -> Option<u64>;
    let family = |kind, name, help, read: Read| {
        Family::of(kind, name, help, discoveries, move |series, (upstream, source), metrics| {
            if let Some(value) = read(metrics) {
                series.add(&[("upstream", &**upstream), ("source", &**source)], value);
            }
        })
    };
    [
        family(
            Kind::Gauge,
            "tidegate_discovery_up",
            "Whether the source of an upstream's endpoints says at present what there is.",
            |metrics| Some(metrics.is_up().into()),
        ),
        family(
            Kind::Gauge,
            "tidegate_discovery_set_age_seconds",
            "For how long nobody has been able to say whether the endpoints are the right ones; absent: there were never any.",
            |metrics| metrics.set_age().map(|age| age.as_secs()),
        ),
        family(Kind::Gauge, "tidegate_discovery_endpoints", "Endpoints that the source has said last.", |metrics| {
            Some(metrics.endpoints.load(Ordering::Relaxed))
        }),
        family(
            Kind::Gauge,
            "tidegate_discovery_unreadable_entries",
            "Entries of the source that cannot be read.",
            |metrics| Some(metrics.unreadable.load(Ordering::Relaxed)),
        ),
        family(
            Kind::Counter,
            "tidegate_discovery_updates_total",
            "How often the source has said what there is.",
            |metrics| Some(metrics.updates.load(Ordering::Relaxed)),
        ),
        family(
            Kind::Counter,
            "tidegate_discovery_failures_total",
            "How often the source could not be asked, or its answer not be read.",
            |metrics| Some(metrics.failures.load(Ordering::Relaxed)),
        ),
    ]
}
