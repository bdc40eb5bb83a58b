//! Filters that are shown messages part by part.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Opcode, Peer, Proxy};

async fn open(config: &str, rest: &str) -> (Proxy, Peer, Peer) {
    let backend = Backend::bind().await;
    let filters = format!("filters = [{{ component = \"reader\", config = {{ {config} }} }}]\n{rest}");
    let config = format!("{}\n{}", route(&[&backend.address()], &filters), guest("reader"));
    let proxy = Proxy::start(&config).await;
    let (client, upstream) = backend.open(proxy.address, "/").await;
    (proxy, client, upstream)
}

#[tokio::test]
async fn a_message_larger_than_any_limit_streams_through_a_filter_that_reads_it_and_nothing_of_it_is_kept() {
    let (proxy, mut client, mut upstream) = open("parts = 'stream'", "max_message_size = \"64KiB\"").await;
    let before = proxy.resident();
    let large = Frame::binary(vec![7; 64 << 20]);
    let sending = client.send(large.clone());
    let ((), ()) = tokio::join!(sending, upstream.expect(large));
    assert!(proxy.peak_resident() < before + (16 << 20), "{} of {before}", proxy.peak_resident());
    let labels = [("route", "main"), ("component", "reader"), ("verdict", "forward")];
    assert!(proxy.metrics().await.value("tidegate_component_calls_total", &labels) > 64.0);
}

#[tokio::test]
async fn a_message_goes_on_in_the_frames_that_it_came_in_where_it_is_only_read() {
    let (_proxy, mut client, mut upstream) = open("parts = 'stream'", "").await;
    let fragments = [Frame::text("a").unfinished(), Frame::continuation("bc").unfinished(), Frame::continuation("")];
    client.send_all(&fragments).await;
    for fragment in fragments {
        upstream.expect(fragment).await;
    }
}

#[tokio::test]
async fn parts_are_replaced_wherever_a_message_is_cut() {
    let (_proxy, mut client, mut upstream) = open("parts = 'rewrite'", "").await;
    client.send(Frame::text("whole")).await;
    upstream.expect(Frame::text("WHOLE")).await;
    let wire = client.encode(&Frame::text("x".repeat(300_000)));
    for piece in wire.chunks(70_000) {
        client.write(piece).await;
    }
    let mut received = Vec::new();
    loop {
        let frame = upstream.frame().await;
        assert!(frame.is(if received.is_empty() { Opcode::Text } else { Opcode::Continuation }));
        received.extend_from_slice(&frame.payload);
        if frame.fin {
            break;
        }
    }
    assert!(received == "X".repeat(300_000).as_bytes());
    upstream.send(Frame::text("back")).await;
    client.expect(Frame::text("BACK")).await;
}

#[tokio::test]
async fn a_part_that_is_forbidden_closes_the_connection() {
    let (_proxy, mut client, mut upstream) = open("parts = 'stream', forbidden = 33", "").await;
    client.send(Frame::text("fine")).await;
    upstream.expect(Frame::text("fine")).await;
    client.send(Frame::text("oh no!")).await;
    assert_eq!(client.expect_close(4000).await, "forbidden");
    assert_eq!(upstream.expect_close(4000).await, "forbidden");
}
