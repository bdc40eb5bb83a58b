//! A filter that was built against contract 0.2.0, with the least that a filter exports, and is never built again.

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Frame, Proxy};

const LEAST: &[u8] = include_bytes!("../frozen/0.2.0/least.wasm");

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
