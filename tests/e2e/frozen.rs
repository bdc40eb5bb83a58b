//! Components that were built against contract 0.2.0 and are never built again: a filter with the least that one exports,
//! one with all that there is, and a balancer.

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Echo, Frame, Proxy, Request};

const LEAST: &[u8] = include_bytes!("../frozen/0.2.0/least.wasm");
const FULL: &[u8] = include_bytes!("../frozen/0.2.0/full.wasm");
const BALANCER: &[u8] = include_bytes!("../frozen/0.2.0/balancer.wasm");

/// A route through the filter.
fn config(address: &str) -> String {
    route(&[address], "filters = [\"least\"]\n[components.least]\npath = \"least.wasm\"\ndeadline = \"1s\"")
}

/// A proxy with that filter.
async fn proxy(backend: &Backend) -> Proxy {
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    proxy.place("least.wasm", LEAST);
    proxy.rewrite(&config(&backend.address()));
    proxy.until("tidegate_config_generation", &[], 2).await;
    proxy
}

#[tokio::test]
async fn a_frozen_filter_decides_about_messages_and_is_called_one_by_one_for_those_that_come_together() {
    let backend = Backend::bind().await;
    let proxy = proxy(&backend).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("a")).await;
    upstream.expect(Frame::text("1")).await;
    client.send_all(&[Frame::text("bear"), Frame::binary("as it came"), Frame::text("c"), Frame::text("d")]).await;
    for frame in [Frame::text("2ear"), Frame::binary("as it came"), Frame::text("3"), Frame::text("4")] {
        upstream.expect(frame).await;
    }
    upstream.send(Frame::text("untouched")).await;
    client.expect(Frame::text("untouched")).await;
}

#[tokio::test]
async fn a_frozen_filter_takes_a_connection_over_by_opening_it_anew() {
    let backend = Backend::bind().await;
    let proxy = proxy(&backend).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("a"), Frame::text("b")]).await;
    upstream.expect(Frame::text("1")).await;
    upstream.expect(Frame::text("2")).await;
    // A custom section makes it another component.
    proxy.place("least.wasm", [LEAST, &[0, 2, 1, b'x']].concat());
    proxy.until("tidegate_component_swaps_total", &[("component", "least"), ("outcome", "swapped")], 1).await;
    client.send(Frame::text("c")).await;
    upstream.expect(Frame::text("1")).await;
}

#[tokio::test]
async fn the_session_of_a_frozen_filter_is_dropped_at_the_end_of_its_connection() {
    let backend = Backend::bind().await;
    let proxy = proxy(&backend).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let (mut other, mut its_upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("?")).await;
    upstream.expect(Frame::text("2")).await;
    other.send(Frame::close(1000, "done")).await;
    its_upstream.expect_close(1000).await;
    its_upstream.send(Frame::close(1000, "done")).await;
    other.expect_close(1000).await;
    drop((other, its_upstream));
    proxy.access_line().await;
    client.send(Frame::text("?")).await;
    upstream.expect(Frame::text("1")).await;
}

#[tokio::test]
async fn a_frozen_filter_with_all_there_is_acts_on_its_own_account_and_is_replaced_under_a_connection() {
    let backend = Backend::bind().await;
    let config = |tag: &str| {
        let filters =
            format!("filters = [{{ component = \"full\", config = {{ tag = '{tag}', on_resume = [1, 1] }} }}]");
        let component = "[components.full]\npath = \"full.wasm\"\ndeadline = \"1s\"";
        route(&[&backend.address()], &format!("{filters}\n{component}"))
    };
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    proxy.place("full.wasm", FULL);
    proxy.rewrite(&config("old"));
    proxy.until("tidegate_config_generation", &[], 2).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    // One by one and together: what is no instruction goes on.
    client.send_all(&["x", "attribute user ann", "after 10 1", "y"].map(Frame::text)).await;
    upstream.expect(Frame::text("x")).await;
    upstream.expect(Frame::text("y")).await;
    upstream.expect(Frame::text("old!")).await;
    client.expect(Frame::text("old!")).await;
    proxy.rewrite(&config("new"));
    client.expect(Frame::text("new!")).await;
    let listed: serde_json::Value =
        serde_json::from_str(&proxy.admin("GET", "/api/v1/connections").await.body).unwrap();
    assert_eq!(listed["connections"][0]["attributes"]["user"], "ann", "{listed}");
}

#[tokio::test]
async fn a_frozen_balancer_places_connections_and_gives_the_client_a_cookie() {
    let echo = Echo::named("A").await;
    let config = |balance: &str| {
        format!(
            "[upstreams.back]\nbalance = {balance}\nendpoints = [{{ url = \"ws://{}\", zone = \"a\" }}]\n\
             [[routes]]\nname = \"main\"\nupstream = \"back\"\n",
            echo.address()
        )
    };
    let proxy = Proxy::start(&config("\"random\"")).await;
    proxy.place("balancer.wasm", BALANCER);
    let frozen = "[components.frozen]\npath = \"balancer.wasm\"\ndeadline = \"1s\"\n";
    proxy.rewrite(&format!("{frozen}{}", config("{ component = \"frozen\", config = { cookie = \"at\" } }")));
    proxy.until("tidegate_config_generation", &[], 2).await;
    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    let cookie = reply.head.headers.iter().find(|(name, _)| name == "set-cookie").map(|(_, value)| value.as_str());
    assert_eq!(cookie, Some("at=a; Path=/; HttpOnly"));
}
