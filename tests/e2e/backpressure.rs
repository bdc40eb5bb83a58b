//! A slow reader bounds memory and disturbs nobody.

use std::time::Duration;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Proxy};

/// More than all kernel buffers on the way can hold.
const FLOOD: usize = 96 << 20;
/// How long nothing must move before a sender counts as stopped.
const PATIENCE: Duration = Duration::from_millis(500);
/// What a connection may cost the proxy while its reader sleeps: a buffer in each direction, and a message that is
/// being assembled.
const BOUND: u64 = 6 << 20;

async fn a_reader_that_stops_is_harmless(rest: &str) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], rest)).await;
    let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
    neighbour.send(Frame::text("warm")).await;
    upstream_of_neighbour.expect(Frame::text("warm")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;

    let message = upstream.encode(&Frame::binary(vec![7; 16 * 1024]));
    let count = FLOOD / message.len();
    let flood = message.repeat(count);
    let before = proxy.resident();
    let sent = upstream.write_until_stuck(&flood, PATIENCE).await;
    let grown = proxy.resident().saturating_sub(before);
    assert!(sent < flood.len(), "the whole flood went somewhere although nobody reads");
    assert!(grown < BOUND, "the proxy grew by {grown} bytes");

    neighbour.send(Frame::text("meanwhile")).await;
    upstream_of_neighbour.expect(Frame::text("meanwhile")).await;
    client.send(Frame::text("the other direction")).await;
    upstream.expect(Frame::text("the other direction")).await;

    let whole = sent - sent % message.len();
    let arrived = client.read_exactly(whole).await;
    assert!(arrived == flood[..whole], "what the reader got after its sleep is not what was sent");
}

#[tokio::test]
async fn a_client_that_stops_reading_a_relay_costs_bounded_memory_and_nobody_else() {
    a_reader_that_stops_is_harmless("").await;
}

#[tokio::test]
async fn a_client_that_stops_reading_a_filtered_route_costs_bounded_memory_and_nobody_else() {
    a_reader_that_stops_is_harmless(&format!("filters = [\"script\"]\n{}", guest("script"))).await;
}

#[tokio::test]
async fn replies_to_a_client_that_does_not_read_cost_bounded_memory() {
    let backend = Backend::bind().await;
    let rest = format!("filters = [\"script\"]\n{}", guest("script"));
    let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    let message = client.encode(&Frame::text("reply:".to_owned() + &"x".repeat(16 * 1024)));
    let before = proxy.resident();
    let flood = message.repeat(FLOOD / message.len());
    let sent = client.write_until_stuck(&flood, PATIENCE).await;
    let grown = proxy.resident().saturating_sub(before);
    assert!(sent < flood.len(), "the proxy took all although nobody reads its replies");
    assert!(grown < BOUND, "the proxy grew by {grown} bytes");
}
