//! Bodies of plain requests and of their answers: they stream both ways, and nobody keeps them.

use std::io::Write;
use std::time::Duration;

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Peer, Proxy, Request};
use tokio::time::Instant;

async fn start(rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], &format!("http = true\n{rest}"))).await;
    (proxy, backend)
}

/// A client that has sent this, and the upstream that has read the head of it.
async fn asked(proxy: &Proxy, backend: &Backend, request: &str) -> (Peer, Peer, String) {
    let mut client = Peer::connect(proxy.address).await;
    client.write(request).await;
    let mut upstream = backend.connection().await;
    let head = upstream.read_through("\r\n\r\n").await;
    (client, upstream, head)
}

#[tokio::test]
async fn a_chunked_body_with_trailers_goes_both_ways() {
    let (proxy, backend) = start("").await;
    let request = "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\n\
                   Trailer: X-Sum, Content-Length\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\n\r\n";
    let (mut client, mut upstream, head) = asked(&proxy, &backend, request).await;
    let head = head.to_ascii_lowercase();
    assert!(head.contains("\r\ntransfer-encoding: chunked\r\n") && head.contains("\r\ntrailer: x-sum\r\n"), "{head}");
    assert!(head.contains("\r\nte: trailers\r\n") && !head.contains("content-length"), "{head}");
    let body = upstream.read_through("\r\n\r\n").await.to_ascii_lowercase();
    assert_eq!(body, "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
    let answer =
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Time\r\n\r\n3\r\nyes\r\n0\r\nX-Time: 2\r\n\r\n";
    upstream.write(answer).await;
    let head = client.read_through("\r\n\r\n").await.to_ascii_lowercase();
    assert!(head.contains("\r\ntrailer: x-time\r\n") && head.contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(client.read_through("\r\n\r\n").await.to_ascii_lowercase(), "3\r\nyes\r\n0\r\nx-time: 2\r\n\r\n");
}

#[tokio::test]
async fn a_get_with_a_body_keeps_it() {
    let (proxy, backend) = start("").await;
    let request = "GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    let (_client, mut upstream, head) = asked(&proxy, &backend, request).await;
    assert!(head.to_ascii_lowercase().contains("\r\ntransfer-encoding: chunked\r\n"), "{head}");
    assert_eq!(upstream.read_through("\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
}

#[tokio::test]
async fn an_answer_comes_down_while_its_request_is_still_going_up() {
    let (proxy, backend) = start("").await;
    let request = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut client, mut upstream, _) = asked(&proxy, &backend, request).await;
    upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    client.read_through("\r\n\r\n").await;
    for part in ["1\r\na\r\n", "1\r\nb\r\n"] {
        client.write(part).await;
        assert_eq!(upstream.read_through(part).await, part);
        upstream.write(part).await;
        assert_eq!(client.read_through(part).await, part);
    }
    client.write("0\r\n\r\n").await;
    assert_eq!(upstream.read_through("\r\n\r\n").await, "0\r\n\r\n");
    upstream.write("0\r\n\r\n").await;
    assert_eq!(client.read_through("\r\n\r\n").await, "0\r\n\r\n");
    // Both connections go on.
    client.write(Request::new("GET", "/next").encode()).await;
    assert_eq!(upstream.read_request().await.target(), "/next");
}

#[tokio::test]
async fn an_event_is_passed_on_when_it_comes() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream, _) = asked(&proxy, &backend, &Request::new("GET", "/events").encode()).await;
    upstream.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n").await;
    client.read_through("\r\n\r\n").await;
    let mut delays = Vec::new();
    for number in 0..21 {
        let event = format!("data: {number}\n\n");
        let sent_at = Instant::now();
        upstream.write(&event).await;
        client.read_through(&event).await;
        delays.push(sent_at.elapsed());
    }
    delays.sort_unstable();
    let _ = writeln!(std::io::stdout(), "an event is there after {:?} at the median", delays[10]);
    // A buffer with a timer would show here, however busy the machine is.
    assert!(delays[10] < Duration::from_millis(500), "{delays:?}");
    // Who leaves is not sent to for ever.
    drop(client);
    upstream.drain().await;
    let line = proxy.access_line().await;
    assert_eq!(line["outcome"], "client_gone");
}

#[tokio::test]
async fn large_bodies_pass_without_being_kept() {
    const PIECE: usize = 1 << 20;
    // More of them show that it stays so; see docs/performance.md.
    let pieces = std::env::var("TIDEGATE_PIECES").ok().and_then(|pieces| pieces.parse().ok()).unwrap_or(48_usize);
    let (proxy, backend) = start("").await;
    let size = PIECE * pieces;
    let request = format!("PUT /file HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
    let (client, upstream, head) = asked(&proxy, &backend, &request).await;
    assert!(head.to_ascii_lowercase().contains(&format!("\r\ncontent-length: {size}\r\n")), "{head}");
    let before = proxy.resident();
    let piece = vec![b'x'; PIECE];
    let sending = async |mut from: Peer| {
        for _ in 0..pieces {
            from.write(&piece).await;
        }
        from
    };
    let reading = async |mut to: Peer| {
        for _ in 0..pieces {
            to.read_exactly(PIECE).await;
        }
        to
    };
    let (mut client, mut upstream) = tokio::join!(sending(client), reading(upstream));
    upstream.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n")).await;
    client.read_through("\r\n\r\n").await;
    let (_client, _upstream) = tokio::join!(reading(client), sending(upstream));
    let grown = proxy.peak_resident().saturating_sub(before);
    let _ = writeln!(std::io::stdout(), "{size} bytes up and down: the proxy grew by {grown} bytes");
    assert!(grown < 16 << 20, "the proxy grew by {grown} bytes");
    let line = proxy.access_line().await;
    assert_eq!((&line["client_bytes"], &line["upstream_bytes"]), (&size.into(), &size.into()));
}

#[tokio::test]
async fn a_body_that_nobody_reads_stops_its_sender() {
    let backend = Backend::bind().await.with_small_buffers();
    let proxy = Proxy::start(&route(&[&backend.address()], "http = true")).await;
    let mut client = Peer::connect_with_small_buffers(proxy.address).await;
    let size = 64 << 20;
    client.write(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n")).await;
    let _upstream = backend.request().await;
    let written = client.write_until_stuck(&vec![b'x'; size], Duration::from_millis(500)).await;
    assert!(written < 16 << 20, "{written} bytes went into the proxy");
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    let (proxy, backend) = start("").await;
    for answer in ["Content-Length: 99\r\n\r\npart", "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n"] {
        let (mut client, mut upstream, _) = asked(&proxy, &backend, &Request::new("GET", "/").encode()).await;
        upstream.write(format!("HTTP/1.1 200 OK\r\n{answer}")).await;
        client.read_through("part").await;
        drop(upstream);
        let rest = client.read_to_end().await;
        assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");
    }
    let lines = proxy.access_lines(2).await;
    assert!(lines.iter().all(|line| line["outcome"] == "answer_broken_off"), "{lines:?}");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_by_what_it_says_and_by_what_it_is() {
    let (proxy, backend) = start("max_body_size = \"10B\"").await;
    let mut client = Peer::connect(proxy.address).await;
    client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\n\r\n").await;
    assert_eq!(client.read_reply().await.status, 413);
    let request = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n123456\r\n";
    let (mut client, mut upstream, _) = asked(&proxy, &backend, request).await;
    upstream.read_through("123456").await;
    client.write("5\r\n12345\r\n").await;
    assert_eq!(client.read_reply().await.status, 413);
    upstream.drain().await;
    proxy.until("tidegate_requests_total", &[("method", "POST"), ("status", "413")], 2).await;
}

#[tokio::test]
async fn who_waits_for_continue_gets_it_when_the_upstream_says_so() {
    let (proxy, backend) = start("").await;
    let request = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let (mut client, mut upstream, head) = asked(&proxy, &backend, request).await;
    assert!(head.to_ascii_lowercase().contains("\r\nexpect: 100-continue\r\n"), "{head}");
    upstream.write("HTTP/1.1 100 Continue\r\n\r\n").await;
    assert_eq!(client.read_through("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write("hello").await;
    assert_eq!(upstream.read_through("hello").await, "hello");
    upstream.write("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.read_reply().await.status, 204);
    // One that the upstream refuses has sent nothing for nothing.
    let (mut client, mut upstream, _) = asked_on(&proxy, upstream, request).await;
    upstream.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.read_reply().await.status, 401);
    assert_eq!(upstream.read_to_end().await, b"");
}

/// As [`asked`], over a connection that the proxy has kept.
async fn asked_on(proxy: &Proxy, mut upstream: Peer, request: &str) -> (Peer, Peer, String) {
    let mut client = Peer::connect(proxy.address).await;
    client.write(request).await;
    let head = upstream.read_through("\r\n\r\n").await;
    (client, upstream, head)
}
