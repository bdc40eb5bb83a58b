//! The text, from counts put into the shards.

use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use super::super::{
    AuthorizationOutcome, CallVerdict, CloseLabel, CompileSource, EventKind, EventOutcome, FailureReason,
    HandshakeOutcome, Http2End, InflateFailure, Initiator, Limit, Metrics, PushOutcome, ReloadOutcome, SwapOutcome,
    TlsOutcome, TlsVersion, WorkerIndex,
};
use crate::peer::{MessageKind, Side};

const FIRST: WorkerIndex = WorkerIndex(0);
const SECOND: WorkerIndex = WorkerIndex(1);

fn encoded(metrics: &Metrics) -> String {
    metrics.scrape_with(Vec::new()).collect()
}

#[test]
fn every_metric_that_the_documentation_names_is_in_the_text() {
    let metrics = Metrics::new(2);
    let listener = metrics.listener("0.0.0.0:443");
    listener.of(FIRST).tls_handshake(TlsOutcome::Resumed, TlsVersion::Tls13);
    listener.of(SECOND).tls_handshake(TlsOutcome::Failed, TlsVersion::None);
    let _shown =
        metrics.certificate("0.0.0.0:443", "chat.example.com", UNIX_EPOCH + Duration::from_secs(1_900_000_000));
    let http2 = metrics.http2("0.0.0.0:443");
    http2.of(FIRST).ended(Http2End::Drained);
    http2.of(SECOND).stream();
    let _open = http2.of(SECOND).active();
    let asking = metrics.authorizations("chat");
    asking.of(FIRST).count(AuthorizationOutcome::Cached);
    asking.of(SECOND).seconds.observe(Duration::from_millis(2));
    let application = metrics.application("chat");
    application.of(FIRST).event(EventKind::Message, EventOutcome::Answered, Duration::from_millis(2));
    application.of(SECOND).push(PushOutcome::Full);
    let orders = metrics.acme_orders("chat.example.com");
    orders.issued();
    let route = metrics.route("chat");
    let shard = route.of(FIRST);
    shard.handshake(HandshakeOutcome::Upgraded);
    shard.connections_active.add(1);
    shard.connection_duration.observe(Duration::from_millis(1500));
    shard.messages(Side::Client, MessageKind::Text, 3);
    shard.message_bytes(Side::Client, 300);
    shard.inflate_failure(Side::Client, InflateFailure::Ratio);
    shard.limit_close(Side::Client, Limit::MessageTimeout);
    shard.close(Initiator::Client, CloseLabel::Normal);
    metrics.route("").of(SECOND).handshake(HandshakeOutcome::NoRoute);
    let endpoint = metrics.endpoint("chat", "ws://127.0.0.1:9001");
    endpoint.of(FIRST).connects[0].add(1);
    endpoint.of(FIRST).connections_active.add(1);
    metrics.endpoint_failing("chat", "ws://127.0.0.1:9001").store(1, Ordering::Relaxed);
    let component = metrics.component("shout");
    component.of(FIRST).call_seconds.observe(Duration::from_micros(3));
    component.of(FIRST).failure(FailureReason::Trap);
    component.of(FIRST).memory_bytes.set(65536);
    component.of(FIRST).log_lines_dropped.add(2);
    metrics.component_use("chat", "shout").of(FIRST).verdict(CallVerdict::Replace, 3);
    metrics.component_use("chat", "shout").of(SECOND).swap(SwapOutcome::Swapped);
    let version = metrics.version("chat", "shout", 2);
    version.connections.fetch_add(1, Ordering::Relaxed);
    metrics.compiled(CompileSource::Cache);
    metrics.quarantined("chat", "shout").store(2, Ordering::Relaxed);
    metrics.reloaded(ReloadOutcome::Applied);
    metrics.set_generation(2);
    metrics.assembly_bytes().of(SECOND).set(4096);

    insta::assert_snapshot!(encoded(&metrics));
}

#[test]
fn each_limit_of_a_route_is_counted_from_zero() {
    let metrics = Metrics::new(1);
    let route = metrics.route("chat");
    route.of(FIRST).limit_close(Side::Upstream, Limit::MaxFragments);
    let text = encoded(&metrics);
    for from in Side::ALL.iter().map(|from| from.label()) {
        for limit in Limit::ALL.iter().map(|limit| limit.label()) {
            let count = u8::from(from == "upstream" && limit == "max_fragments");
            let labels = format!(r#"route="chat",from="{from}",limit="{limit}""#);
            assert_line(&text, &format!("tidegate_limit_closes_total{{{labels}}} {count}"));
        }
    }
}

#[test]
fn counts_of_several_workers_are_summed_exactly() {
    let metrics = Metrics::new(2);
    let route = metrics.route("chat");
    let shards = [FIRST, SECOND, metrics.control()].map(|worker| route.of(worker));
    std::thread::scope(|scope| {
        for shard in shards {
            scope.spawn(move || {
                for _ in 0..10_000 {
                    shard.messages(Side::Upstream, MessageKind::Binary, 1);
                    shard.message_bytes(Side::Upstream, 7);
                    shard.connection_duration.observe(Duration::from_secs(2));
                }
            });
        }
    });

    let text = encoded(&metrics);

    assert_line(&text, r#"tidegate_messages_total{route="chat",from="upstream",kind="binary"} 30000"#);
    assert_line(&text, r#"tidegate_message_bytes_total{route="chat",from="upstream"} 210000"#);
    assert_line(&text, r#"tidegate_connection_duration_seconds_count{route="chat"} 30000"#);
    assert_line(&text, r#"tidegate_connection_duration_seconds_sum{route="chat"} 60000"#);
    assert_line(&text, r#"tidegate_connection_duration_seconds_bucket{route="chat",le="1"} 0"#);
    assert_line(&text, r#"tidegate_connection_duration_seconds_bucket{route="chat",le="10"} 30000"#);
}

#[test]
fn connections_are_told_by_worker() {
    let metrics = Metrics::new(2);
    let (one, other) = (metrics.route("a"), metrics.route("b"));
    one.of(FIRST).connections_active.add(2);
    other.of(FIRST).connections_active.add(3);
    other.of(SECOND).connections_active.add(1);

    let text = encoded(&metrics);

    assert_line(&text, r#"tidegate_worker_connections_active{worker="0"} 5"#);
    assert_line(&text, r#"tidegate_worker_connections_active{worker="1"} 1"#);
    assert!(!text.contains(r#"worker="2""#), "the control thread has no connections:\n{text}");
}

#[test]
fn a_name_from_the_configuration_cannot_break_out_of_its_label() {
    let metrics = Metrics::new(1);
    let _held = metrics.route("a\"} 1\nb\\c");

    assert_line(&encoded(&metrics), r#"tidegate_connections_active{route="a\"} 1\nb\\c"} 0"#);
}

#[test]
fn a_route_shows_its_zeros_from_the_start() {
    let metrics = Metrics::new(1);
    let _held = metrics.route("chat");

    let text = encoded(&metrics);

    for outcome in HandshakeOutcome::ALL {
        assert_line(&text, &format!(r#"tidegate_handshakes_total{{route="chat",outcome="{}"}} 0"#, outcome.label()));
    }
    assert_line(&text, r#"tidegate_closes_total{route="chat",by="proxy",code="1011"} 0"#);
    assert_eq!(text.matches("tidegate_closes_total{").count(), 1);
}

fn assert_line(text: &str, line: &str) {
    assert!(text.lines().any(|candidate| candidate == line), "no line {line} in:\n{text}");
}
