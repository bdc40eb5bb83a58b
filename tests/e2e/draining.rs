//! How a process, or a route, sends its clients away.

use std::path::Path;

use serde_json::Value;
use tidegate_tests::config::{route, upstream};
use tidegate_tests::{Backend, Finished, Frame, Peer, Proxy, Reply, Request, Signal, within};
use tokio::net::TcpStream;

/// So long that nothing of it happens in a test.
const LONG: &str = "drain_time = \"10h\"";

async fn drain(proxy: &Proxy, query: &str) -> (u16, Value) {
    let Reply { status, body, .. } = proxy.admin("POST", &format!("/api/v1/drain{query}")).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}")))
}

async fn expect_close_and_answer(peer: &mut Peer, code: u16) {
    peer.expect_close(code).await;
    peer.send(Frame::close(code, "")).await;
}

async fn expect_echo(client: &mut Peer, upstream: &mut Peer) {
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

/// A proxy with the routes `first` and `second`, at `/first` and `/second`.
async fn start_with_two_routes(backend: &Backend) -> Proxy {
    let routes: String = ["first", "second"]
        .map(|name| format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"back\"\n"))
        .concat();
    Proxy::with_workers(2, &format!("{LONG}\n{}{routes}", upstream("back", &[&backend.address()], ""))).await
}

#[tokio::test]
async fn sigterm_closes_both_sides_with_1012_and_ends_with_0() {
    let backend = Backend::bind().await;
    let config = format!("drain_time = \"100ms\"\n{}", route(&[&backend.address()], ""));
    let mut proxy = Proxy::with_workers(2, &config).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(backend.open(proxy.address, "/").await);
    }
    proxy.signal(Signal::TERM);
    for (client, upstream) in &mut open {
        expect_close_and_answer(client, 1012).await;
        expect_close_and_answer(upstream, 1012).await;
    }
    drop(open);
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_first_sigterm_lets_a_drain_of_the_admin_api_go_on_and_a_second_one_ends_it() {
    let backend = Backend::bind().await;
    let mut proxy = Proxy::start(&format!("{LONG}\n{}", route(&[&backend.address()], ""))).await;
    let mut open = [backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await];
    assert_eq!(drain(&proxy, "?over=10h").await.0, 202);
    proxy.wait_for_log(&["draining; two signals end at once"]).await;
    proxy.signal(Signal::TERM);
    proxy.wait_for_log(&["draining already"]).await;
    // One is closed at the start, and the other one not for hours.
    let [_, (client, upstream)] = &mut open;
    expect_echo(client, upstream).await;
    proxy.signal(Signal::TERM);
    proxy.exit_code().await;
}

#[tokio::test]
async fn a_second_sigterm_ends_the_process_at_once() {
    let backend = Backend::bind().await;
    let config = format!("drain_time = \"10h\"\n{}", route(&[&backend.address()], ""));
    let mut proxy = Proxy::start(&config).await;
    let _open = [backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await];
    proxy.signal(Signal::TERM);
    proxy.wait_for_log(&["drain"]).await;
    proxy.signal(Signal::TERM);
    proxy.exit_code().await;
}

#[tokio::test]
async fn a_drain_may_say_1001_and_its_own_time() {
    let backend = Backend::bind().await;
    let mut proxy = Proxy::start(&format!("{LONG}\n{}", route(&[&backend.address()], ""))).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let (status, report) = drain(&proxy, "?code=1001&over=0").await;
    assert_eq!((status, &report["outcome"], &report["connections"]), (202, &"begun".into(), &1.into()), "{report}");
    expect_close_and_answer(&mut client, 1001).await;
    expect_close_and_answer(&mut upstream, 1001).await;
    drop((client, upstream));
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_drain_fails_readiness_and_accepts_nobody_while_open_connections_go_on() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&format!("{LONG}\n{}", route(&[&backend.address()], ""))).await;
    let mut open = [backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await];

    assert_eq!(drain(&proxy, "").await.0, 202);

    let ready = proxy.admin("GET", "/readyz").await;
    assert_eq!((ready.status, ready.body.trim()), (503, "draining"));
    assert_eq!(proxy.admin("GET", "/healthz").await.status, 200);
    let refused = async { while TcpStream::connect(proxy.address).await.is_ok() {} };
    within("the listener to close", refused).await;
    let [_, (client, upstream)] = &mut open;
    expect_echo(client, upstream).await;
    let (status, report) = drain(&proxy, "?over=0").await;
    assert_eq!((status, &report["outcome"]), (409, &"underway".into()), "{report}");
    expect_echo(client, upstream).await;
}

#[tokio::test]
async fn a_handshake_under_way_is_finished_and_its_connection_closed() {
    let backend = Backend::bind().await;
    let mut proxy = Proxy::start(&format!("{LONG}\n{}", route(&[&backend.address()], ""))).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::upgrade("/").encode()).await;
    let (mut upstream, head) = backend.request().await;
    assert_eq!(drain(&proxy, "?over=0").await.0, 202);
    upstream.accept(&head, &[]).await;
    assert_eq!(client.read_reply().await.status, 101);
    expect_close_and_answer(&mut client, 1012).await;
    expect_close_and_answer(&mut upstream, 1012).await;
    drop((client, upstream));
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_route_is_drained_by_itself_and_serves_whoever_comes_back() {
    let backend = Backend::bind().await;
    let proxy = start_with_two_routes(&backend).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/first").await;
    let (mut other, mut upstream_of_other) = backend.open(proxy.address, "/second").await;

    let (status, report) = drain(&proxy, "?route=first&over=0").await;

    assert_eq!((status, &report["route"], &report["connections"]), (202, &"first".into(), &1.into()), "{report}");
    expect_close_and_answer(&mut client, 1012).await;
    expect_close_and_answer(&mut upstream, 1012).await;
    expect_echo(&mut other, &mut upstream_of_other).await;
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
    let (mut back, mut upstream_of_back) = backend.open(proxy.address, "/first").await;
    expect_echo(&mut back, &mut upstream_of_back).await;
    let closes = [("route", "first"), ("by", "proxy"), ("code", "1012")];
    proxy.until("tidegate_closes_total", &closes, 1).await;
}

#[tokio::test]
async fn a_route_that_is_not_there_is_a_404() {
    let backend = Backend::bind().await;
    let proxy = start_with_two_routes(&backend).await;
    let (status, report) = drain(&proxy, "?route=third").await;
    assert_eq!((status, &report["outcome"]), (404, &"unknown".into()), "{report}");
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn a_dry_run_tells_the_plan_and_changes_nothing() {
    let backend = Backend::bind().await;
    let proxy = start_with_two_routes(&backend).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/first").await;
    let _second = [backend.open(proxy.address, "/second").await, backend.open(proxy.address, "/second").await];
    for (query, connections, rate) in [("over=30s", 3, 0.1), ("route=second&over=20s", 2, 0.1)] {
        let (status, report) = drain(&proxy, &format!("?dry_run=true&{query}")).await;
        assert_eq!((status, &report["outcome"]), (200, &"planned".into()), "{query}: {report}");
        assert_eq!(report["connections"], connections, "{query}: {report}");
        assert_eq!(report["connections_per_second"], rate, "{query}: {report}");
    }
    assert_eq!(drain(&proxy, "?dry_run=true").await.1["over_seconds"], 36_000.0);
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
    expect_echo(&mut client, &mut upstream).await;
    assert_eq!(proxy.metrics().await.count("tidegate_closes_total", &[("by", "proxy"), ("code", "1012")]), 0);
}

#[tokio::test]
async fn the_verb_prints_the_plan_and_drains() {
    let backend = Backend::bind().await;
    let mut proxy = start_with_two_routes(&backend).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/first").await;
    let admin = proxy.admin.to_string();
    let run = |arguments: &'static str| {
        let admin = admin.clone();
        async move {
            let arguments: Vec<&str> = ["drain", "--admin", &admin].into_iter().chain(arguments.split(' ')).collect();
            Finished::run(Path::new("/"), &arguments).await
        }
    };

    let planned = run("--dry-run --over 30s").await;
    assert_eq!(planned.code, Some(0), "{planned:?}");
    for word in ["1 connections", "30 s", "per second", "1012"] {
        assert!(planned.stdout.contains(word), "{word} is not in {planned:?}");
    }
    let unknown = run("--route third").await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("third"), "{unknown:?}");
    expect_echo(&mut client, &mut upstream).await;

    let begun = run("--over 0 --code 1001").await;
    assert_eq!(begun.code, Some(0), "{begun:?}");
    expect_close_and_answer(&mut client, 1001).await;
    expect_close_and_answer(&mut upstream, 1001).await;
    drop((client, upstream));
    assert_eq!(proxy.exit_code().await, Some(0));
}
