//! What Tidegate has to reach: the project's own bars, as ratios within one run.

use super::Comparison;
use super::REPLACING;
use super::proxy::Part;
use super::rows::{CHURN, HTTP2_4KIB, HTTP2_125B, IDLE, MANY, RATED, REQUESTS, Row, SLOW, TLS_IDLE};

/// One bar against one measurement.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The row it belongs to.
    pub title: &'static str,
    /// What is compared with what.
    pub claim: String,
    /// What was measured; absent when a proxy that it takes is not there, or did not get through the row.
    pub measured: Option<f64>,
    /// What it may be at most.
    pub most: f64,
}

impl Bar {
    /// Reached; what was not measured is not.
    pub fn is_met(&self) -> bool {
        self.measured.is_some_and(|measured| measured <= self.most)
    }
}

/// The bars of every row and every variant of Tidegate in this comparison.
pub fn bars(comparison: &Comparison) -> Vec<Bar> {
    let mut bars = Vec::new();
    for row in &comparison.rows {
        for variant in comparison.variants.iter().filter(|variant| variant.stands_in(row)) {
            bars_of(comparison, row, &variant.name, variant.part, &mut |claim, measured, most| {
                bars.push(Bar { title: row.title, claim, measured, most });
            });
        }
    }
    bars
}

fn bars_of(comparison: &Comparison, row: &Row, name: &str, part: Part, add: &mut dyn FnMut(String, Option<f64>, f64)) {
    let to = |peer: &str| (format!("{name} / {peer}"), comparison.ratio(row.name, name, peer));
    match (row.name, part) {
        (IDLE, Part::Relay) => add(format!("{name}, KiB"), comparison.median(row.name, name), 1.6),
        (IDLE, Part::Filtered) => add(format!("{name}, KiB"), comparison.median(row.name, name), 2.4),
        (TLS_IDLE, Part::Relay) => add(format!("{name}, KiB"), comparison.median(row.name, name), 12.0),
        (HTTP2_125B | HTTP2_4KIB, Part::Relay | Part::Filtered) => {
            let (claim, measured) = to("envoy");
            add(claim, measured, if part == Part::Relay { 1.0 } else { 1.1 });
        }
        (row, Part::Relay) if SECURED.iter().any(|(secured, _)| *secured == row) => {
            let (claim, measured) = to("nginx");
            add(claim, measured, SECURED.iter().find(|(secured, _)| *secured == row).map_or(1.0, |(_, most)| *most));
        }
        (SLOW, Part::Relay | Part::Filtered) => {
            add(format!("{name}, KiB"), comparison.median(row.name, name), STALLED_KIB);
        }
        (MANY, Part::Relay | Part::Filtered) => {
            let claim = format!("{name}, p99 to that of 100 connections");
            add(claim, comparison.median_of(row.name, name, |sample| sample.p99_to_few), 2.0);
        }
        (REQUESTS, Part::Relay) => {
            for (peer, most) in [("nginx", 1.15), ("envoy", 0.9)] {
                let (claim, measured) = to(peer);
                add(claim, measured, most);
            }
        }
        (RATED, Part::Relay) => {
            let (claim, measured) = to("nginx");
            add(claim, measured, 1.0);
        }
        (CHURN, Part::Relay | Part::Policy) => {
            let (claim, measured) = to("haproxy");
            add(claim, measured, if part == Part::Relay { 1.0 } else { 1.05 });
        }
        (_, Part::Filtered) if row.is_compressed() => {
            let (claim, measured) = to(REPLACING);
            add(claim, measured, 0.5);
        }
        (message_row, part) => {
            let Some((_, relay, nginx, wasm)) = MESSAGES.into_iter().find(|bars| bars.0 == message_row) else {
                return;
            };
            match part {
                Part::Relay => {
                    let peers = comparison.variants.iter().filter(|variant| variant.part == Part::Peer);
                    let best = peers
                        .filter_map(|peer| Some((&peer.name, comparison.median(row.name, &peer.name)?)))
                        .min_by(|first, second| first.1.total_cmp(&second.1));
                    let (claim, measured) = to(best.map_or("no peer", |(peer, _)| peer));
                    add(format!("{claim} (the best peer)"), measured, relay);
                }
                Part::Filtered => {
                    for (peer, most) in [("nginx", nginx), ("envoy + wasm", wasm)] {
                        let (claim, measured) = to(peer);
                        add(claim, measured, most);
                    }
                }
                _ => {}
            }
        }
    }
}

/// Row; relay against the best peer; one filter against nginx; one filter against Envoy with a Wasm filter.
const MESSAGES: [(&str, f64, f64, f64); 5] = [
    ("64B", 0.97, 1.10, 0.60),
    ("125B", 0.98, 1.25, 0.75),
    ("4KiB", 0.65, 0.33, 0.75),
    ("16KiB", 0.95, 0.27, 0.95),
    ("1MiB", 0.95, 0.40, 1.10),
];
/// Row over TLS; relay against nginx.
const SECURED: [(&str, f64); 5] =
    [("tls-64B", 0.95), ("tls-4KiB", 0.70), ("tls-16KiB", 0.70), ("tls-churn", 1.0), ("tls-resumed", 1.0)];
/// In each direction one read, of 256 KiB at most, that the stalled reader has not taken, and what an idle connection may have.
const STALLED_KIB: f64 = 2.0 * 256.0 + 3.0;
