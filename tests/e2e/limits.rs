//! The limits of a route and of a handshake.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Opcode, Peer, Proxy, Request, refused_address};

#[tokio::test]
async fn a_request_head_over_max_header_bytes_gets_431() {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    let request = Request::upgrade("/").with("X-Padding", &"x".repeat(17 * 1024));
    let mut client = Peer::connect(proxy.address).await;
    client.write_while_open(request.encode()).await;
    let reply = client.read_reply().await;
    assert_eq!(reply.status, 431);
    assert_eq!(proxy.access_line().await["connection"], reply.header("x-request-id"));
    assert_eq!(reply.body, "the head of the request has more than 16384 bytes (max_header_bytes)\n");
    proxy.until("tidegate_handshakes_total", &[("outcome", "malformed")], 1).await;
}

/// An opening handshake with this many header fields.
fn of_fields(count: usize) -> Request {
    (5..count).fold(Request::upgrade("/"), |request, index| request.with(&format!("X-{index}"), "1"))
}

#[tokio::test]
async fn a_request_of_more_fields_than_max_header_fields_gets_431_that_names_it() {
    let backend = Backend::bind().await;
    for (listener, most) in [("", 100), ("max_header_fields = 200\n", 200), ("max_header_fields = 10\n", 10)] {
        let listener = format!("[[listeners]]\nlisten = \"127.0.0.1:0\"\n{listener}");
        let proxy = Proxy::start(&format!("{}{listener}", route(&[&backend.address()], ""))).await;
        let reply = proxy.answer(&of_fields(most + 1)).await;
        assert_eq!(reply.status, 431);
        let why = format!("the request has more than {most} header fields (max_header_fields)");
        assert_eq!(reply.body, format!("{why}\n"));
        let line = proxy.access_line().await.to_string();
        assert!(line.contains(&why), "{line}");
        backend.open_with(proxy.address, &of_fields(most), &[]).await;
    }
}

#[tokio::test]
async fn what_is_no_request_is_told_so_and_a_second_one_too() {
    let proxy = Proxy::start(&route(&[&refused_address()], "path = \"/ws\"")).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write("GET / HTTP/1.1\r\nHost: proxy.test\r\n\r\n").await;
    assert_eq!(client.read_reply().await.status, 404);
    client.write("GET / HTTP/1.1\r\nHost proxy.test\r\n\r\n").await;
    let reply = client.read_reply().await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.starts_with("malformed request: "), "{reply:?}");
    client.shut_down().await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_request_within_handshake_timeout_gets_408() {
    let listener = "[[listeners]]\nlisten = \"127.0.0.1:0\"\nhandshake_timeout = \"200ms\"\n";
    let proxy = Proxy::start(&format!("{}{listener}", route(&[&refused_address()], ""))).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write("GET / HTTP/1.1\r\nHost: proxy.test\r\nUpgr").await;
    assert_eq!(client.read_reply().await.status, 408);
    client.expect_end().await;
    proxy.until("tidegate_handshakes_total", &[("outcome", "client_timeout")], 1).await;
}

#[tokio::test]
async fn a_connection_over_max_connections_gets_503_until_another_has_gone() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "max_connections = 1")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    client.send(Frame::close(1000, "")).await;
    upstream.expect_close(1000).await;
    upstream.send(Frame::close(1000, "")).await;
    client.expect_close(1000).await;
    proxy.until("tidegate_connections_active", &[("route", "main")], 0).await;
    backend.open(proxy.address, "/").await;
}

#[tokio::test]
async fn a_handshake_over_handshakes_per_second_gets_429() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "handshakes_per_second = 1")).await;
    let _first = backend.open(proxy.address, "/").await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 429);
    proxy.until("tidegate_handshakes_total", &[("route", "main"), ("outcome", "limited")], 1).await;
}

#[tokio::test]
async fn a_frame_over_max_frame_size_closes_with_1009() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "max_frame_size = \"1KiB\"")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::binary(vec![0; 1024])).await;
    upstream.expect(Frame::binary(vec![0; 1024])).await;
    client.send(Frame::binary(vec![0; 1025])).await;
    client.expect_close(1009).await;
}

/// The same promise holds on a relay and on a route with a filter.
fn relayed_and_filtered(rest: &str) -> [String; 2] {
    [rest.to_owned(), format!("filters = [\"script\"]\n{rest}\n{}", guest("script"))]
}

#[tokio::test]
async fn more_control_frames_than_control_frames_per_second_close_with_1008() {
    for rest in relayed_and_filtered("") {
        let backend = Backend::bind().await;
        let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send_all(&vec![Frame::ping("?"); 2000]).await;
        assert!(client.expect_close(1008).await.contains("control frames"));
        for _ in 0..100 {
            upstream.expect(Frame::ping("?")).await;
        }
        let labels = [("route", "main"), ("from", "client"), ("limit", "control_frames_per_second")];
        proxy.until("tidegate_limit_closes_total", &labels, 1).await;
    }
}

#[tokio::test]
async fn an_upstream_that_floods_with_pongs_is_closed_with_1008_too() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "control_frames_per_second = 10")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    upstream.send_all(&vec![Frame::pong(""); 200]).await;
    upstream.expect_close(1008).await;
    for _ in 0..10 {
        client.expect(Frame::pong("")).await;
    }
    let labels = [("from", "upstream"), ("limit", "control_frames_per_second")];
    proxy.until("tidegate_limit_closes_total", &labels, 1).await;
}

#[tokio::test]
async fn more_small_fragments_than_max_fragments_close_with_1008() {
    for rest in relayed_and_filtered("") {
        let backend = Backend::bind().await;
        let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
        let (mut client, _upstream) = backend.open(proxy.address, "/").await;
        let mut frames = vec![Frame::text("x").unfinished()];
        frames.resize(5000, Frame::continuation("").unfinished());
        client.write_while_open(frames.iter().flat_map(|frame| client.encode(frame)).collect::<Vec<u8>>()).await;
        assert!(client.expect_close(1008).await.contains("4096 fragments"));
        let labels = [("route", "main"), ("from", "client"), ("limit", "max_fragments")];
        proxy.until("tidegate_limit_closes_total", &labels, 1).await;
    }
}

#[tokio::test]
async fn control_frames_and_fragments_without_a_limit_pass() {
    for rest in relayed_and_filtered("control_frames_per_second = \"off\"\nmax_fragments = \"off\"") {
        let backend = Backend::bind().await;
        let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        let mut frames = vec![Frame::ping("?"); 2000];
        frames.push(Frame::text("x").unfinished());
        frames.resize(7000, Frame::continuation("").unfinished());
        frames.push(Frame::continuation("y"));
        client.send_all(&frames).await;
        let mut text = Vec::new();
        loop {
            let frame = upstream.frame().await;
            if !frame.is(Opcode::Ping) {
                text.extend_from_slice(&frame.payload);
                if frame.fin {
                    break;
                }
            }
        }
        assert_eq!(text, b"xy");
    }
}

#[tokio::test]
async fn a_relay_carries_a_message_of_any_size() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let large = Frame::binary((0..4_u32 << 20).map(|index| index.to_le_bytes()[1]).collect::<Vec<u8>>());
    let (sent, received) = (client.send(large.clone()), upstream.frame());
    let ((), received) = tokio::join!(sent, received);
    assert!(received == large, "{received:?} is not what was sent");
}
