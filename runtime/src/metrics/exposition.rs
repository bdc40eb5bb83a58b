//! The text format that Prometheus scrapes.
//!
//! A scrape sums the shards; nothing is cached between scrapes. Counters with a few label values are written from the
//! start, at zero, so that the first failure shows up in `rate()`. Where labels multiply (`closes_total`,
//! `limit_closes_total`, `component_calls_total`) a series appears with its first count, except for closes by the proxy with 1011, our own
//! faults, which every alert wants. What a reload removes from the configuration keeps its series until the process
//! ends, because a counter must not go back.

mod family;
mod process;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use self::family::Family;
use super::cells::{Counter, Gauge};
use super::labels::{
    CallVerdict, CloseLabel, CompileSource, ConnectOutcome, FailureReason, HandshakeOutcome, InflateFailure, Initiator,
    Limit, MessageKind, ReloadOutcome, ShadowOutcome, Side, SwapOutcome, UpgradeFailure,
};
use super::registry::{
    CandidateMetrics, ComponentMetrics, EndpointMetrics, Metrics, RouteMetrics, UseMetrics, Version,
};

impl Metrics {
    /// The media type of what [`Metrics::encode`] returns.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Everything counted until now, in the Prometheus text format, with what the kernel says about the process.
    ///
    /// Reads every shard once. Threads go on counting meanwhile, so two series of one text may be some counts apart.
    pub fn encode(&self) -> String {
        let mut families = self.families();
        families.extend(process::families());
        text(&families)
    }

    /// The families that come from the shards, in the order of the documentation.
    fn families(&self) -> Vec<MetricFamily> {
        let routes: Vec<_> = entries(&self.routes);
        let families = handshake_families(&routes)
            .into_iter()
            .chain(message_families(&routes))
            .chain(endpoint_families(&entries(&self.endpoints)))
            .chain(component_families(&entries(&self.components), &entries(&self.uses)))
            .chain([version_family(&self.versions())])
            .chain([quarantine_family(&entries(&self.quarantined))])
            .chain(candidate_families(&entries(&self.candidates)))
            .chain(self.process_wide(&routes));
        families.filter_map(Family::finish).collect()
    }

    fn process_wide(&self, routes: &[(String, Arc<RouteMetrics>)]) -> [Family; 7] {
        let mut workers = Family::gauge(
            "tidegate_worker_connections_active",
            "Open WebSocket connections on a worker thread, over all routes.",
        );
        for worker in 0..self.workers() {
            let shards = routes.iter().filter_map(|(_, route)| route.iter().nth(worker));
            let active: i64 = shards.map(|shard| shard.connections_active.value()).sum();
            workers.add(&[("worker", &worker.to_string())], active as f64);
        }

        let mut assemblies = Family::gauge(
            "tidegate_assembly_bytes",
            "Memory held of messages that have begun and not ended, for filters that wait for them, in bytes.",
        );
        assemblies.add(&[], self.assembly_bytes.iter().map(Gauge::value).sum::<i64>() as f64);

        let mut compiles = Family::counter(
            "tidegate_component_compiles_total",
            "Components made ready by a start or a reload, by whether they were compiled or taken from the cache.",
        );
        for (source, count) in CompileSource::ALL.iter().zip(&*self.compiles) {
            compiles.add(&[("source", source.label())], count.load(Ordering::Relaxed) as f64);
        }

        let mut reloads = Family::counter("tidegate_reloads_total", "Reloads of the configuration, by how they ended.");
        for (outcome, count) in ReloadOutcome::ALL.iter().zip(&self.reloads) {
            reloads.add(&[("outcome", outcome.label())], count.load(Ordering::Relaxed) as f64);
        }

        let mut upgrades = Family::counter(
            "tidegate_upgrade_failures_total",
            "Binary upgrades after which the process went on as before, by why the new one did not take over.",
        );
        for (reason, count) in UpgradeFailure::ALL.iter().zip(&self.upgrade_failures) {
            upgrades.add(&[("reason", reason.label())], count.load(Ordering::Relaxed) as f64);
        }

        let mut generation = Family::gauge(
            "tidegate_config_generation",
            "Number of the configuration in force; grows by one with every applied reload.",
        );
        generation.add(&[], self.generation() as f64);

        let mut logs = Family::counter(
            "tidegate_log_lines_dropped_total",
            "Lines that a log of the proxy lost because its reader was too slow.",
        );
        for (log, dropped) in self.logs.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            logs.add(&[("log", log)], dropped.dropped_lines() as f64);
        }
        [workers, assemblies, compiles, reloads, upgrades, generation, logs]
    }
}

fn handshake_families(routes: &[(String, Arc<RouteMetrics>)]) -> [Family; 4] {
    let mut handshakes = Family::counter(
        "tidegate_handshakes_total",
        "Opening handshakes by how they ended; an empty route: none was found.",
    );
    let mut active = Family::gauge("tidegate_connections_active", "Open WebSocket connections.");
    let mut duration = Family::histogram(
        "tidegate_connection_duration_seconds",
        "How long connections that have ended were open, in seconds from the 101 answer.",
    );
    let mut closes = Family::counter(
        "tidegate_closes_total",
        "Ended connections by who ended them and the close code; 1005: a close frame without a code, 1006: no close frame.",
    );
    for (name, route) in routes {
        let label = ("route", name.as_str());
        for (index, outcome) in HandshakeOutcome::ALL.iter().enumerate() {
            let count = sum(route.iter().filter_map(|shard| shard.handshakes.get(index)));
            handshakes.add(&[label, ("outcome", outcome.label())], count as f64);
        }
        if name.is_empty() {
            continue;
        }
        active.add(&[label], route.connections_active() as f64);
        duration.add_histogram(&[label], route.iter().map(|shard| &shard.connection_duration));
        for (by_index, by) in Initiator::ALL.iter().enumerate() {
            for (code_index, code) in CloseLabel::ALL.iter().enumerate() {
                let cells = route.iter().filter_map(|shard| shard.closes.get(by_index)?.get(code_index));
                let count = sum(cells);
                if count > 0 || (*by == Initiator::Proxy && *code == CloseLabel::InternalError) {
                    closes.add(&[label, ("by", by.label()), ("code", code.label())], count as f64);
                }
            }
        }
    }
    [handshakes, active, duration, closes]
}

fn message_families(routes: &[(String, Arc<RouteMetrics>)]) -> [Family; 4] {
    let mut messages =
        Family::counter("tidegate_messages_total", "Data messages received from a peer, by sender and kind.");
    let mut bytes = Family::counter(
        "tidegate_message_bytes_total",
        "Payload bytes of data messages received from a peer, as they came on the wire.",
    );
    let mut failures = Family::counter(
        "tidegate_inflate_failures_total",
        "Compressed messages that closed their connection because they could not be inflated, by sender and reason.",
    );
    let mut limits = Family::counter(
        "tidegate_limit_closes_total",
        "Connections closed because a peer went beyond a limit, by that peer and the limit's key in the configuration.",
    );
    for (name, route) in routes.iter().filter(|(name, _)| !name.is_empty()) {
        let label = ("route", name.as_str());
        for (from_index, from) in Side::ALL.iter().enumerate() {
            let from = ("from", from.label());
            for (kind_index, kind) in MessageKind::ALL.iter().enumerate() {
                let cells = route.iter().filter_map(|shard| shard.messages.get(from_index)?.get(kind_index));
                messages.add(&[label, from, ("kind", kind.label())], sum(cells) as f64);
            }
            bytes.add(&[label, from], sum(route.iter().filter_map(|shard| shard.message_bytes.get(from_index))) as f64);
            for (reason_index, reason) in InflateFailure::ALL.iter().enumerate() {
                let cells = route.iter().filter_map(|shard| shard.inflate_failures.get(from_index)?.get(reason_index));
                failures.add(&[label, from, ("reason", reason.label())], sum(cells) as f64);
            }
            for (limit_index, limit) in Limit::ALL.iter().enumerate() {
                let count = sum(route.iter().filter_map(|shard| shard.limit_closes.get(from_index)?.get(limit_index)));
                if count > 0 {
                    limits.add(&[label, from, ("limit", limit.label())], count as f64);
                }
            }
        }
    }
    [messages, bytes, failures, limits]
}

fn endpoint_families(endpoints: &[((String, String), Arc<EndpointMetrics>)]) -> [Family; 2] {
    let mut connects =
        Family::counter("tidegate_upstream_connects_total", "Attempts to connect to an endpoint, by how they ended.");
    let mut active = Family::gauge("tidegate_upstream_connections_active", "Open connections to an endpoint.");
    for ((upstream, endpoint), metrics) in endpoints {
        let labels = [("upstream", upstream.as_str()), ("endpoint", endpoint.as_str())];
        for (index, outcome) in ConnectOutcome::ALL.iter().enumerate() {
            let count = sum(metrics.iter().filter_map(|shard| shard.connects.get(index)));
            connects.add(&[labels.as_slice(), &[("outcome", outcome.label())]].concat(), count as f64);
        }
        active.add(&labels, metrics.connections_active() as f64);
    }
    [connects, active]
}

fn version_family(versions: &[Arc<Version>]) -> Family {
    let mut connections = Family::gauge(
        "tidegate_component_connections",
        "Open connections that a filter serves, by the generation of the configuration that brought this version of it.",
    );
    let mut sums: BTreeMap<_, usize> = BTreeMap::new();
    for version in versions {
        let key = (version.route.as_str(), version.component.as_str(), version.generation);
        *sums.entry(key).or_default() += version.connections.load(Ordering::Relaxed);
    }
    for ((route, component, generation), count) in sums {
        let generation = generation.to_string();
        let labels = [("route", route), ("component", component), ("generation", &generation)];
        connections.add(&labels, count as f64);
    }
    connections
}

fn component_families(
    components: &[(String, Arc<ComponentMetrics>)],
    uses: &[((String, String), Arc<UseMetrics>)],
) -> [Family; 6] {
    let mut calls = Family::counter(
        "tidegate_component_calls_total",
        "Decisions of a component by verdict, one for each message or handshake; an empty route: a balancer.",
    );
    for ((route, component), metrics) in uses {
        for (index, verdict) in CallVerdict::ALL.iter().enumerate() {
            let count = sum(metrics.iter().filter_map(|shard| shard.verdicts.get(index)));
            if count > 0 {
                let labels = [("route", route.as_str()), ("component", component), ("verdict", verdict.label())];
                calls.add(&labels, count as f64);
            }
        }
    }
    let mut swaps = Family::counter(
        "tidegate_component_swaps_total",
        "Open connections on which a changed filter took over from its former version, or failed to.",
    );
    for ((route, component), metrics) in uses.iter().filter(|((route, _), _)| !route.is_empty()) {
        for (index, outcome) in SwapOutcome::ALL.iter().enumerate() {
            let count = sum(metrics.iter().filter_map(|shard| shard.swaps.get(index)));
            if count > 0 {
                let labels = [("route", route.as_str()), ("component", component), ("outcome", outcome.label())];
                swaps.add(&labels, count as f64);
            }
        }
    }

    let mut seconds = Family::histogram(
        "tidegate_component_call_seconds",
        "How long calls into a component took, in seconds; a batch of messages is one call.",
    );
    let mut failures =
        Family::counter("tidegate_component_failures_total", "Calls that a component failed to answer, by reason.");
    let mut memory =
        Family::gauge("tidegate_component_memory_bytes", "Linear memory of a component's instances, in bytes.");
    let mut dropped = Family::counter(
        "tidegate_component_log_lines_dropped_total",
        "Log lines of a component beyond the rate it is allowed.",
    );
    for (name, metrics) in components {
        let label = ("component", name.as_str());
        seconds.add_histogram(&[label], metrics.iter().map(|shard| &shard.call_seconds));
        for (index, reason) in FailureReason::ALL.iter().enumerate() {
            let count = sum(metrics.iter().filter_map(|shard| shard.failures.get(index)));
            failures.add(&[label, ("reason", reason.label())], count as f64);
        }
        memory.add(&[label], metrics.memory_bytes() as f64);
        dropped.add(&[label], sum(metrics.iter().map(|shard| &shard.log_lines_dropped)) as f64);
    }
    [calls, swaps, seconds, failures, memory, dropped]
}

fn quarantine_family(uses: &[((String, String), Arc<AtomicU64>)]) -> Family {
    let mut quarantined = Family::gauge(
        "tidegate_component_quarantined",
        "Whether a use of the component is in quarantine and called no more; an empty route: a balancer.",
    );
    for ((route, component), count) in uses {
        let quarantines = count.load(Ordering::Relaxed).min(1);
        quarantined.add(&[("route", route), ("component", component)], quarantines as f64);
    }
    quarantined
}

fn candidate_families(candidates: &[((String, String), Arc<CandidateMetrics>)]) -> [Family; 2] {
    let mut decisions = Family::counter(
        "tidegate_candidate_decisions_total",
        "Handshakes and messages that a shadow was compared with its filter on, by whether both said the same.",
    );
    let mut rollbacks = Family::counter(
        "tidegate_candidate_rollbacks_total",
        "How often a candidate was rolled back because it had failed too often.",
    );
    for ((route, component), metrics) in candidates {
        let labels = [("route", route.as_str()), ("component", component.as_str())];
        for (index, outcome) in ShadowOutcome::ALL.iter().enumerate() {
            let count = sum(metrics.iter().filter_map(|shard| shard.decisions.get(index)));
            decisions.add(&[labels.as_slice(), &[("outcome", outcome.label())]].concat(), count as f64);
        }
        rollbacks.add(&labels, sum(metrics.iter().map(|shard| &shard.rollbacks)) as f64);
    }
    [decisions, rollbacks]
}

fn sum<'a>(counters: impl Iterator<Item = &'a Counter>) -> u64 {
    counters.map(Counter::value).sum()
}

/// What a map holds now, so that no lock is held while the text is made.
fn entries<K: Clone, V>(map: &Mutex<BTreeMap<K, Arc<V>>>) -> Vec<(K, Arc<V>)> {
    let map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.iter().map(|(key, value)| (key.clone(), Arc::clone(value))).collect()
}

fn text(families: &[MetricFamily]) -> String {
    // The encoder refuses a family without a name or without series, and no such family is made here.
    TextEncoder::new().encode_to_string(families).unwrap_or_else(|error| format!("# {error}\n"))
}
