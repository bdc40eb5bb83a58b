//! What a delay holds back keeps its order, costs bounded memory, and holds no place for those who are gone.

use std::time::Duration;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Peer, Proxy, Request};
use tokio::time::{Instant, interval};

/// A proxy whose one route has these filters (a TOML list), with `rest` after them, and a back end.
async fn start(filters: &str, rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let rest = format!("filters = {filters}\n{rest}\n{}", guest("script"));
    let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
    (proxy, backend)
}

fn rate_limit(config: &str) -> String {
    format!("[{{ component = \"rate-limit\", config = {{ {config} }} }}]")
}

#[tokio::test]
async fn a_rate_limit_keeps_the_order_of_whole_and_fragmented_messages_and_of_a_close_frame() {
    let (proxy, backend) = start(&rate_limit("messages_per_second = 20, burst = 1"), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames = [
        Frame::text("A"),
        Frame::text("B"),
        Frame::text("C"),
        Frame::text("D1").unfinished(),
        Frame::continuation("D2"),
        Frame::text("E"),
        Frame::close(1000, "bye"),
    ];
    let sent = Instant::now();
    client.send_all(&frames).await;
    for frame in frames {
        upstream.expect(frame).await;
    }
    // Each of the five takes a twentieth of a second, the first one apart.
    assert!(sent.elapsed() >= Duration::from_millis(190), "all of it came within {:?}", sent.elapsed());
    upstream.send(Frame::close(1000, "bye")).await;
    client.expect(Frame::close(1000, "bye")).await;
}

#[tokio::test]
async fn fragmented_messages_are_held_to_the_rate() {
    let (proxy, backend) = start(&rate_limit("messages_per_second = 50, burst = 1"), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames: Vec<_> = (0..20).flat_map(|_| [Frame::text("one").unfinished(), Frame::continuation("two")]).collect();
    let sent = Instant::now();
    client.send_all(&frames).await;
    for frame in frames {
        upstream.expect(frame).await;
    }
    assert!(sent.elapsed() >= Duration::from_millis(370), "all of it came within {:?}", sent.elapsed());
}

#[tokio::test]
async fn clients_that_reset_their_connections_during_a_delay_give_their_places_back_at_once() {
    let rest = "max_connections = 3\nclose_timeout = \"1h\"";
    let (proxy, backend) = start(&rate_limit("bytes_per_second = 1, burst_bytes = 1"), rest).await;
    let mut upstreams = Vec::new();
    let mut clients = Vec::new();
    for _ in 0..3 {
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send_all(&[Frame::binary(vec![7; 1000]), Frame::binary(vec![7; 50_000]), Frame::text("behind")]).await;
        upstream.expect(Frame::binary(vec![7; 1000])).await;
        clients.push(client);
        upstreams.push(upstream);
    }
    clients.into_iter().for_each(Peer::reset);
    for upstream in &mut upstreams {
        upstream.expect_close(1001).await;
        upstream.send(Frame::close(1001, "")).await;
    }
    drop(upstreams);
    proxy.until("tidegate_closes_total", &[("by", "client"), ("code", "1006")], 3).await;
    backend.open(proxy.address, "/").await;
}

#[tokio::test]
async fn a_client_that_has_left_during_a_delay_is_gone_after_close_timeout() {
    let (proxy, backend) = start("[\"script\"]", "max_connections = 1\nclose_timeout = \"300ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("delay:4294967295"), Frame::text("held")]).await;
    upstream.expect(Frame::text("delay:4294967295")).await;
    client.shut_down().await;
    upstream.expect_close(1001).await;
    drop(upstream);
    proxy.until("tidegate_closes_total", &[("by", "client"), ("code", "1006")], 1).await;
    backend.open(proxy.address, "/").await;
}

#[tokio::test]
async fn pings_that_wait_behind_a_delay_count_over_the_time_in_which_they_came() {
    let (proxy, backend) = start("[\"script\"]", "control_frames_per_second = 10").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("delay:1600")).await;
    upstream.expect(Frame::text("delay:1600")).await;
    let mut ticks = interval(Duration::from_millis(110));
    for _ in 0..14 {
        ticks.tick().await;
        client.send(Frame::ping("there?")).await;
    }
    for _ in 0..14 {
        upstream.expect(Frame::ping("there?")).await;
    }
    // What was not sent meanwhile is no credit for later.
    client.send_all(&vec![Frame::ping("now"); 30]).await;
    client.expect_close(1008).await;
}

#[tokio::test]
async fn a_connection_whose_messages_a_filter_delays_is_not_inactive_meanwhile() {
    let (proxy, backend) = start("[\"script\"]", "max_inactivity = \"400ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("delay:1500"), Frame::text("held")]).await;
    upstream.expect(Frame::text("delay:1500")).await;
    upstream.expect(Frame::text("held")).await;
    client.send(Frame::text("more")).await;
    upstream.expect(Frame::text("more")).await;
    upstream.expect_close(1001).await;
}

#[tokio::test]
async fn a_drain_delivers_what_was_delayed_before_it_closes() {
    let (proxy, backend) = start(&rate_limit("messages_per_second = 10, burst = 1"), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames: Vec<_> =
        (0..10).flat_map(|number| [Frame::text(format!("{number}")).unfinished(), Frame::continuation("")]).collect();
    client.send_all(&frames).await;
    upstream.expect(frames[0].clone()).await;
    assert_eq!(proxy.admin("POST", "/api/v1/drain?over=0").await.status, 202);
    client.expect_close(1012).await;
    for frame in frames.into_iter().skip(1) {
        upstream.expect(frame).await;
    }
    upstream.expect_close(1012).await;
}

#[tokio::test]
async fn a_close_of_a_filter_and_of_the_client_in_one_write_make_one_close_frame() {
    let (proxy, backend) = start("[\"script\"]", "close_timeout = \"1h\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames = [Frame::text("close:4000:enough"), Frame::binary("behind"), Frame::close(1000, "bye")];
    client.send_all(&frames).await;
    upstream.expect(Frame::close(4000, "enough")).await;
    client.expect(Frame::close(4000, "enough")).await;
    upstream.send(Frame::close(4000, "enough")).await;
    upstream.shut_down().await;
    client.expect_end().await;
    proxy.until("tidegate_closes_total", &[("by", "proxy"), ("code", "4000-4999")], 1).await;
}

#[tokio::test]
async fn many_large_replies_to_a_client_that_does_not_read_cost_bounded_memory() {
    let script = "[{ component = \"script\", config = { answer_size = 65536 } }]";
    let (proxy, backend) = start(script, "").await;
    let mut client = Peer::connect_with_small_buffers(proxy.address).await;
    let request = Request::upgrade("/");
    let (reply, mut upstream) = tokio::join!(client.exchange(&request), backend.accept());
    assert_eq!(reply.status, 101);
    client.send(Frame::text("warm")).await;
    upstream.expect(Frame::text("warm")).await;
    let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
    let before = proxy.resident();
    client.send_all(&vec![Frame::binary(""); 8000]).await;
    // All of them take turns on one worker.
    for _ in 0..1000 {
        neighbour.send(Frame::text("meanwhile")).await;
        upstream_of_neighbour.expect(Frame::text("meanwhile")).await;
    }
    let grown = proxy.peak_resident().saturating_sub(before);
    assert!(grown < 48 << 20, "the proxy grew by {grown} bytes");
    for _ in 0..8000 {
        assert_eq!(client.frame().await.payload.len(), 65536);
    }
}

#[tokio::test]
async fn what_a_filter_dropped_before_the_message_that_it_traps_on_stays_dropped_where_it_may_be_bypassed() {
    let (proxy, backend) = start("[{ component = \"script\", on_failure = \"bypass\" }]", "").await;
    for dropped in [1, 10, 64, 70] {
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        let mut frames = vec![Frame::text("drop"); dropped];
        frames.extend([Frame::text("trap"), Frame::text("drop")]);
        client.send_all(&frames).await;
        upstream.expect(Frame::text("trap")).await;
        upstream.expect(Frame::text("drop")).await;
        client.send(Frame::text("replace:gone by")).await;
        upstream.expect(Frame::text("replace:gone by")).await;
    }
}
