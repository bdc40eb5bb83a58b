//! Endpoints that somebody else knows: as they change there, connections go elsewhere, and nothing else is another.

use std::fs;

use serde_json::Value;
use tidegate_tests::{Echo, Frame, Peer, Proxy, Request, refused_address, within};

/// A route to what the file says.
const ROUTE: &str = "watch = false\n[upstreams.back]\ndiscover = { file = \"endpoints.json\", empty_grace = \"1h\" }\n\
                     [[routes]]\nname = \"main\"\nupstream = \"back\"\non_change = \"drain\"\n";

const UP: &str = "tidegate_discovery_up";
const UPDATES: &str = "tidegate_discovery_updates_total";
const FAILURES: &str = "tidegate_discovery_failures_total";

/// A list of endpoints at these addresses.
fn list(addresses: &[&str]) -> String {
    let urls: Vec<_> = addresses.iter().map(|address| format!("{{ \"url\": \"ws://{address}\" }}")).collect();
    format!("[{}]", urls.join(", "))
}

/// Opens a WebSocket; the first thing said is the name of the echo that it reached.
async fn named(proxy: &Proxy) -> (String, Peer) {
    let (mut client, reply) = Peer::handshake(proxy.address, &Request::upgrade("/")).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    let name = said(&mut client).await;
    (name, client)
}

async fn said(client: &mut Peer) -> String {
    client.send(Frame::text("")).await;
    client.frame().await.as_text()
}

/// Waits until a metric has no series with a label any more.
async fn until_absent(proxy: &Proxy, name: &str, label: &str, value: &str) {
    within("a series to go", async { while proxy.metrics().await.by_label(name, label).contains_key(value) {} }).await;
}

async fn upstream(proxy: &Proxy) -> Value {
    let upstreams: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/upstreams").await.body).unwrap();
    upstreams[0].clone()
}

/// A proxy that has heard of one echo.
async fn started(echo: &Echo) -> Proxy {
    let proxy = Proxy::start(ROUTE).await;
    proxy.place("endpoints.json", list(&[echo.address()]));
    proxy.until(UPDATES, &[], 1).await;
    proxy
}

#[tokio::test]
async fn endpoints_come_and_go_with_the_file_and_no_connection_or_route_is_touched() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let proxy = Proxy::start(ROUTE).await;
    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    let remark = proxy.admin("GET", "/readyz").await;
    let unknown = "upstream back: its endpoints are not known yet, because of its file: ";
    assert!(remark.status == 200 && remark.body.contains(unknown), "{remark:?}");

    proxy.place("endpoints.json", list(&[a.address()]));
    proxy.until(UPDATES, &[], 1).await;
    let (name, mut client) = named(&proxy).await;
    assert_eq!(name, "A");

    proxy.place("endpoints.json", format!("{{ \"endpoints\": {} }}", list(&[b.address()])));
    proxy.until(UPDATES, &[], 2).await;
    assert_eq!(named(&proxy).await.0, "B");
    assert_eq!(said(&mut client).await, "A");
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.count("tidegate_config_generation", &[]), 1);
    assert_eq!(metrics.count(UP, &[("upstream", "back"), ("source", "file")]), 1);
    let shown = upstream(&proxy).await;
    assert_eq!(shown["discovery"], serde_json::json!({ "source": "file", "up": true, "set_age_seconds": 0.0 }));
    assert_eq!(shown["endpoints"][0]["url"], format!("ws://{}", b.address()));
    assert_eq!(proxy.admin("GET", "/readyz").await.body, "ready\n");
    // What is not known before it is found is no mistake.
    assert!(!format!("{:?}", proxy.log()).contains("weight 0"), "{:?}", proxy.log());
}

#[tokio::test]
async fn a_file_that_makes_no_sense_or_is_gone_leaves_what_it_said_before() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let proxy = started(&a).await;
    let invalid = [
        ("[{ \"url\": ", "EOF while parsing"),
        ("{}", "it is no list of endpoints, and has none as `endpoints`"),
        ("[{ \"url\": \"127.0.0.1:1\" }, { \"url\": \"ftp://a\" }]", "endpoint 2: its url has the scheme"),
    ];
    let before = proxy.metrics().await.count(FAILURES, &[]);
    for (failures, (text, why)) in (before + 1..).zip(invalid) {
        proxy.place("endpoints.json", text);
        proxy.until(FAILURES, &[], failures).await;
        let problem = upstream(&proxy).await["discovery"]["problem"].clone();
        assert!(problem.as_str().is_some_and(|problem| problem.contains(why)), "{problem}");
        assert_eq!(named(&proxy).await.0, "A");
    }
    proxy.wait_for_log(&["a source of endpoints fails", "endpoints.json: EOF while parsing"]).await;
    proxy.place("endpoints.json", list(&[a.address()]));
    proxy.until(UP, &[], 1).await;
    fs::remove_file(proxy.directory().join("endpoints.json")).unwrap();
    proxy.until(UP, &[], 0).await;
    assert_eq!(named(&proxy).await.0, "A");

    proxy.place("endpoints.json", list(&[b.address()]));
    proxy.until(UP, &[], 1).await;
    assert_eq!(named(&proxy).await.0, "B");
    proxy.wait_for_log(&["a source of endpoints is back"]).await;
}

#[tokio::test]
async fn that_no_endpoint_is_left_is_not_believed_at_once() {
    let a = Echo::named("A").await;
    let proxy = started(&a).await;
    proxy.place("endpoints.json", "[]");
    proxy.until(UPDATES, &[], 2).await;
    assert_eq!(named(&proxy).await.0, "A");

    let proxy = Proxy::start(&ROUTE.replace("\"1h\"", "\"off\"")).await;
    proxy.place("endpoints.json", list(&[a.address()]));
    proxy.until(UPDATES, &[], 1).await;
    proxy.place("endpoints.json", "[]");
    proxy.until(UPDATES, &[], 2).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
}

#[tokio::test]
async fn an_endpoint_that_is_gone_keeps_its_connections_and_its_series_until_the_last_has_ended() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let proxy = started(&a).await;
    let (_, client) = named(&proxy).await;
    proxy.place("endpoints.json", list(&[b.address()]));
    proxy.until(UPDATES, &[], 2).await;
    let url = format!("ws://{}", a.address());
    let of_a = [("endpoint", url.as_str())];
    assert_eq!(proxy.metrics().await.count("tidegate_upstream_connections_active", &of_a), 1);
    drop(client);
    proxy.until("tidegate_upstream_connections_active", &of_a, 0).await;
    until_absent(&proxy, "tidegate_upstream_connections_active", "endpoint", &url).await;
}

#[tokio::test]
async fn a_reload_that_names_endpoints_again_ends_the_source_and_one_of_another_source_keeps_them() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let proxy = started(&a).await;
    let named_b = ROUTE.replace(
        "discover = { file = \"endpoints.json\", empty_grace = \"1h\" }",
        &format!("endpoints = [{{ url = \"ws://{}\" }}]", b.address()),
    );
    proxy.rewrite(&named_b);
    assert_eq!(proxy.reload().await.status, 200);
    proxy.place("endpoints.json", list(&[&refused_address()]));
    assert_eq!(named(&proxy).await.0, "B");
    until_absent(&proxy, UP, "upstream", "back").await;

    // What there is stays until the source has said something.
    proxy.rewrite(&ROUTE.replace("endpoints.json", "endpoints.toml"));
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(named(&proxy).await.0, "B");
    proxy.place("endpoints.toml", format!("endpoints = [\"{}\"]", a.address()));
    proxy.until(UPDATES, &[], 1).await;
    assert_eq!(named(&proxy).await.0, "A");
}

#[tokio::test]
async fn a_new_process_knows_the_endpoints_before_it_takes_over() {
    let a = Echo::named("A").await;
    let proxy = Proxy::upgradable(ROUTE).await;
    proxy.place("endpoints.json", list(&[a.address()]));
    proxy.until(UPDATES, &[], 1).await;
    proxy.upgrade().await;
    for _ in 0..20 {
        assert_eq!(named(&proxy).await.0, "A");
    }
}
