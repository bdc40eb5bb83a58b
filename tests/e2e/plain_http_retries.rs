//! Plain requests whose upstream fails: which are sent again, and what the client is told of the others.

use tidegate_tests::config::upstream;
use tidegate_tests::{Backend, Peer, Proxy, Request, refused_address};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn config(addresses: &[&str], retries: u32, rest: &str) -> String {
    let back = upstream("back", addresses, &format!("retries = {retries}"));
    format!("{back}[[routes]]\nname = \"main\"\nupstream = \"back\"\nhttp = true\n{rest}\n")
}

#[tokio::test]
async fn a_request_that_was_not_sent_goes_to_the_next_endpoint_whatever_it_is() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&[&refused_address(), &backend.address()], 1, "")).await;
    let mut upstream: Option<Peer> = None;
    for _ in 0..2 {
        let mut client = Peer::connect(proxy.address).await;
        client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello").await;
        let peer = match &mut upstream {
            None => upstream.insert(backend.connection().await),
            Some(peer) => peer,
        };
        peer.read_through("hello").await;
        peer.write(OK).await;
        assert_eq!(client.read_reply().await.status, 200);
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_seen_is_sent_again_only_where_that_changes_nothing() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&[&backend.address()], 1, "")).await;
    for (request, times, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 2, 200),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 1, 502),
        ("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", 1, 502),
        ("DELETE / HTTP/1.1\r\nHost: h\r\n\r\n", 2, 200),
    ] {
        let mut client = Peer::connect(proxy.address).await;
        client.write(request).await;
        for time in 1..=times {
            let (mut upstream, _) = backend.request().await;
            if time == 1 {
                // It has read all of it, and leaves.
                upstream.read_exactly(if request.ends_with("hi") { 2 } else { 0 }).await;
            } else {
                upstream.write(OK.replace("200 OK\r\n", "200 OK\r\nConnection: close\r\n")).await;
            }
        }
        assert_eq!(client.read_reply().await.status, status, "{request:?}");
    }
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.count("tidegate_requests_total", &[("status", "502")]), 2);
}

#[tokio::test]
async fn an_answer_of_503_is_asked_for_elsewhere_and_the_last_one_is_the_clients() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&[&backend.address()], 1, "")).await;
    let mut client = Peer::connect(proxy.address).await;
    let busy = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy";
    client.write(Request::new("GET", "/").encode()).await;
    for _ in 0..2 {
        let (mut upstream, _) = backend.request().await;
        upstream.write(busy).await;
    }
    let reply = client.read_reply().await;
    assert_eq!((reply.status, reply.header("retry-after"), reply.body.as_str()), (503, "7", "busy"));
}

#[tokio::test]
async fn a_kept_connection_that_has_closed_meanwhile_costs_no_request() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&[&backend.address()], 0, "")).await;
    let mut client = Peer::connect(proxy.address).await;
    for method in ["GET", "POST", "GET"] {
        client.write(Request::new(method, "/").encode()).await;
        let (mut upstream, _) = backend.request().await;
        upstream.write(OK).await;
        assert_eq!(client.read_reply().await.status, 200);
        drop(upstream);
    }
    // Closed only when the next request is there already.
    client.write(Request::new("GET", "/").encode()).await;
    let (mut upstream, _) = backend.request().await;
    upstream.write(OK).await;
    client.read_reply().await;
    client.write(Request::new("GET", "/").encode()).await;
    upstream.read_request().await;
    drop(upstream);
    let (mut upstream, _) = backend.request().await;
    upstream.write(OK).await;
    assert_eq!(client.read_reply().await.status, 200);
    assert_eq!(proxy.metrics().await.count("tidegate_upstream_connects_total", &[("outcome", "refused")]), 0);
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_a_504_and_one_that_goes_on_is_not_cut() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&[&backend.address()], 0, "request_timeout = \"2s\"")).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/").encode()).await;
    let _silent = backend.request().await;
    assert_eq!(client.read_reply().await.status, 504);
    client.write(Request::new("GET", "/").encode()).await;
    let (mut upstream, _) = backend.request().await;
    upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    client.read_through("\r\n\r\n").await;
    let waited = tokio::time::timeout(std::time::Duration::from_secs(3), client.read_exactly(1)).await;
    assert!(waited.is_err(), "{waited:?}");
    upstream.write("hello").await;
    assert_eq!(client.read_exactly(5).await, b"hello");
}

#[tokio::test]
async fn a_client_that_stops_within_its_body_is_told_so() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&[&backend.address()], 0, "request_timeout = \"300ms\"")).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhello").await;
    let (mut upstream, _) = backend.request().await;
    upstream.read_through("hello").await;
    assert_eq!(client.read_reply().await.status, 408);
    upstream.drain().await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.count("tidegate_endpoint_failing", &[]), 0);
}

#[tokio::test]
async fn an_upstream_that_switches_protocols_unasked_is_not_believed() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&[&backend.address()], 0, "")).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/").with("Upgrade", "h2c").with("Connection", "Upgrade").encode()).await;
    let (mut upstream, head) = backend.request().await;
    assert_eq!((head.header("upgrade"), head.header("connection")), (None, None));
    upstream.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n").await;
    assert_eq!(client.read_reply().await.status, 502);
}
