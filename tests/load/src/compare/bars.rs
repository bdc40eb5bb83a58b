//! What Tidegate has to reach: the project's own bars, as ratios within one run.

use super::Comparison;
use super::proxy::Launch;

/// One bar against one measurement.
#[derive(Clone, Debug)]
pub struct Bar {
    /// The row it belongs to.
    pub title: &'static str,
    /// What is compared with what.
    pub claim: String,
    /// What was measured.
    pub measured: f64,
    /// What it may be at most.
    pub most: f64,
}

impl Bar {
    /// Reached.
    pub fn is_met(&self) -> bool {
        self.measured <= self.most
    }
}

/// All bars for which this comparison has the proxies. A filtered variant is one with exactly one filter.
pub fn bars(comparison: &Comparison) -> Vec<Bar> {
    let named = |name: &str| comparison.variants.iter().any(|variant| variant.name == name).then_some(name.to_owned());
    let peers: Vec<String> = ["nginx", "haproxy", "envoy"].into_iter().filter_map(named).collect();
    let filtered = comparison.variants.iter().filter_map(|variant| match &variant.launch {
        Launch::Tidegate { filters, .. } if filters.len() == 1 => Some(variant.name.clone()),
        _ => None,
    });
    let filtered: Vec<String> = filtered.collect();
    let mut bars = Vec::new();
    for row in &comparison.rows {
        let mut add = |claim: String, measured: Option<f64>, most: f64| {
            bars.extend(measured.map(|measured| Bar { title: row.title, claim, measured, most }));
        };
        let best = peers
            .iter()
            .filter(|peer| row.name != "churn" || *peer == "haproxy")
            .filter_map(|peer| Some((peer, comparison.median(row.name, peer)?)))
            .min_by(|first, second| first.1.total_cmp(&second.1));
        match row.name {
            "idle" => {
                add("tidegate, KiB".into(), comparison.median(row.name, "tidegate"), 2.0);
                for name in &filtered {
                    add(format!("{name}, KiB"), comparison.median(row.name, name), 3.0);
                }
            }
            "churn" => {
                if let Some((peer, _)) = best {
                    add(format!("tidegate / {peer}"), comparison.ratio(row.name, "tidegate", peer), 1.0);
                }
            }
            name => {
                let Some((_, relay, nginx, wasm)) = MESSAGES.into_iter().find(|bars| bars.0 == name) else {
                    continue;
                };
                if let Some((peer, _)) = best {
                    add(format!("tidegate / {peer} (the best peer)"), comparison.ratio(name, "tidegate", peer), relay);
                }
                for filter in &filtered {
                    add(format!("{filter} / nginx"), comparison.ratio(name, filter, "nginx"), nginx);
                    add(format!("{filter} / envoy + wasm"), comparison.ratio(name, filter, "envoy + wasm"), wasm);
                }
            }
        }
    }
    bars
}

/// Row; relay against the best peer; one filter against nginx; one filter against Envoy with a Wasm filter.
const MESSAGES: [(&str, f64, f64, f64); 5] = [
    ("64B", 0.95, 1.08, 0.60),
    ("125B", 1.00, 1.25, 0.75),
    ("4KiB", 0.70, 0.30, 0.75),
    ("16KiB", 0.95, 0.25, 0.95),
    ("1MiB", 1.00, 0.32, 1.10),
];
