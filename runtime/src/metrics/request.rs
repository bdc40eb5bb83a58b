//! What is counted of the plain requests of a route, which a WebSocket is never among.
//!
//! Methods and statuses are what peers like: those that everybody knows have a label each, the others share one.

use std::time::Duration;

use http::{Method, StatusCode};

use super::cells::{Counter, Gauge, Histogram};
use super::registry::are_blank;

/// What one thread counted for a route. Only one that serves plain requests has it.
#[derive(Debug)]
pub struct RequestShard {
    /// `requests_total`, by method and status, see [`methods`] and [`statuses`].
    pub(super) ended: Box<[Counter]>,
    /// `requests_active`.
    pub active: Gauge,
    /// `request_duration_seconds`.
    pub(super) duration: Histogram,
}

impl RequestShard {
    pub(super) fn new() -> Self {
        let count = (METHODS.len() + 1) * labels();
        Self {
            ended: (0..count).map(|_| Counter::default()).collect(),
            active: Gauge::default(),
            duration: Histogram::new(BOUNDS),
        }
    }

    /// Counts a request that has ended after so long; `None`: without an answer.
    pub fn count(&self, method: &Method, status: Option<StatusCode>, duration: Duration) {
        let method = METHODS.iter().position(|known| *known == method.as_str()).unwrap_or(METHODS.len());
        if let Some(counter) = self.ended.get(method * labels() + label(status)) {
            counter.add(1);
        }
        self.duration.observe(duration);
    }

    pub(super) fn is_blank(&self) -> bool {
        are_blank(&self.ended)
    }
}

/// The labels of methods, and where each begins among the counters.
pub(super) fn methods() -> impl Iterator<Item = (&'static str, usize)> {
    let places = (0..).map(|index| index * labels());
    METHODS.iter().copied().chain([OTHER]).zip(places)
}

/// The labels of statuses, each at its place.
pub(super) fn statuses() -> impl Iterator<Item = String> {
    STATUSES.iter().map(ToString::to_string).chain(CLASSES.map(str::to_owned))
}

fn labels() -> usize {
    STATUSES.len() + CLASSES.len()
}

/// The place of a status among the labels.
fn label(status: Option<StatusCode>) -> usize {
    let Some(status) = status.map(|status| status.as_u16()) else { return labels() - 1 };
    let class = || STATUSES.len() + usize::from(status / 100).saturating_sub(1).min(CLASSES.len() - 2);
    STATUSES.binary_search(&status).unwrap_or_else(|_| class())
}

/// Those of RFC 9110, and `PATCH`.
const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
const OTHER: &str = "other";

/// Those that are registered; 499 is nobody's.
const STATUSES: &[u16] = &[
    200, 201, 202, 203, 204, 205, 206, 207, 208, 226, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403, 404,
    405, 406, 407, 408, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451,
    500, 501, 502, 503, 504, 505, 506, 507, 508, 510, 511,
];

/// All others by their first digit; the last is for requests whose client has left before its answer.
const CLASSES: [&str; 7] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other", "none"];

/// From what stands in memory to what is waited for.
const BOUNDS: &[Duration] = &[
    Duration::from_millis(1),
    Duration::from_millis(3),
    Duration::from_millis(10),
    Duration::from_millis(30),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(100),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_label_and_no_label_is_what_a_peer_sent() {
        let labels: Vec<String> = statuses().collect();
        for (status, expected) in [
            (200, "200"),
            (511, "511"),
            (299, "2xx"),
            (499, "4xx"),
            (599, "5xx"),
            (600, "other"),
            (999, "other"),
            (103, "1xx"),
        ] {
            assert_eq!(labels[label(Some(StatusCode::from_u16(status).unwrap()))], expected);
        }
        assert_eq!(labels[label(None)], "none");
        assert!(STATUSES.is_sorted());
    }

    #[test]
    fn a_method_that_is_nobodys_is_counted_as_other() {
        let shard = RequestShard::new();
        for method in ["GET", "PATCH", "PROPFIND", "get"] {
            shard.count(&Method::from_bytes(method.as_bytes()).unwrap(), Some(StatusCode::OK), Duration::ZERO);
        }
        let counted: Vec<_> =
            methods().map(|(name, place)| (name, shard.ended[place].value())).filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("GET", 1), ("PATCH", 1), ("other", 2)]);
    }
}
