//! A slow reader bounds memory and disturbs nobody.

use std::time::Duration;

use futures_util::future::join_all;
use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Peer, Proxy, Request};

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

/// Connections that are slow at the same time.
const MANY: usize = 100;
/// What each of them may cost: a read in each direction, and a message that is being assembled.
const BOUND_EACH: u64 = 544 << 10;
/// What a sender offers, which is many times that, and more than all that the kernel holds when it keeps little.
const FLOOD_EACH: usize = 32 << 20;
const MESSAGE: usize = 16 << 10;

/// Connections for which the kernel keeps little, each marked by its first message.
async fn many(backend: &Backend, proxy: &Proxy) -> Vec<(Peer, Peer)> {
    let mut connections = Vec::new();
    for number in 0..MANY as u64 {
        let mut client = Peer::connect_with_small_buffers(proxy.address).await;
        let request = Request::upgrade("/");
        let (reply, mut upstream) = tokio::join!(client.exchange(&request), backend.accept());
        assert_eq!(reply.status, 101);
        let mark = Frame::binary(number.to_be_bytes());
        client.send(mark.clone()).await;
        upstream.expect(mark.clone()).await;
        upstream.send(mark.clone()).await;
        client.expect(mark).await;
        connections.push((client, upstream));
    }
    connections
}

/// Messages that each say which they are, as `sender` puts them on the wire.
fn numbered(sender: &Peer, bytes: usize) -> Vec<u8> {
    let message = |number: usize| {
        let mut payload = number.to_be_bytes().to_vec();
        payload.resize(MESSAGE, 0xb7);
        sender.encode(&Frame::binary(payload))
    };
    (0..bytes / MESSAGE).flat_map(message).collect()
}

async fn many_readers_that_stop_lose_nothing_and_cost_bounded_memory(rest: &str) {
    let backend = Backend::bind().await.with_small_buffers();
    let proxy = Proxy::start(&route(&[&backend.address()], rest)).await;
    let mut connections = many(&backend, &proxy).await;
    let flood = numbered(&connections[0].1, FLOOD_EACH);

    let before = proxy.resident();
    let floods = connections.iter_mut().map(|(_, upstream)| upstream.write_until_stuck(&flood, PATIENCE));
    let sent = join_all(floods).await;
    let grown = proxy.peak_resident().saturating_sub(before);
    let most = sent.iter().max().copied().unwrap_or_default();
    assert!(most < flood.len(), "a whole flood went somewhere although nobody reads");
    assert!(grown < BOUND_EACH * MANY as u64, "the proxy grew by {grown} bytes");

    for ((client, upstream), sent) in connections.iter_mut().zip(sent) {
        // The rest of the message that was cut off, so that it comes out of a filter too.
        let whole = sent.next_multiple_of(flood.len() / (FLOOD_EACH / MESSAGE));
        let ((), arrived) = tokio::join!(upstream.write(&flood[sent..whole]), client.read_exactly(whole));
        assert!(arrived == flood[..whole], "what a reader got after its sleep is not what was sent");
    }
}

#[tokio::test]
async fn many_clients_that_stop_reading_a_relay_lose_nothing_and_cost_bounded_memory() {
    many_readers_that_stop_lose_nothing_and_cost_bounded_memory("").await;
}

#[tokio::test]
async fn many_clients_that_stop_reading_a_filtered_route_lose_nothing_and_cost_bounded_memory() {
    let rest = format!("filters = [\"script\"]\n{}", guest("script"));
    many_readers_that_stop_lose_nothing_and_cost_bounded_memory(&rest).await;
}

#[tokio::test]
async fn many_senders_that_a_rate_limit_delays_lose_nothing_and_cost_bounded_memory() {
    let backend = Backend::bind().await.with_small_buffers();
    let limit = "filters = [{ component = \"rate-limit\", config = { messages_per_second = 50, burst = 2 } }]\n";
    let proxy = Proxy::start(&route(&[&backend.address()], limit)).await;
    let mut connections = many(&backend, &proxy).await;
    let flood = numbered(&connections[0].0, 1 << 20);

    let before = proxy.resident();
    let delayed = connections.iter_mut().map(async |(client, upstream)| {
        let ((), arrived) = tokio::join!(client.write(&flood), upstream.read_exactly(flood.len()));
        assert!(arrived == flood, "what came through the rate limit is not what was sent");
    });
    join_all(delayed).await;
    let grown = proxy.peak_resident().saturating_sub(before);
    assert!(grown < BOUND_EACH * MANY as u64, "the proxy grew by {grown} bytes");
    assert_eq!(proxy.metrics().await.count("tidegate_component_failures_total", &[]), 0);
}
