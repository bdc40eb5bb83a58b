//! Limits of a route over reloads: they change, and who is there stays counted.

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Echo, Frame, Proxy, Request};
use tokio::time::Instant;

/// A configuration that only explicit reloads read again.
fn unwatched(config: &str) -> String {
    format!("watch = false\n{config}")
}

#[tokio::test]
async fn connections_that_were_open_before_count_for_max_connections_that_a_reload_introduces() {
    let backend = Backend::bind().await;
    let config = |rest: &str| unwatched(&route(&[&backend.address()], rest));
    let proxy = Proxy::start(&config("")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    proxy.rewrite(&config("max_connections = 1"));
    proxy.reload().await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    client.send(Frame::close(1000, "")).await;
    upstream.expect_close(1000).await;
    upstream.send(Frame::close(1000, "")).await;
    client.expect_close(1000).await;
    proxy.until("tidegate_connections_active", &[("route", "main")], 0).await;
    let _next = backend.open(proxy.address, "/").await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
}

#[tokio::test]
async fn connections_count_for_max_connections_of_a_route_that_goes_and_comes_back() {
    let backend = Backend::bind().await;
    let limited = unwatched(&route(&[&backend.address()], "on_change = \"keep\"\nmax_connections = 1"));
    let proxy = Proxy::start(&limited).await;
    let _open = backend.open(proxy.address, "/").await;
    for config in [limited.replace("\"main\"", "\"other\""), limited] {
        proxy.rewrite(&config);
        assert_eq!(proxy.reload().await.status, 200);
    }
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
}

#[tokio::test]
async fn reloads_give_a_route_no_further_handshakes_in_a_second() {
    let echo = Echo::start().await;
    let config = |rest: &str| unwatched(&route(&[echo.address()], &format!("handshakes_per_second = 1\n{rest}")));
    let proxy = Proxy::start(&config("")).await;
    let started = Instant::now();
    let mut admitted = 0;
    for limit in 100..110 {
        proxy.rewrite(&config(&format!("max_connections = {limit}")));
        assert_eq!(proxy.reload().await.status, 200);
        admitted += u64::from(proxy.answer(&Request::upgrade("/")).await.status != 429);
    }
    let most = 1 + started.elapsed().as_secs();
    assert!(admitted <= most, "{admitted} in {:?}", started.elapsed());
}
