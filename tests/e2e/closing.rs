//! How a connection ends, and what each side is told.

use std::time::Duration;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Peer, Proxy};
use tokio::time::Instant;

/// A proxy with one route described by `rest`, and a back end.
async fn start(rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], rest)).await;
    (proxy, backend)
}

/// The same promise holds on a relay and on a route with a filter.
fn relayed_and_filtered() -> [String; 2] {
    [String::new(), format!("filters = [\"script\"]\n{}", guest("script"))]
}

/// A whole closing handshake that `first` starts.
async fn close(first: &mut Peer, second: &mut Peer, frame: Frame) {
    first.send(frame.clone()).await;
    second.expect(frame.clone()).await;
    second.send(frame.clone()).await;
    first.expect(frame).await;
}

#[tokio::test]
async fn codes_and_reasons_pass_both_ways() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
            let frame = Frame::close(code, format!("because of {code} ✓"));
            let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
            close(&mut client, &mut upstream, frame.clone()).await;
            let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
            close(&mut upstream, &mut client, frame).await;
        }
    }
}

#[tokio::test]
async fn a_reason_of_123_bytes_passes() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    close(&mut client, &mut upstream, Frame::close(4000, "x".repeat(123))).await;
}

#[tokio::test]
async fn an_empty_close_frame_stays_empty() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        close(&mut client, &mut upstream, Frame::empty_close()).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        close(&mut upstream, &mut client, Frame::empty_close()).await;
        let labels = [("route", "main"), ("code", "1005")];
        proxy.until("tidegate_closes_total", &labels, 2).await;
    }
}

#[tokio::test]
async fn the_proxy_ends_the_connections_after_the_closing_handshake() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    close(&mut client, &mut upstream, Frame::close(1000, "")).await;
    upstream.shut_down().await;
    client.expect_end().await;
    upstream.expect_end().await;
}

#[tokio::test]
async fn messages_under_way_are_delivered_before_the_close_frame() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send_all(&[Frame::text("one"), Frame::text("two"), Frame::close(1000, "done")]).await;
        upstream.expect(Frame::text("one")).await;
        upstream.expect(Frame::text("two")).await;
        upstream.expect(Frame::close(1000, "done")).await;
        upstream.send_all(&[Frame::text("late"), Frame::close(1000, "done")]).await;
        client.expect(Frame::text("late")).await;
        client.expect(Frame::close(1000, "done")).await;
    }
}

#[tokio::test]
async fn an_upstream_that_vanishes_closes_the_client_with_1014() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, upstream) = backend.open(proxy.address, "/").await;
        drop(upstream);
        client.expect_close(1014).await;
        let (mut client, upstream) = backend.open(proxy.address, "/").await;
        upstream.reset();
        client.expect_close(1014).await;
    }
}

#[tokio::test]
async fn a_client_that_vanishes_closes_the_upstream_with_1001() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (client, mut upstream) = backend.open(proxy.address, "/").await;
        drop(client);
        upstream.expect_close(1001).await;
        let (client, mut upstream) = backend.open(proxy.address, "/").await;
        client.reset();
        upstream.expect_close(1001).await;
    }
}

#[tokio::test]
async fn what_a_half_closed_client_sent_is_delivered_first() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send_all(&[Frame::text("one"), Frame::text("two"), Frame::text("three")]).await;
        client.shut_down().await;
        for text in ["one", "two", "three"] {
            upstream.expect(Frame::text(text)).await;
        }
        upstream.expect_close(1001).await;
    }
}

#[tokio::test]
async fn what_a_half_closed_upstream_sent_is_delivered_first() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        upstream.send_all(&[Frame::text("one"), Frame::text("two"), Frame::text("three")]).await;
        upstream.shut_down().await;
        for text in ["one", "two", "three"] {
            client.expect(Frame::text(text)).await;
        }
        client.expect_close(1014).await;
    }
}

#[tokio::test]
async fn a_close_frame_that_nobody_answers_ends_the_connection_after_close_timeout() {
    let (proxy, backend) = start("close_timeout = \"200ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let sent = Instant::now();
    client.send(Frame::close(1000, "")).await;
    upstream.expect_close(1000).await;
    client.drain().await;
    upstream.expect_end().await;
    let took = sent.elapsed();
    assert!((Duration::from_millis(150)..Duration::from_secs(3)).contains(&took), "it took {took:?}");
}

#[tokio::test]
async fn a_vanished_side_leaves_the_other_close_timeout_to_answer() {
    let (proxy, backend) = start("close_timeout = \"200ms\"").await;
    let (mut client, upstream) = backend.open(proxy.address, "/").await;
    drop(upstream);
    client.expect_close(1014).await;
    client.expect_end().await;
    proxy.until("tidegate_connections_active", &[("route", "main")], 0).await;
}

#[tokio::test]
async fn an_ending_is_told_in_one_access_line() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    close(&mut client, &mut upstream, Frame::close(4321, "bye")).await;
    drop((client, upstream));
    let line = proxy.access_line().await;
    assert_eq!(line["route"], "main", "{line}");
    assert_eq!(line["by"], "client", "{line}");
    assert_eq!(line["code"], 4321, "{line}");
    assert_eq!(line["reason"], "bye", "{line}");
    assert_eq!(line["outcome"], "upgraded", "{line}");
}

#[tokio::test]
async fn an_ending_without_a_close_frame_is_counted_as_1006_of_the_side_that_vanished() {
    let (proxy, backend) = start("").await;
    let (mut client, upstream) = backend.open(proxy.address, "/").await;
    drop(upstream);
    client.expect_close(1014).await;
    drop(client);
    proxy.until("tidegate_closes_total", &[("route", "main"), ("by", "upstream"), ("code", "1006")], 1).await;
}
