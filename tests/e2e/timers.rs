//! Timers of a route, with limits small enough to wait for.

use std::time::Duration;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Opcode, Peer, Proxy};
use tokio::time::{Instant, interval};

async fn start(rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], rest)).await;
    (proxy, backend)
}

/// The same promise holds on a relay and on a route with a filter.
fn relayed_and_filtered() -> [String; 2] {
    [String::new(), format!("filters = [\"script\"]\n{}", guest("script"))]
}

async fn expect_ping(peer: &mut Peer) -> Frame {
    let frame = peer.frame().await;
    assert!(frame.is(Opcode::Ping), "instead of a ping came {frame:?}");
    frame
}

/// Answers every ping until something else comes.
async fn answer_pings(peer: &mut Peer) -> Frame {
    loop {
        let frame = peer.frame().await;
        if !frame.is(Opcode::Ping) {
            return frame;
        }
        peer.write_while_open(peer.encode(&Frame::pong(&frame.payload))).await;
    }
}

#[tokio::test]
async fn our_pings_reach_both_sides() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&format!("ping_interval = \"50ms\"\n{rest}")).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        for _ in 0..2 {
            expect_ping(&mut client).await;
            expect_ping(&mut upstream).await;
        }
    }
}

#[tokio::test]
async fn either_side_can_be_left_out_of_our_pings() {
    let (proxy, backend) = start("ping_interval = \"50ms\"\nping_client = false").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    for _ in 0..3 {
        expect_ping(&mut upstream).await;
    }
    upstream.send(Frame::text("first")).await;
    client.expect(Frame::text("first")).await;

    let (proxy, backend) = start("ping_interval = \"50ms\"\nping_upstream = false").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    for _ in 0..3 {
        expect_ping(&mut client).await;
    }
    client.send(Frame::text("first")).await;
    upstream.expect(Frame::text("first")).await;
}

#[tokio::test]
async fn the_pong_to_our_ping_is_consumed_and_others_are_forwarded() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&format!("ping_interval = \"50ms\"\nping_upstream = false\n{rest}")).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        let ours = expect_ping(&mut client).await;
        client.send_all(&[Frame::pong(&ours.payload), Frame::pong("unasked"), Frame::text("after")]).await;
        upstream.expect(Frame::pong("unasked")).await;
        upstream.expect(Frame::text("after")).await;
    }
}

#[tokio::test]
async fn our_pings_do_not_tear_a_message_apart() {
    let (proxy, backend) = start("ping_interval = \"20ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let whole = client.encode(&Frame::binary(vec![7; 600]));
    let (head, tail) = whole.split_at(300);
    client.write(head).await;
    for _ in 0..2 {
        expect_ping(&mut client).await;
    }
    client.write(tail).await;
    let received = answer_pings(&mut upstream).await;
    assert_eq!(received, Frame::binary(vec![7; 600]));
}

#[tokio::test]
async fn a_silent_client_is_closed_with_1011_and_the_upstream_is_told_why() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&format!("ping_interval = \"50ms\"\npong_timeout = \"150ms\"\n{rest}")).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        let silent = async {
            loop {
                let frame = client.frame().await;
                if !frame.is(Opcode::Ping) {
                    return frame;
                }
            }
        };
        let (told_client, told_upstream) = tokio::join!(silent, answer_pings(&mut upstream));
        assert_eq!(told_client.close_code(), Some(1011), "{told_client:?}");
        assert_eq!(told_upstream.close_code(), Some(1011), "{told_upstream:?}");
        assert!(!told_upstream.close_reason().is_empty(), "{told_upstream:?}");
    }
}

#[tokio::test]
async fn a_silent_upstream_is_closed_with_1011_and_the_client_with_1014_and_a_reason() {
    let (proxy, backend) = start("ping_interval = \"50ms\"\npong_timeout = \"150ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let silent = async {
        loop {
            let frame = upstream.frame().await;
            if !frame.is(Opcode::Ping) {
                return frame;
            }
        }
    };
    let (told_upstream, told_client) = tokio::join!(silent, answer_pings(&mut client));
    assert_eq!(told_upstream.close_code(), Some(1011), "{told_upstream:?}");
    assert_eq!(told_client.close_code(), Some(1014), "{told_client:?}");
    assert!(!told_client.close_reason().is_empty(), "{told_client:?}");
}

#[tokio::test]
async fn peers_that_answer_our_pings_stay_open_past_pong_timeout() {
    let (proxy, backend) = start("ping_interval = \"50ms\"\npong_timeout = \"150ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    for _ in 0..8 {
        let (ping_client, ping_upstream) = tokio::join!(expect_ping(&mut client), expect_ping(&mut upstream));
        client.send(Frame::pong(ping_client.payload)).await;
        upstream.send(Frame::pong(ping_upstream.payload)).await;
    }
}

#[tokio::test]
async fn max_inactivity_closes_both_with_1001_and_names_the_timer() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&format!("max_inactivity = \"200ms\"\n{rest}")).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        let opened = Instant::now();
        assert!(client.expect_close(1001).await.contains("inactiv"));
        assert!(upstream.expect_close(1001).await.contains("inactiv"));
        let took = opened.elapsed();
        assert!((Duration::from_millis(150)..Duration::from_secs(3)).contains(&took), "it took {took:?}");
        drop((client, upstream));
        let labels = [("route", "main"), ("by", "proxy"), ("code", "1001")];
        proxy.until("tidegate_closes_total", &labels, 1).await;
    }
}

#[tokio::test]
async fn pings_and_pongs_are_no_activity() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&format!("max_inactivity = \"300ms\"\n{rest}")).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        let mut ticks = interval(Duration::from_millis(50));
        let chatter = async {
            loop {
                ticks.tick().await;
                client.write_while_open(client.encode(&Frame::ping("hello"))).await;
                upstream.write_while_open(upstream.encode(&Frame::pong("hello"))).await;
                if let Some(code) = next_but_control(&mut upstream).await {
                    return code;
                }
            }
        };
        assert_eq!(tidegate_tests::within("the close for inactivity", chatter).await, 1001);
    }
}

/// The close code, once it is there; `None` when the next frame is a ping.
async fn next_but_control(peer: &mut Peer) -> Option<u16> {
    let frame = peer.frame().await;
    if frame.is(Opcode::Ping) {
        return None;
    }
    Some(frame.close_code().unwrap_or_else(|| panic!("unexpected {frame:?}")))
}

#[tokio::test]
async fn data_from_either_side_is_activity() {
    let (proxy, backend) = start("max_inactivity = \"300ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let mut ticks = interval(Duration::from_millis(100));
    for _ in 0..4 {
        ticks.tick().await;
        client.send(Frame::text("tick")).await;
        upstream.expect(Frame::text("tick")).await;
    }
    for _ in 0..4 {
        ticks.tick().await;
        upstream.send(Frame::text("tock")).await;
        client.expect(Frame::text("tock")).await;
    }
}

#[tokio::test]
async fn max_lifetime_closes_with_1001_however_busy_the_connection_is() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&format!("max_lifetime = \"300ms\"\n{rest}")).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        let opened = Instant::now();
        let mut ticks = interval(Duration::from_millis(20));
        let busy = async {
            loop {
                ticks.tick().await;
                client.write_while_open(client.encode(&Frame::text("tick"))).await;
                let frame = upstream.frame().await;
                if frame.is(Opcode::Close) {
                    return frame;
                }
            }
        };
        let told_upstream = tidegate_tests::within("the end of the lifetime", busy).await;
        let took = opened.elapsed();
        assert_eq!(told_upstream.close_code(), Some(1001));
        assert!(told_upstream.close_reason().contains("lifetime"), "{told_upstream:?}");
        assert!(client.expect_close(1001).await.contains("lifetime"));
        assert!((Duration::from_millis(240)..Duration::from_secs(3)).contains(&took), "it took {took:?}");
    }
}

#[tokio::test]
async fn zero_really_is_off() {
    let backend = Backend::bind().await;
    let address = backend.address();
    let proxy = Proxy::start(&format!(
        r#"
        [upstreams.back]
        endpoints = [{{ url = "ws://{address}" }}]
        [[routes]]
        name = "off"
        path = "/off"
        upstream = "back"
        ping_interval = "0s"
        pong_timeout = "0s"
        max_inactivity = "0s"
        max_lifetime = "0s"
        [[routes]]
        name = "limited"
        path = "/limited"
        upstream = "back"
        max_inactivity = "400ms"
        "#
    ))
    .await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/off").await;
    let (mut other_client, mut other_upstream) = backend.open(proxy.address, "/limited").await;
    other_client.expect_close(1001).await;
    other_upstream.expect_close(1001).await;
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
    upstream.send(Frame::text("me too")).await;
    client.expect(Frame::text("me too")).await;
}
