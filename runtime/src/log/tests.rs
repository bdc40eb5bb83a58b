//! Lines as their readers see them.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::{AccessLog, AccessRecord, Ended, Format, QUEUED_LINES, Traffic, Tried};
use crate::metrics::{ConnectOutcome, HandshakeOutcome, Initiator, Metrics};

fn record<'a>(attributes: &'a [(String, String)]) -> AccessRecord<'a> {
    AccessRecord {
        connection: "c0-17",
        request_id: "",
        trace_id: Some(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736),
        protocol: "HTTP/1.1",
        route: "chat",
        client: Some(SocketAddr::from(([192, 0, 2, 1], 50_000))),
        method: "",
        host: "chat.example.com",
        path: "/ws/chat",
        upstream: "chat",
        endpoint: "ws://127.0.0.1:9001",
        opens: false,
        outcome: HandshakeOutcome::Upgraded.label(),
        status: Some(101),
        ended: Some(Ended { by: Initiator::Client, code: 1000 }),
        reason: "done for today",
        filter: "",
        tried: &[],
        duration: Duration::from_millis(1234),
        from_client: Traffic { messages: 3, bytes: 300 },
        from_upstream: Traffic { messages: 4, bytes: 400 },
        channel: Some("room-7"),
        attributes,
    }
}

fn attribute(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

/// The line without its timestamp.
fn text_line(record: &AccessRecord<'_>) -> String {
    let line = record.line(Format::Text);
    line.split_once(' ').unwrap().1.to_owned()
}

fn json_line(record: &AccessRecord<'_>) -> serde_json::Value {
    serde_json::from_str(&record.line(Format::Json)).unwrap()
}

#[test]
fn a_text_line_holds_one_name_and_value_for_each_fact() {
    assert_eq!(
        text_line(&record(&[attribute("tenant", "gold")])),
        "access connection=c0-17 trace_id=4bf92f3577b34da6a3ce929d0e0e4736 route=chat client=192.0.2.1:50000 protocol=HTTP/1.1 host=chat.example.com path=/ws/chat upstream=chat \
         endpoint=ws://127.0.0.1:9001 outcome=upgraded status=101 by=client code=1000 reason=\"done for today\" \
         duration_ms=1234 client_messages=3 client_bytes=300 upstream_messages=4 upstream_bytes=400 channel=room-7 \
         tenant=gold\n"
    );
}

#[test]
fn a_json_line_holds_the_same_facts() {
    let mut line = json_line(&record(&[attribute("tenant", "gold"), attribute("user", "a b")]));
    let timestamp = line.as_object_mut().unwrap().remove("timestamp").unwrap();

    assert!(timestamp.as_str().unwrap().ends_with('Z'), "{timestamp}");
    assert_eq!(
        line,
        serde_json::json!({
            "target": "tidegate::access",
            "connection": "c0-17",
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "route": "chat",
            "client": "192.0.2.1:50000",
            "protocol": "HTTP/1.1",
            "host": "chat.example.com",
            "path": "/ws/chat",
            "upstream": "chat",
            "endpoint": "ws://127.0.0.1:9001",
            "outcome": "upgraded",
            "status": 101,
            "by": "client",
            "code": 1000,
            "reason": "done for today",
            "duration_ms": 1234,
            "client_messages": 3,
            "client_bytes": 300,
            "upstream_messages": 4,
            "upstream_bytes": 400,
            "channel": "room-7",
            "attributes": { "tenant": "gold", "user": "a b" },
        })
    );
}

#[test]
fn a_refused_handshake_leaves_out_what_it_never_had() {
    let refused = AccessRecord {
        trace_id: None,
        protocol: "",
        route: "",
        upstream: "",
        endpoint: "",
        outcome: HandshakeOutcome::NoRoute.label(),
        status: Some(404),
        ended: None,
        reason: "",
        channel: None,
        from_client: Traffic::default(),
        from_upstream: Traffic::default(),
        ..record(&[])
    };

    assert_eq!(
        text_line(&refused),
        "access connection=c0-17 client=192.0.2.1:50000 host=chat.example.com path=/ws/chat outcome=no_route status=404 \
         duration_ms=1234 client_messages=0 client_bytes=0 upstream_messages=0 upstream_bytes=0\n"
    );
}

#[test]
fn a_refused_handshake_says_who_refused_it_and_what_was_tried() {
    let tried = [
        Tried {
            endpoint: "ws://127.0.0.1:9001".to_owned(),
            outcome: ConnectOutcome::Refused,
            error: "Connection refused".to_owned(),
        },
        Tried {
            endpoint: "ws://127.0.0.1:9002".to_owned(),
            outcome: ConnectOutcome::InvalidAnswer,
            error: "\"\n\u{1b}[2J".to_owned(),
        },
    ];
    let record = AccessRecord { ended: None, filter: "access", reason: "", tried: &tried, ..record(&[]) };

    let line = text_line(&record);
    let told = r#" filter=access tried="ws://127.0.0.1:9001 refused (Connection refused), ws://127.0.0.1:9002 invalid_answer (\"\n\u001b[2J)" duration_ms"#;
    assert!(line.contains(told), "{line}");
    let line = json_line(&record);
    assert_eq!(line["filter"], "access");
    assert_eq!(line["tried"][0]["outcome"], "refused");
    assert_eq!(line["tried"][1]["error"], "\"\n\u{1b}[2J");
}

#[test]
fn what_many_endpoints_answered_fits_into_a_line() {
    let one = Tried { endpoint: "e".repeat(1000), outcome: ConnectOutcome::Answered, error: "é".repeat(1000) };
    let tried = vec![one; 100];
    let record = AccessRecord { tried: &tried, ..record(&[]) };
    for format in [Format::Text, Format::Json] {
        let line = record.line(format);
        assert!(line.len() < 16 << 10, "{} bytes", line.len());
    }
    assert_eq!(json_line(&record)["tried"].as_array().map(Vec::len), Some(8));
}

#[test]
fn a_line_of_a_connection_that_opens_is_told_from_the_one_of_its_end() {
    let record = AccessRecord { opens: true, ended: None, reason: "", ..record(&[]) };
    assert!(text_line(&record).starts_with("access event=open connection=c0-17 "));
    assert_eq!(json_line(&record)["event"], "open");
}

#[test]
fn a_peer_cannot_forge_a_line_or_a_field() {
    let hostile = "x\n2026 access route=admin \"q\\ \u{1b}[2J \u{9b}31m \u{202e}txt \u{2028} \u{e0041}";
    let attributes = [attribute("a=b c", hostile)];
    let peer = AccessRecord {
        host: hostile,
        path: "/a=b",
        ended: Some(Ended { by: Initiator::Client, code: 4000 }),
        reason: hostile,
        channel: Some(hostile),
        ..record(&attributes)
    };

    for format in [Format::Text, Format::Json] {
        let line = peer.line(format);
        let printed = line.strip_suffix('\n').unwrap();
        assert!(!printed.contains(|c: char| c.is_control() || "\u{202e}\u{2028}\u{e0041}".contains(c)), "{line:?}");
    }
    let json = json_line(&peer);
    assert_eq!(json["reason"], hostile);
    assert_eq!(json["attributes"]["a=b c"], hostile);
    assert!(text_line(&peer).contains(" path=\"/a=b\" "));
    assert!(text_line(&peer).contains(" \"a=b c\"=\"x\\n2026 "));
}

#[test]
fn a_long_value_is_cut_at_a_character() {
    let long = "é".repeat(1000);
    let line = json_line(&AccessRecord { path: &long, ..record(&[]) });

    assert_eq!(line["path"], format!("{}…", "é".repeat(256)));
}

#[test]
fn a_log_that_is_off_writes_nothing() {
    AccessLog::off().write(&record(&[]));
}

#[test]
fn queued_lines_are_written_when_the_guard_is_dropped() {
    let metrics = Metrics::new(1);
    let target = Target::default();
    let (log, guard) = AccessLog::to(target.clone(), Format::Text, &metrics);

    for _ in 0..100 {
        log.write(&record(&[]));
    }
    drop(guard);

    // The guard waits so long only; on a busy machine that is not enough.
    target.wait_for_lines(100);
    assert_eq!(target.written().lines().count(), 100);
}

#[test]
fn a_reader_that_stops_costs_lines_that_are_counted_and_no_time() {
    let metrics = Metrics::new(1);
    let target = Target::default();
    let stopped = target.stop();
    let (log, guard) = AccessLog::to(target.clone(), Format::Text, &metrics);

    let lines = 2 * QUEUED_LINES;
    for _ in 0..lines {
        log.write(&record(&[]));
    }
    let dropped = dropped_lines(&metrics);
    assert!(dropped > 0 && dropped <= lines - QUEUED_LINES, "{dropped} lines dropped");
    drop(stopped);
    // The guard gives a full queue so long only; on a busy machine that is not enough.
    target.wait_for_lines(lines - dropped);
    drop(guard);

    assert_eq!(target.written().lines().count(), lines - dropped);
    assert_eq!(dropped_lines(&metrics), dropped);
}

/// How many access lines found no room.
fn dropped_lines(metrics: &Metrics) -> usize {
    let encoded = metrics.encode();
    let mut values =
        encoded.lines().filter_map(|line| line.strip_prefix("tidegate_log_lines_dropped_total{log=\"access\"} "));
    values.next().unwrap().parse().unwrap()
}

/// Ends a test that would wait for ever.
const LONG: Duration = Duration::from_secs(60);

/// A target of which the test can stop the reading.
#[derive(Clone, Default)]
struct Target(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    stopped: bool,
    written: Vec<u8>,
}

/// Reading goes on when this is dropped.
struct Stopped(Target);

impl Target {
    fn stop(&self) -> Stopped {
        self.0.0.lock().unwrap().stopped = true;
        Stopped(self.clone())
    }

    /// Waits until so many lines have been written.
    fn wait_for_lines(&self, count: usize) {
        let (state, changed) = &*self.0;
        let is_short = |state: &mut State| state.written.iter().filter(|byte| **byte == b'\n').count() < count;
        let waited = changed.wait_timeout_while(state.lock().unwrap(), LONG, is_short).unwrap();
        assert!(!waited.1.timed_out(), "fewer than {count} lines were written");
    }

    fn written(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().written.clone()).unwrap()
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.0.0.lock().unwrap_or_else(PoisonError::into_inner).stopped = false;
        self.0.0.1.notify_all();
    }
}

impl Write for Target {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let (state, changed) = &*self.0;
        let mut state = changed.wait_while(state.lock().unwrap(), |state| state.stopped).unwrap();
        state.written.extend_from_slice(bytes);
        changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
