//! The generator against the echo server with nothing in between: what goes out comes back, and both sides count alike.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use tidegate_load::deflate::Deflate;
use tidegate_load::echo::{EchoServer, RunningEcho};
use tidegate_load::order::Faults;
use tidegate_load::payload::Mix;
use tidegate_load::process::ProcessTree;
use tidegate_load::scenario::closed::{ClosedLoop, Stop};
use tidegate_load::scenario::fixed::FixedRate;
use tidegate_load::scenario::slow::SlowReaders;
use tidegate_load::scenario::{Messages, Target, churn, closed, fixed, idle, slow, verify};
use tidegate_load::small::SOCKET_BUFFER;

fn echo() -> io::Result<(RunningEcho, Target)> {
    let echo = EchoServer::bind(loopback())?.with_socket_buffer(SOCKET_BUFFER)?.spawn()?;
    let target = Target::new(echo.address(), "/echo?query");
    Ok((echo, target))
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn messages(size: usize) -> Messages {
    Messages::new(size, Mix::Both)
}

#[test]
fn both_sides_count_the_same_messages_bytes_pings_and_closes() {
    let (echo, target) = echo().unwrap();
    let load = verify::Verify {
        connections: 5,
        count: 40,
        pings: 3,
        window: 4,
        messages: Messages { fragments: 3, ..messages(100) },
    };
    let report = verify::run(&target, load).unwrap();
    let totals = &report.checked.totals;
    assert!(report.checked.faults.none(), "{:?} {:?}", report.checked.faults, report.checked.reasons);
    assert_eq!((totals.sent.messages.text, totals.sent.messages.binary, totals.sent.messages.ping), (100, 100, 15));
    assert_eq!((totals.sent.data_bytes, totals.sent.frames), (200 * 100, 600 + 15 + 5));
    assert_eq!(totals.received.closes.get(&1000), Some(&5));
    let echoed = echo.stop().unwrap();
    assert_eq!((echoed.opened, &echoed.received, &echoed.sent), (5, &totals.sent, &totals.received));
}

#[test]
fn a_pipelined_closed_loop_ends_with_exactly_its_messages() {
    let (echo, target) = echo().unwrap();
    let load = ClosedLoop { connections: 8, window: 16, messages: messages(125), stop: Stop::Messages(100) };
    let target = Target { process: Some(ProcessTree::new(std::process::id())), ..target };
    let report = closed::run(&target, load).unwrap();
    assert!(report.checked.faults.none());
    assert_eq!((report.measured, report.latency_us.count, report.checked.ended), (800, 800, 8));
    assert!(report.cpu_us_per_message.unwrap() > 0.0);
    assert_eq!(echo.stop().unwrap().received.data_bytes, 800 * 125);
}

#[test]
fn messages_larger_than_any_read_come_back_whole() {
    let (_echo, target) = echo().unwrap();
    let load = ClosedLoop { connections: 2, window: 2, messages: messages(1 << 20), stop: Stop::Messages(4) };
    let report = closed::run(&target, load).unwrap();
    assert!(report.checked.faults.none(), "{:?} {:?}", report.checked.faults, report.checked.reasons);
    assert_eq!(report.measured, 8);
}

#[test]
fn compressed_messages_come_back_as_they_were_sent() {
    let (echo, target) = echo().unwrap();
    for (deflate, fragments) in [(Deflate::NoContextTakeover, 1), (Deflate::ContextTakeover, 3)] {
        let messages = Messages { deflate: Some(deflate), fragments, ..Messages::new(1024, Mix::Text) };
        let load = ClosedLoop { connections: 3, window: 4, messages, stop: Stop::Messages(100) };
        let report = closed::run(&target, load).unwrap();
        assert!(report.checked.faults.none(), "{:?} {:?}", report.checked.faults, report.checked.reasons);
        assert_eq!((report.measured, report.checked.recompressed), (300, 0));
    }
    let bytes = echo.stop().unwrap().received.data_bytes;
    assert!(bytes < 600 * 700, "{bytes} bytes are not compressed");
}

#[test]
fn a_fixed_rate_sends_every_message_that_was_due() {
    let (_echo, target) = echo().unwrap();
    let load = FixedRate { connections: 7, rate: 2000.0, messages: messages(64), warm_up: 0.0, seconds: 0.25 };
    let report = fixed::run(&target, load).unwrap();
    assert!(report.checked.faults.none());
    assert_eq!((report.measured, report.skipped, report.latency_us.count), (500, 0, 500));
    assert!(report.latency_us.mean >= report.latency_from_sent_us.mean);
}

#[test]
fn churn_and_idle_connections_each_carry_one_message() {
    let (echo, target) = echo().unwrap();
    let churned = churn::run(&target, churn::Churn { connections: 50, concurrent: 4, messages: messages(64) }).unwrap();
    assert!(churned.checked.faults.none(), "{:?} {:?}", churned.checked.faults, churned.checked.reasons);
    assert_eq!((churned.checked.ended, churned.latency_us.count), (50, 50));
    let rested = idle::run(&target, idle::Idle { connections: 20, messages: messages(64), settle: 0.0 }).unwrap();
    assert_eq!((rested.open, rested.checked.ended), (20, 20));
    let totals = echo.stop().unwrap();
    // The idle scenario opens one connection more, before it takes its first reading.
    assert_eq!((totals.opened, totals.received.data_bytes), (71, 71 * 64));
}

#[test]
fn slow_readers_get_everything_in_the_end() {
    let (_echo, target) = echo().unwrap();
    let load = SlowReaders { connections: 3, messages: messages(4096), most_bytes: 1 << 20, stalled_after: 0.1 };
    let report = slow::run(&target, load).unwrap();
    assert!(report.checked.faults.none(), "{:?} {:?}", report.checked.faults, report.checked.reasons);
    assert_eq!(report.checked.totals.received.data_bytes, report.checked.totals.sent.data_bytes);
}

#[test]
fn a_server_that_refuses_is_an_error_that_names_the_status() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let target = Target::new(listener.local_addr().unwrap(), "/");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]).unwrap();
        stream.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let load = ClosedLoop { connections: 1, window: 1, messages: messages(64), stop: Stop::Messages(1) };
    let error = closed::run(&target, load).unwrap_err();
    assert!(error.to_string().contains("answered with status 503"), "{error}");
    server.join().unwrap();
}

#[test]
fn a_connection_that_is_cut_loses_its_messages_and_is_broken() {
    let listener = TcpListener::bind(loopback()).unwrap();
    let target = Target::new(listener.local_addr().unwrap(), "/");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = vec![0; 1024];
        let count = stream.read(&mut request).unwrap();
        let text = String::from_utf8_lossy(&request[..count]).into_owned();
        let key = text.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let accept = tidegate_load::handshake::accept(key);
        let answer = format!("HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        stream.write_all(answer.as_bytes()).unwrap();
        let _ = stream.read(&mut request).unwrap();
    });
    let load = ClosedLoop { connections: 1, window: 2, messages: messages(64), stop: Stop::Messages(2) };
    let report = closed::run(&target, load).unwrap();
    assert_eq!(report.checked.faults, Faults { lost: 2, broken: 1, ..Faults::default() });
    server.join().unwrap();
}

#[test]
fn a_plain_request_to_the_echo_server_answers_with_its_counts() {
    let (echo, _) = echo().unwrap();
    let mut stream = TcpStream::connect(echo.address()).unwrap();
    stream.write_all(b"GET /totals HTTP/1.1\r\nHost: echo\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let totals: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(totals["received"]["messages"]["text"], 0);
}
