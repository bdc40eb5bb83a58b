//! How plain requests in progress end that would go on: by a drain, or by the admin API.

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Peer, Proxy, Request, Signal};

async fn start(top: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&format!("{top}\n{}", route(&[&backend.address()], "http = true"))).await;
    (proxy, backend)
}

/// A stream of events that has begun.
async fn events(proxy: &Proxy, backend: &Backend) -> (Peer, Peer) {
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/events").encode()).await;
    let (mut upstream, _) = backend.request().await;
    upstream.write("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n").await;
    client.read_through("data: 1\n\n").await;
    (client, upstream)
}

#[tokio::test]
async fn a_drain_ends_streams_of_events_in_order_and_lets_requests_end() {
    let (mut proxy, backend) = start("drain_time = \"200ms\"").await;
    let (mut client, mut upstream) = events(&proxy, &backend).await;
    let mut other = Peer::connect(proxy.address).await;
    other.write(Request::new("GET", "/slow").encode()).await;
    let (mut slow, _) = backend.request().await;
    proxy.signal(Signal::TERM);
    assert!(client.read_to_end().await.ends_with(b"0\r\n\r\n"));
    upstream.drain().await;
    slow.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    let reply = other.read_reply().await;
    assert_eq!((reply.body.as_str(), reply.header("connection")), ("hello", "close"));
    drop((client, other));
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_request_that_outlasts_a_drain_is_ended() {
    let (mut proxy, backend) = start("drain_time = \"100ms\"").await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/slow").encode()).await;
    let (mut upstream, _) = backend.request().await;
    proxy.signal(Signal::TERM);
    assert_eq!(client.read_reply().await.status, 503);
    upstream.drain().await;
    drop(client);
    assert_eq!(proxy.exit_code().await, Some(0));
    let line = proxy.access_line().await;
    assert_eq!((&line["status"], &line["reason"]), (&503.into(), &"it was drained".into()));
}

#[tokio::test]
async fn a_request_that_is_cut_off_with_the_process_leaves_its_line() {
    let (mut proxy, backend) = start("drain_time = \"1m\"").await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/slow").encode()).await;
    let (_upstream, _) = backend.request().await;
    proxy.signal(Signal::TERM);
    proxy.wait_for_log(&["drain"]).await;
    proxy.signal(Signal::TERM);
    proxy.exit_code().await;
    let line = proxy.access_line().await;
    assert_eq!((&line["outcome"], &line["path"]), (&"ended".into(), &"/slow".into()), "{line}");
    assert_eq!(line["reason"], "cut off at the end of the process", "{line}");
}

#[tokio::test]
async fn a_connection_that_is_only_kept_is_no_reason_to_wait() {
    let (mut proxy, backend) = start("drain_time = \"100ms\"").await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/").encode()).await;
    let (mut upstream, _) = backend.request().await;
    upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    client.read_reply().await;
    proxy.signal(Signal::TERM);
    assert_eq!(client.read_to_end().await, b"");
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn the_admin_api_ends_the_requests_that_are_meant() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream) = events(&proxy, &backend).await;
    assert_eq!(proxy.admin("DELETE", "/api/v1/connections?route=other").await.status, 404);
    assert_eq!(proxy.admin("DELETE", "/api/v1/connections?route=main").await.status, 200);
    assert!(client.read_to_end().await.ends_with(b"0\r\n\r\n"));
    upstream.drain().await;
    let line = proxy.access_line().await;
    assert_eq!((&line["outcome"], &line["reason"]), (&"ended".into(), &"it was closed by the admin API".into()));
}
