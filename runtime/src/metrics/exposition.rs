//! The text format that Prometheus scrapes.
//!
//! A scrape sums the shards; nothing is cached between scrapes. Counters with a few label values are written from the
//! start, at zero, so that the first failure shows up in `rate()`. Where labels multiply (`closes_total`,
//! `component_calls_total`) a series appears with its first count, except for closes by the proxy with 1011, our own faults,
//! which every alert wants. What a reload removes from the configuration keeps its series until its last connection
//! has ended and a scrape has shown what was counted last.
//!
//! The text of 100,000 endpoints has 100 MB, so it is made in pieces, when somebody has a use for the next one, and straight
//! from the shards: the prometheus crate wants a family as a value first, with allocations for each label, which takes eight
//! times as long. It writes what stands once for the process.

mod applications;
mod discovery;
mod family;
mod http2;
mod process;
mod process_wide;
mod requests;
mod single;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

use self::family::{Family, Kind, Series};
use self::single::Single;
use super::authorization::AuthorizationMetrics;
use super::cells::Counter;
use super::component::{ComponentMetrics, UseMetrics};
use super::labels::{
    AuthorizationOutcome, CallVerdict, CloseLabel, ConnectOutcome, FailureReason, HandshakeOutcome, InflateFailure,
    Initiator, Limit, ShadowOutcome, SwapOutcome, TlsOutcome, TlsVersion,
};
use super::listener::{AcmeOrders, CertificateExpiry, ListenerMetrics};
use super::registry::{CandidateMetrics, EndpointMetrics, Metrics, Name, Pair, RouteMetrics, Version};
use super::roster::Present;
use crate::peer::{MessageKind, Side};

/// Everything counted until now, in the Prometheus text format, piece by piece.
///
/// Whose series there are is settled when it is made; a count is read when its piece is. Threads go on counting
/// meanwhile, so two series of one text may be some counts apart.
pub struct Scrape {
    families: std::vec::IntoIter<Family>,
    under_way: Option<Family>,
    /// Of the process itself, at the end.
    of_the_process: Vec<MetricFamily>,
}

impl Metrics {
    /// The media type of the text.
    pub const CONTENT_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Everything counted until now, with what the kernel says about the process.
    pub fn scrape(&self) -> Scrape {
        self.scrape_with(process::families())
    }

    /// The whole text of a [`Metrics::scrape`].
    pub fn encode(&self) -> String {
        self.scrape().collect()
    }

    /// Everything counted until now, with further families of the process. Who is present is asked once: who has gone
    /// is told of a last time.
    fn scrape_with(&self, further: Vec<Single>) -> Scrape {
        let routes = self.routes.present();
        let of_the_process = self.process_wide(&routes).into_iter().chain(further);
        Scrape::of(self.families(&routes), of_the_process.filter_map(Single::finish).collect())
    }

    /// The families that come from the shards, in the order of the documentation.
    fn families(&self, routes: &Present<Name, RouteMetrics>) -> Vec<Family> {
        let mut families = Vec::new();
        families.extend(tls_families(
            &self.listeners.present(),
            &self.certificates.present(),
            &self.acme_orders.present(),
        ));
        families.extend(http2::families(&self.http2.present()));
        families.extend(authorization_families(&self.authorizations.present()));
        families.extend(applications::families(&self.applications.present()));
        families.extend(handshake_families(routes));
        families.extend(requests::families(routes));
        families.extend(message_families(routes));
        families.extend(endpoint_families(&self.endpoints.present()));
        families.push(failing_family(&self.failing.present()));
        families.extend(discovery::families(&self.discoveries.present()));
        families.extend(component_families(&self.components.present(), &self.uses.present()));
        families.push(version_family(&self.versions()));
        families.push(quarantine_family(&self.quarantined.present()));
        families.extend(candidate_families(&self.candidates.present()));
        families
    }
}

impl Scrape {
    fn of(families: Vec<Family>, of_the_process: Vec<MetricFamily>) -> Self {
        Self { families: families.into_iter(), under_way: None, of_the_process }
    }
}

impl Iterator for Scrape {
    type Item = String;

    /// The next piece, of about 64 KiB.
    fn next(&mut self) -> Option<String> {
        let mut text = String::with_capacity(PIECE + PIECE / 4);
        while text.len() < PIECE {
            let goes_on = self.under_way.as_mut().is_some_and(|family| family.write_next(&mut text));
            if !goes_on {
                self.under_way = self.families.next();
                if self.under_way.is_none() {
                    let last = std::mem::take(&mut self.of_the_process);
                    // It refuses only a family without a name or without series, and none is.
                    let _ = TextEncoder::new().encode_utf8(&last, &mut text);
                    break;
                }
            }
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

/// What a socket takes at once, and some hundred microseconds of work.
const PIECE: usize = 64 << 10;

fn tls_families(
    listeners: &Present<Name, ListenerMetrics>,
    certificates: &Present<Pair, CertificateExpiry>,
    orders: &Present<Name, AcmeOrders>,
) -> [Family; 3] {
    let handshakes = Family::of(
        Kind::Counter,
        "tidegate_tls_handshakes_total",
        "TLS handshakes with clients, by how they ended and the version that was agreed; an empty version: none was.",
        listeners,
        |series, listener, metrics| {
            for (outcome_index, outcome) in TlsOutcome::ALL.iter().enumerate() {
                for (index, version) in TlsVersion::ALL.iter().enumerate() {
                    let cells = metrics.iter().filter_map(|shard| shard.tls_handshakes.get(outcome_index)?.get(index));
                    let is_done = matches!(outcome, TlsOutcome::Full | TlsOutcome::Resumed | TlsOutcome::AcmeChallenge);
                    let count = sum(cells);
                    // No session is agreed without a version, and few fail with one.
                    if count > 0 || is_done != (*version == TlsVersion::None) {
                        let labels =
                            [("listener", &**listener), ("outcome", outcome.label()), ("version", version.label())];
                        series.add(&labels, count);
                    }
                }
            }
        },
    );
    let expiry = Family::of(
        Kind::Gauge,
        "tidegate_certificate_expiry_seconds",
        "When a certificate that is shown to clients ends, in seconds of Unix time; 0: it is ordered for the first time.",
        certificates,
        |series, (listener, name), expiry| {
            series.add(&[("listener", &**listener), ("name", &**name)], expiry.seconds());
        },
    );
    let orders = Family::of(
        Kind::Counter,
        "tidegate_acme_orders_total",
        "Orders of certificates that renew themselves, by the first name of the certificate and how they ended.",
        orders,
        |series, name, orders| {
            for (outcome, count) in [("issued", &orders.issued), ("failed", &orders.failed)] {
                series.add(&[("name", &**name), ("outcome", outcome)], count.load(Ordering::Relaxed));
            }
        },
    );
    [handshakes, expiry, orders]
}

fn authorization_families(routes: &Present<Name, AuthorizationMetrics>) -> [Family; 2] {
    let outcomes = Family::of(
        Kind::Counter,
        "tidegate_authorizations_total",
        "Questions to another server whether a client may come in, by how they ended.",
        routes,
        |series, name, route| {
            for (index, outcome) in AuthorizationOutcome::ALL.iter().enumerate() {
                let count = sum(route.iter().filter_map(|shard| shard.outcomes.get(index)));
                series.add(&[("route", name), ("outcome", outcome.label())], count);
            }
        },
    );
    let seconds = Family::of(
        Kind::Histogram,
        "tidegate_authorization_seconds",
        "How long they took, in seconds, answered or not.",
        routes,
        |series, name, route| series.add_histogram(&[("route", name)], route.iter().map(|shard| &shard.seconds)),
    );
    [outcomes, seconds]
}

fn handshake_families(routes: &Present<Name, RouteMetrics>) -> [Family; 4] {
    let handshakes = Family::of(
        Kind::Counter,
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
        Kind::Gauge,
        "tidegate_connections_active",
        "Open WebSocket connections.",
        routes,
        |series, name, route| series.add(&[("route", name)], route.connections_active()),
    );
    let duration = of_routes(
        Kind::Histogram,
        "tidegate_connection_duration_seconds",
        "How long connections that have ended were open, in seconds from the 101 answer.",
        routes,
        |series, name, route| {
            series.add_histogram(&[("route", name)], route.iter().map(|shard| &shard.connection_duration));
        },
    );
    let closes = of_routes(
        Kind::Counter,
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
    kind: Kind,
    name: &'static str,
    help: &'static str,
    routes: &Present<Name, RouteMetrics>,
    write: impl Fn(&mut Series<'_>, &str, &RouteMetrics) + Send + 'static,
) -> Family {
    Family::of(kind, name, help, routes, move |series, route, metrics| {
        if !route.is_empty() {
            write(series, route, metrics);
        }
    })
}

fn message_families(routes: &Present<Name, RouteMetrics>) -> [Family; 4] {
    let messages = of_routes(
        Kind::Counter,
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
        Kind::Counter,
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
        Kind::Counter,
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
        Kind::Counter,
        "tidegate_limit_closes_total",
        "Connections closed because a peer went beyond a limit, by that peer and the limit's key in the configuration.",
        routes,
        |series, name, route| {
            for (from_index, from) in Side::ALL.iter().enumerate() {
                for (index, limit) in Limit::ALL.iter().enumerate() {
                    let cells = route.iter().filter_map(|shard| shard.limit_closes.get(from_index)?.get(index));
                    series.add(&[("route", name), ("from", from.label()), ("limit", limit.label())], sum(cells));
                }
            }
        },
    );
    [messages, bytes, failures, limits]
}

fn endpoint_families(endpoints: &Present<Pair, EndpointMetrics>) -> [Family; 2] {
    let connects = Family::of(
        Kind::Counter,
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
        Kind::Gauge,
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
        Kind::Gauge,
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
        Kind::Gauge,
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
        Kind::Counter,
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
        Kind::Counter,
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
        Kind::Histogram,
        "tidegate_component_call_seconds",
        "How long calls into a component took, in seconds; a batch of messages is one call.",
        components,
        |series, name, metrics| {
            series.add_histogram(&[("component", name)], metrics.iter().map(|shard| &shard.call_seconds));
        },
    );
    let failures = Family::of(
        Kind::Counter,
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
        Kind::Gauge,
        "tidegate_component_memory_bytes",
        "Linear memory of a component's instances, in bytes.",
        components,
        |series, name, metrics| series.add(&[("component", name)], metrics.memory_bytes()),
    );
    let dropped = Family::of(
        Kind::Counter,
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
        Kind::Gauge,
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
        Kind::Counter,
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
        Kind::Counter,
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
