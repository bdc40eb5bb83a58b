//! The text format that Prometheus scrapes.
//!
//! A scrape sums the shards; nothing is cached between scrapes. Counters with a few label values are written from the
//! start, at zero, so that the first failure shows up in `rate()`. Where labels multiply (`closes_total`,
//! `limit_closes_total`, `component_calls_total`) a series appears with its first count, except for closes by the proxy with 1011, our own
//! faults, which every alert wants. What a reload removes from the configuration keeps its series until its last connection
//! has ended and a scrape has shown what was counted last.
//!
//! The text of 100,000 endpoints has 100 MB, so it is made in pieces, when somebody has a use for the next one.

mod family;
mod process;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use prometheus::proto::MetricType;

use self::family::{Family, Series};
use super::cells::{Counter, Gauge};
use super::labels::{
    CallVerdict, CloseLabel, CompileSource, ConnectOutcome, ConnectionRefusal, FailureReason, HandshakeOutcome,
    InflateFailure, Initiator, Limit, MessageKind, ReloadOutcome, ShadowOutcome, Side, SwapOutcome, UpgradeFailure,
};
use super::registry::{
    CandidateMetrics, ComponentMetrics, EndpointMetrics, Metrics, Name, Pair, RouteMetrics, UseMetrics, Version,
};
use super::roster::Present;

/// Everything counted until now, in the Prometheus text format, piece by piece.
///
/// Whose series there are is settled when it is made; a count is read when its piece is. Threads go on counting
/// meanwhile, so two series of one text may be some counts apart.
pub struct Scrape(std::vec::IntoIter<Family>, Option<Family>);

impl Metrics {
    /// The media type of the text.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Everything counted until now, with what the kernel says about the process.
    pub fn scrape(&self) -> Scrape {
        let mut families = self.families();
        families.extend(process::families());
        Scrape::of(families)
    }

    /// The whole text of a [`Metrics::scrape`].
    pub fn encode(&self) -> String {
        self.scrape().collect()
    }

    /// The families that come from the shards, in the order of the documentation.
    fn families(&self) -> Vec<Family> {
        let routes = self.routes.present();
        let mut families = Vec::new();
        families.extend(handshake_families(&routes));
        families.extend(message_families(&routes));
        families.extend(endpoint_families(&self.endpoints.present()));
        families.push(failing_family(&self.failing.present()));
        families.extend(component_families(&self.components.present(), &self.uses.present()));
        families.push(version_family(&self.versions()));
        families.push(quarantine_family(&self.quarantined.present()));
        families.extend(candidate_families(&self.candidates.present()));
        families.extend(self.process_wide(&routes));
        families
    }

    fn process_wide(&self, routes: &Present<Name, RouteMetrics>) -> [Family; 10] {
        let mut active = vec![0; self.workers()];
        for (_, route) in routes.iter() {
            for (sum, shard) in active.iter_mut().zip(route.iter()) {
                *sum += shard.connections_active.value();
            }
        }
        let workers = Family::of_the_process(
            MetricType::GAUGE,
            "tidegate_worker_connections_active",
            "Open WebSocket connections on a worker thread, over all routes.",
            move |series| {
                for (worker, active) in active.iter().enumerate() {
                    series.add(&[("worker", &worker.to_string())], active);
                }
            },
        );
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let refused: Vec<_> = self.connections_refused.iter().map(count).collect();
        let refused = Family::of_the_process(
            MetricType::COUNTER,
            "tidegate_connections_refused_total",
            "Connections that were answered with 503 unread, because there was no place for them, by what was used up.",
            move |series| {
                for (reason, count) in ConnectionRefusal::ALL.iter().zip(&refused) {
                    series.add(&[("reason", reason.label())], count);
                }
            },
        );
        let panics = count(&self.panics);
        let panics = Family::of_the_process(
            MetricType::COUNTER,
            "tidegate_panics_total",
            "Faults of the proxy that were caught; each has cost a connection or a worker, and left an error in the log.",
            move |series| series.add(&[], panics),
        );
        let restarts = count(&self.worker_restarts);
        let restarts = Family::of_the_process(
            MetricType::COUNTER,
            "tidegate_worker_restarts_total",
            "Worker threads that were started in the place of one that had ended.",
            move |series| series.add(&[], restarts),
        );
        let assembly_bytes: i64 = self.assembly_bytes.iter().map(Gauge::value).sum();
        let assemblies = Family::of_the_process(
            MetricType::GAUGE,
            "tidegate_assembly_bytes",
            "Memory held of messages that have begun and not ended, for filters that wait for them, in bytes.",
            move |series| series.add(&[], assembly_bytes),
        );
        let compiles: Vec<_> = self.compiles.iter().map(count).collect();
        let compiles = Family::of_the_process(
            MetricType::COUNTER,
            "tidegate_component_compiles_total",
            "Components made ready by a start or a reload, by whether they were compiled or taken from the cache.",
            move |series| {
                for (source, count) in CompileSource::ALL.iter().zip(&compiles) {
                    series.add(&[("source", source.label())], count);
                }
            },
        );
        let reloads: Vec<_> = self.reloads.iter().map(count).collect();
        let reloads = Family::of_the_process(
            MetricType::COUNTER,
            "tidegate_reloads_total",
            "Reloads of the configuration, by how they ended.",
            move |series| {
                for (outcome, count) in ReloadOutcome::ALL.iter().zip(&reloads) {
                    series.add(&[("outcome", outcome.label())], count);
                }
            },
        );
        let upgrades: Vec<_> = self.upgrade_failures.iter().map(count).collect();
        let upgrades = Family::of_the_process(
            MetricType::COUNTER,
            "tidegate_upgrade_failures_total",
            "Binary upgrades after which the process went on as before, by why the new one did not take over.",
            move |series| {
                for (reason, count) in UpgradeFailure::ALL.iter().zip(&upgrades) {
                    series.add(&[("reason", reason.label())], count);
                }
            },
        );
        let generation = self.generation();
        let generation = Family::of_the_process(
            MetricType::GAUGE,
            "tidegate_config_generation",
            "Number of the configuration in force; grows by one with every applied reload.",
            move |series| series.add(&[], generation),
        );
        let logs = self.logs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let logs = Family::of_the_process(
            MetricType::COUNTER,
            "tidegate_log_lines_dropped_total",
            "Lines that a log of the proxy lost because its reader was too slow.",
            move |series| {
                for (log, dropped) in &logs {
                    series.add(&[("log", log)], dropped.dropped_lines());
                }
            },
        );
        [workers, refused, panics, restarts, assemblies, compiles, reloads, upgrades, generation, logs]
    }
}

impl Scrape {
    fn of(families: Vec<Family>) -> Self {
        Self(families.into_iter(), None)
    }
}

impl Iterator for Scrape {
    type Item = String;

    /// The next piece, of about 64 KiB.
    fn next(&mut self) -> Option<String> {
        let Self(families, under_way) = self;
        let mut text = String::with_capacity(PIECE + PIECE / 4);
        while text.len() < PIECE {
            let goes_on = under_way.as_mut().is_some_and(|family| family.write_next(&mut text));
            if !goes_on {
                *under_way = families.next();
                if under_way.is_none() {
                    break;
                }
            }
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

/// What a socket takes at once, and some hundred microseconds of work.
const PIECE: usize = 64 << 10;

fn handshake_families(routes: &Present<Name, RouteMetrics>) -> [Family; 4] {
    let handshakes = Family::of(
        MetricType::COUNTER,
        "tidegate_handshakes_total",
        "Opening handshakes by how they ended; an empty route: none was found.",
        routes,
        |series, name, route| {
            for (index, outcome) in HandshakeOutcome::ALL.iter().enumerate() {
                let count = sum(route.iter().filter_map(|shard| shard.handshakes.get(index)));
                series.add(&[("route", name), ("outcome", outcome.label())], count);
            }
        },
    );
    let active = of_routes(
        MetricType::GAUGE,
        "tidegate_connections_active",
        "Open WebSocket connections.",
        routes,
        |series, name, route| series.add(&[("route", name)], route.connections_active()),
    );
    let duration = of_routes(
        MetricType::HISTOGRAM,
        "tidegate_connection_duration_seconds",
        "How long connections that have ended were open, in seconds from the 101 answer.",
        routes,
        |series, name, route| {
            series.add_histogram(&[("route", name)], route.iter().map(|shard| &shard.connection_duration));
        },
    );
    let closes = of_routes(
        MetricType::COUNTER,
        "tidegate_closes_total",
        "Ended connections by who ended them and the close code; 1005: a close frame without a code, 1006: no close frame.",
        routes,
        |series, name, route| {
            for (by_index, by) in Initiator::ALL.iter().enumerate() {
                for (code_index, code) in CloseLabel::ALL.iter().enumerate() {
                    let count = sum(route.iter().filter_map(|shard| shard.closes.get(by_index)?.get(code_index)));
                    if count > 0 || (*by == Initiator::Proxy && *code == CloseLabel::InternalError) {
                        series.add(&[("route", name), ("by", by.label()), ("code", code.label())], count);
                    }
                }
            }
        },
    );
    [handshakes, active, duration, closes]
}

/// A family of routes, not of handshakes that found none.
fn of_routes(
    kind: MetricType,
    name: &'static str,
    help: &'static str,
    routes: &Present<Name, RouteMetrics>,
    write: impl Fn(&mut Series, &str, &RouteMetrics) + Send + 'static,
) -> Family {
    Family::of(kind, name, help, routes, move |series, route, metrics| {
        if !route.is_empty() {
            write(series, route, metrics);
        }
    })
}

fn message_families(routes: &Present<Name, RouteMetrics>) -> [Family; 4] {
    let messages = of_routes(
        MetricType::COUNTER,
        "tidegate_messages_total",
        "Data messages received from a peer, by sender and kind.",
        routes,
        |series, name, route| {
            for (from_index, from) in Side::ALL.iter().enumerate() {
                for (kind_index, kind) in MessageKind::ALL.iter().enumerate() {
                    let count = sum(route.iter().filter_map(|shard| shard.messages.get(from_index)?.get(kind_index)));
                    series.add(&[("route", name), ("from", from.label()), ("kind", kind.label())], count);
                }
            }
        },
    );
    let bytes = of_routes(
        MetricType::COUNTER,
        "tidegate_message_bytes_total",
        "Payload bytes of data messages received from a peer, as they came on the wire.",
        routes,
        |series, name, route| {
            for (index, from) in Side::ALL.iter().enumerate() {
                let count = sum(route.iter().filter_map(|shard| shard.message_bytes.get(index)));
                series.add(&[("route", name), ("from", from.label())], count);
            }
        },
    );
    let failures = of_routes(
        MetricType::COUNTER,
        "tidegate_inflate_failures_total",
        "Compressed messages that closed their connection because they could not be inflated, by sender and reason.",
        routes,
        |series, name, route| {
            for (from_index, from) in Side::ALL.iter().enumerate() {
                for (index, reason) in InflateFailure::ALL.iter().enumerate() {
                    let cells = route.iter().filter_map(|shard| shard.inflate_failures.get(from_index)?.get(index));
                    series.add(&[("route", name), ("from", from.label()), ("reason", reason.label())], sum(cells));
                }
            }
        },
    );
    let limits = of_routes(
        MetricType::COUNTER,
        "tidegate_limit_closes_total",
        "Connections closed because a peer went beyond a limit, by that peer and the limit's key in the configuration.",
        routes,
        |series, name, route| {
            for (from_index, from) in Side::ALL.iter().enumerate() {
                for (index, limit) in Limit::ALL.iter().enumerate() {
                    let cells = route.iter().filter_map(|shard| shard.limit_closes.get(from_index)?.get(index));
                    let count = sum(cells);
                    if count > 0 {
                        series.add(&[("route", name), ("from", from.label()), ("limit", limit.label())], count);
                    }
                }
            }
        },
    );
    [messages, bytes, failures, limits]
}

fn endpoint_families(endpoints: &Present<Pair, EndpointMetrics>) -> [Family; 2] {
    let connects = Family::of(
        MetricType::COUNTER,
        "tidegate_upstream_connects_total",
        "Attempts to connect to an endpoint, by how they ended.",
        endpoints,
        |series, (upstream, endpoint), metrics| {
            for (index, outcome) in ConnectOutcome::ALL.iter().enumerate() {
                let count = sum(metrics.iter().filter_map(|shard| shard.connects.get(index)));
                let labels = [("upstream", &**upstream), ("endpoint", &**endpoint), ("outcome", outcome.label())];
                series.add(&labels, count);
            }
        },
    );
    let active = Family::of(
        MetricType::GAUGE,
        "tidegate_upstream_connections_active",
        "Open connections to an endpoint.",
        endpoints,
        |series, (upstream, endpoint), metrics| {
            series.add(&[("upstream", upstream), ("endpoint", endpoint)], metrics.connections_active());
        },
    );
    [connects, active]
}

fn failing_family(endpoints: &Present<Pair, AtomicU64>) -> Family {
    Family::of(
        MetricType::GAUGE,
        "tidegate_upstream_endpoint_failing",
        "Whether an endpoint stopped answering and comes last until it answers again.",
        endpoints,
        |series, (upstream, endpoint), count| {
            series.add(&[("upstream", upstream), ("endpoint", endpoint)], count.load(Ordering::Relaxed).min(1));
        },
    )
}

fn version_family(versions: &[Arc<Version>]) -> Family {
    let mut sums: BTreeMap<_, usize> = BTreeMap::new();
    for version in versions {
        let key = (version.route.clone(), version.component.clone(), version.generation);
        *sums.entry(key).or_default() += version.connections.load(Ordering::Relaxed);
    }
    let sums: Present<_, usize> = sums.into_iter().map(|(version, count)| (version, Arc::new(count))).collect();
    Family::of(
        MetricType::GAUGE,
        "tidegate_component_connections",
        "Open connections that a filter serves, by the generation of the configuration that brought this version of it.",
        &sums,
        |series, (route, component, generation), count| {
            let generation = generation.to_string();
            series.add(&[("route", route), ("component", component), ("generation", &generation)], count);
        },
    )
}

fn component_families(components: &Present<Name, ComponentMetrics>, uses: &Present<Pair, UseMetrics>) -> [Family; 6] {
    let calls = Family::of(
        MetricType::COUNTER,
        "tidegate_component_calls_total",
        "Decisions of a component by verdict, one for each message or handshake; an empty route: a balancer.",
        uses,
        |series, (route, component), metrics| {
            for (index, verdict) in CallVerdict::ALL.iter().enumerate() {
                let count = sum(metrics.iter().filter_map(|shard| shard.verdicts.get(index)));
                if count > 0 {
                    series.add(&[("route", route), ("component", component), ("verdict", verdict.label())], count);
                }
            }
        },
    );
    let swaps = Family::of(
        MetricType::COUNTER,
        "tidegate_component_swaps_total",
        "Open connections on which a changed filter took over from its former version, or failed to.",
        uses,
        |series, (route, component), metrics| {
            if route.is_empty() {
                return;
            }
            for (index, outcome) in SwapOutcome::ALL.iter().enumerate() {
                let count = sum(metrics.iter().filter_map(|shard| shard.swaps.get(index)));
                if count > 0 {
                    series.add(&[("route", route), ("component", component), ("outcome", outcome.label())], count);
                }
            }
        },
    );
    let seconds = Family::of(
        MetricType::HISTOGRAM,
        "tidegate_component_call_seconds",
        "How long calls into a component took, in seconds; a batch of messages is one call.",
        components,
        |series, name, metrics| {
            series.add_histogram(&[("component", name)], metrics.iter().map(|shard| &shard.call_seconds));
        },
    );
    let failures = Family::of(
        MetricType::COUNTER,
        "tidegate_component_failures_total",
        "Calls that a component failed to answer, by reason.",
        components,
        |series, name, metrics| {
            for (index, reason) in FailureReason::ALL.iter().enumerate() {
                let count = sum(metrics.iter().filter_map(|shard| shard.failures.get(index)));
                series.add(&[("component", name), ("reason", reason.label())], count);
            }
        },
    );
    let memory = Family::of(
        MetricType::GAUGE,
        "tidegate_component_memory_bytes",
        "Linear memory of a component's instances, in bytes.",
        components,
        |series, name, metrics| series.add(&[("component", name)], metrics.memory_bytes()),
    );
    let dropped = Family::of(
        MetricType::COUNTER,
        "tidegate_component_log_lines_dropped_total",
        "Log lines of a component beyond the rate it is allowed.",
        components,
        |series, name, metrics| {
            series.add(&[("component", name)], sum(metrics.iter().map(|shard| &shard.log_lines_dropped)));
        },
    );
    [calls, swaps, seconds, failures, memory, dropped]
}

fn quarantine_family(uses: &Present<Pair, AtomicU64>) -> Family {
    Family::of(
        MetricType::GAUGE,
        "tidegate_component_quarantined",
        "Whether a use of the component is in quarantine and called no more; an empty route: a balancer.",
        uses,
        |series, (route, component), count| {
            series.add(&[("route", route), ("component", component)], count.load(Ordering::Relaxed).min(1));
        },
    )
}

fn candidate_families(candidates: &Present<Pair, CandidateMetrics>) -> [Family; 2] {
    let decisions = Family::of(
        MetricType::COUNTER,
        "tidegate_candidate_decisions_total",
        "Handshakes and messages that a shadow was compared with its filter on, by whether both said the same.",
        candidates,
        |series, (route, component), metrics| {
            for (index, outcome) in ShadowOutcome::ALL.iter().enumerate() {
                let count = sum(metrics.iter().filter_map(|shard| shard.decisions.get(index)));
                series.add(&[("route", route), ("component", component), ("outcome", outcome.label())], count);
            }
        },
    );
    let rollbacks = Family::of(
        MetricType::COUNTER,
        "tidegate_candidate_rollbacks_total",
        "How often a candidate was rolled back because it had failed too often.",
        candidates,
        |series, (route, component), metrics| {
            let count = sum(metrics.iter().map(|shard| &shard.rollbacks));
            series.add(&[("route", route), ("component", component)], count);
        },
    );
    [decisions, rollbacks]
}

fn sum<'a>(counters: impl Iterator<Item = &'a Counter>) -> u64 {
    counters.map(Counter::value).sum()
}
