//! `/metrics` equals the traffic, exactly.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Echo, Frame, Peer, Proxy, Request, refused_address};

const CLIENTS: u64 = 16;
const MESSAGES: u64 = 50;

/// The size of a client's message: every length form occurs.
fn size(index: u64) -> usize {
    [0, 1, 64, 125, 126, 1000, 65_536][usize::try_from(index % 7).unwrap()]
}

/// Sends [`MESSAGES`] to an echo server, texts and binaries by turns, and gives the bytes of their payloads.
async fn chat(mut client: Peer) -> u64 {
    let mut bytes = 0;
    for index in 0..MESSAGES {
        let payload = vec![b'x'; size(index)];
        bytes += u64::try_from(payload.len()).unwrap();
        let frame =
            if index % 2 == 0 { Frame::text(String::from_utf8(payload).unwrap()) } else { Frame::binary(payload) };
        client.send(frame.clone()).await;
        client.expect(frame).await;
    }
    client.send(Frame::close(1000, "done")).await;
    client.expect_close(1000).await;
    client.expect_end().await;
    bytes
}

async fn equals_the_traffic(rest: &str) -> Proxy {
    let echo = Echo::start().await;
    let proxy = Proxy::with_workers(2, &route(&[echo.address()], rest)).await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(chat(proxy.open("/").await));
    }
    let bytes: u64 = clients.join_all().await.into_iter().sum();
    let main = ("route", "main");
    let metrics = proxy.until("tidegate_connections_active", &[main], 0).await;
    for from in ["client", "upstream"] {
        for kind in ["text", "binary"] {
            let count = metrics.count("tidegate_messages_total", &[main, ("from", from), ("kind", kind)]);
            assert_eq!(count, CLIENTS * MESSAGES / 2, "{kind} messages from the {from}");
        }
        let counted = metrics.count("tidegate_message_bytes_total", &[main, ("from", from)]);
        assert_eq!(counted, bytes, "bytes from the {from}");
    }
    assert_eq!(metrics.count("tidegate_handshakes_total", &[main, ("outcome", "upgraded")]), CLIENTS);
    assert_eq!(metrics.count("tidegate_handshakes_total", &[]), CLIENTS);
    assert_eq!(metrics.count("tidegate_closes_total", &[main, ("by", "client"), ("code", "1000")]), CLIENTS);
    assert_eq!(metrics.count("tidegate_closes_total", &[]), CLIENTS);
    assert_eq!(metrics.count("tidegate_connection_duration_seconds_count", &[main]), CLIENTS);
    let connects = [("upstream", "back"), ("outcome", "connected")];
    assert_eq!(metrics.count("tidegate_upstream_connects_total", &connects), CLIENTS);
    assert_eq!(metrics.count("tidegate_upstream_connections_active", &[]), 0);
    proxy
}

#[tokio::test]
async fn the_counts_of_a_relay_equal_the_traffic() {
    equals_the_traffic("").await;
}

#[tokio::test]
async fn the_counts_of_a_filtered_route_equal_the_traffic() {
    let rest = format!("filters = [\"script\"]\n{}", guest("script"));
    let proxy = equals_the_traffic(&rest).await;
    let metrics = proxy.metrics().await;
    let script = [("route", "main"), ("component", "script")];
    let verdict =
        |verdict| metrics.count("tidegate_component_calls_total", &[script[0], script[1], ("verdict", verdict)]);
    assert_eq!(verdict("admit"), CLIENTS);
    assert_eq!(verdict("forward"), 2 * CLIENTS * MESSAGES);
    assert_eq!(metrics.count("tidegate_component_calls_total", &script), CLIENTS + 2 * CLIENTS * MESSAGES);
    assert_eq!(metrics.count("tidegate_component_failures_total", &[]), 0);
}

#[tokio::test]
async fn each_verdict_is_counted_as_what_it_was() {
    let backend = Backend::bind().await;
    let rest = format!("filters = [\"script\"]\n{}", guest("script"));
    let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let texts = ["a", "b", "drop", "replace:x", "onward:1,2", "delay:1", "drop", "replace:y", "replace:z"];
    client.send_all(&texts.map(Frame::text)).await;
    for text in ["a", "b", "x", "1", "2", "delay:1", "y", "z"] {
        upstream.expect(Frame::text(text)).await;
    }
    client.send(Frame::text("close:4000:")).await;
    client.expect_close(4000).await;
    upstream.expect_close(4000).await;
    drop((client, upstream));
    let metrics = proxy.until("tidegate_connections_active", &[], 0).await;
    let verdicts = metrics.by_label("tidegate_component_calls_total", "verdict");
    let of_filter = |verdict: &str| verdicts.get(verdict).copied().unwrap_or(0);
    let counts = ["forward", "drop", "replace", "send", "delay", "close", "admit"].map(of_filter);
    assert_eq!(counts, [2, 2, 3, 1, 1, 1, 1]);
    // What a side sent is counted, whatever becomes of it.
    let sent: usize = texts.iter().map(|text| text.len()).sum::<usize>() + "close:4000:".len();
    let labels = [("route", "main"), ("from", "client")];
    assert_eq!(metrics.count("tidegate_messages_total", &labels), 10);
    assert_eq!(metrics.count("tidegate_message_bytes_total", &labels), u64::try_from(sent).unwrap());
}

#[tokio::test]
async fn a_fragmented_message_counts_once_with_all_its_bytes() {
    for rest in [String::new(), format!("filters = [\"script\"]\n{}", guest("script"))] {
        let backend = Backend::bind().await;
        let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client
            .send_all(&[
                Frame::text("12").unfinished(),
                Frame::ping("not counted"),
                Frame::continuation("345").unfinished(),
                Frame::continuation("6"),
                Frame::empty_close(),
            ])
            .await;
        while !upstream.frame().await.is(tidegate_tests::Opcode::Close) {}
        upstream.send(Frame::empty_close()).await;
        drop((client, upstream));
        let labels = [("route", "main"), ("from", "client"), ("kind", "text")];
        let metrics = proxy.until("tidegate_connections_active", &[], 0).await;
        assert_eq!(metrics.count("tidegate_messages_total", &labels), 1);
        assert_eq!(metrics.count("tidegate_messages_total", &[]), 1);
        assert_eq!(metrics.count("tidegate_message_bytes_total", &labels[..2]), 6);
    }
}

#[tokio::test]
async fn closes_are_counted_by_who_began_and_by_code() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    for (frame, times) in [(Frame::close(1000, ""), 3), (Frame::close(4001, ""), 2), (Frame::empty_close(), 1)] {
        for _ in 0..times {
            let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
            client.send(frame.clone()).await;
            upstream.expect(frame.clone()).await;
            upstream.send(frame.clone()).await;
            client.expect(frame.clone()).await;
        }
    }
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    upstream.send(Frame::close(3001, "")).await;
    client.expect_close(3001).await;
    client.send(Frame::close(3001, "")).await;
    upstream.expect_close(3001).await;
    let metrics = proxy.until("tidegate_connections_active", &[], 0).await;
    let count = |by, code| metrics.count("tidegate_closes_total", &[("route", "main"), ("by", by), ("code", code)]);
    assert_eq!(count("client", "1000"), 3);
    assert_eq!(count("client", "4000-4999"), 2);
    assert_eq!(count("client", "1005"), 1);
    assert_eq!(count("upstream", "3000-3999"), 1);
    assert_eq!(metrics.count("tidegate_closes_total", &[]), 7);
}

#[tokio::test]
async fn refused_handshakes_are_counted_by_their_reason() {
    let address = refused_address();
    let proxy = Proxy::start(&route(&[&address], "path = \"/ws\"\nallowed_origins = [\"https://a.example\"]")).await;
    let origin = |request: Request| request.with("Origin", "https://a.example");
    for request in [
        Request::upgrade("/elsewhere"),
        Request::new("GET", "/ws"),
        origin(Request::upgrade("/ws").replacing("Sec-WebSocket-Version", "8")),
        origin(Request::upgrade("/ws").replacing("Sec-WebSocket-Key", "bad")),
        Request::upgrade("/ws").with("Origin", "https://b.example"),
        origin(Request::upgrade("/ws")),
    ] {
        proxy.answer(&request).await;
    }
    let metrics = proxy.until("tidegate_handshakes_total", &[], 6).await;
    let count = |outcome| metrics.count("tidegate_handshakes_total", &[("outcome", outcome)]);
    let counts = ["no_route", "upgrade_required", "malformed", "origin_refused", "upstream_failed"].map(count);
    assert_eq!(counts, [1, 2, 1, 1, 1]);
}

#[tokio::test]
async fn open_connections_are_shown_as_active() {
    let backend = Backend::bind().await;
    let proxy = Proxy::with_workers(2, &route(&[&backend.address()], "")).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(backend.open(proxy.address, "/").await);
    }
    let metrics = proxy.until("tidegate_connections_active", &[("route", "main")], 5).await;
    assert_eq!(metrics.count("tidegate_upstream_connections_active", &[("upstream", "back")]), 5);
    open.clear();
    let metrics = proxy.until("tidegate_connections_active", &[("route", "main")], 0).await;
    assert_eq!(metrics.count("tidegate_upstream_connections_active", &[("upstream", "back")]), 0);
}

#[tokio::test]
async fn what_a_peer_sends_makes_no_label() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "path = \"/ws\"")).await;
    proxy.answer(&Request::upgrade("/peers-path").replacing("Host", "peers-host")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/ws").await;
    client.send(Frame::close(4242, "peers-reason")).await;
    upstream.expect_close(4242).await;
    upstream.send(Frame::close(4242, "peers-reason")).await;
    drop((client, upstream));
    proxy.until("tidegate_closes_total", &[("code", "4000-4999")], 1).await;
    let text = proxy.admin("GET", "/metrics").await.body;
    assert!(!text.contains("peers-") && !text.contains("4242"), "{text}");
}
