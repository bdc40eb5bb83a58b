//! The families of applications that are told of WebSockets.

use super::family::{Family, Kind};
use super::sum;
use crate::metrics::application::ApplicationMetrics;
use crate::metrics::labels::{EventKind, EventOutcome, PushOutcome};
use crate::metrics::registry::Name;
use crate::metrics::roster::Present;

pub(super) fn families(routes: &Present<Name, ApplicationMetrics>) -> [Family; 3] {
    let events = Family::of(
        Kind::Counter,
        "tidegate_application_events_total",
        "Events of WebSockets that an application was told over HTTP, by how that ended.",
        routes,
        |series, name, route| {
            for (kind, event) in EventKind::ALL.iter().enumerate() {
                for (index, outcome) in EventOutcome::ALL.iter().enumerate() {
                    let count = sum(route.iter().filter_map(|shard| shard.events.get(kind)?.get(index)));
                    series.add(&[("route", name), ("event", event.label()), ("outcome", outcome.label())], count);
                }
            }
        },
    );
    let seconds = Family::of(
        Kind::Histogram,
        "tidegate_application_event_seconds",
        "How long they took, in seconds from their turn to the end of the answer.",
        routes,
        |series, name, route| series.add_histogram(&[("route", name)], route.iter().map(|shard| &shard.seconds)),
    );
    let pushes = Family::of(
        Kind::Counter,
        "tidegate_application_pushes_total",
        "Messages that an application has pushed, by what became of them.",
        routes,
        |series, name, route| {
            for (index, outcome) in PushOutcome::ALL.iter().enumerate() {
                let count = sum(route.iter().filter_map(|shard| shard.pushes.get(index)));
                series.add(&[("route", name), ("outcome", outcome.label())], count);
            }
        },
    );
    [events, seconds, pushes]
}
