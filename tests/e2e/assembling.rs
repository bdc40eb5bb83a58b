//! Messages that a filter waits for are held within bounds of memory and of time.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Proxy};

const HELD: &str = "tidegate_assembly_bytes";
const CLOSES: &str = "tidegate_limit_closes_total";

async fn filtered(top: &str, rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let rest = format!("filters = [\"script\"]\n{rest}\n{}", guest("script"));
    (Proxy::start(&format!("{top}\n{}", route(&[&backend.address()], &rest))).await, backend)
}

/// The first `size` bytes of a client's message of 16 MiB.
fn start(size: usize) -> Vec<u8> {
    let mut wire = vec![0x82, 0xff];
    wire.extend((16_u64 << 20).to_be_bytes());
    wire.resize(size, 7);
    wire
}

#[tokio::test]
async fn fifteen_bytes_of_a_large_message_hold_fifteen_bytes() {
    let (proxy, backend) = filtered("", "").await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.write(start(15)).await;
    proxy.until(HELD, &[], 15).await;
    drop(client);
    proxy.until(HELD, &[], 0).await;
}

#[tokio::test]
async fn the_message_that_has_waited_longest_makes_room_with_1013_and_the_others_go_on() {
    let (proxy, backend) = filtered("assembly_memory = \"1MiB\"", "").await;
    let (mut first, mut upstream_of_first) = backend.open(proxy.address, "/").await;
    let (mut second, mut upstream_of_second) = backend.open(proxy.address, "/").await;
    let message = Frame::binary(vec![7; 800 << 10]);
    let wire = first.encode(&message);
    let (start, rest) = wire.split_at(600 << 10);
    first.write(&start[..15]).await;
    proxy.until(HELD, &[], 15).await;
    first.write(&start[15..]).await;
    second.write(start).await;
    assert_eq!(first.expect_close(1013).await, "assembly_memory");
    upstream_of_first.expect_close(1013).await;
    second.write(rest).await;
    upstream_of_second.expect(message).await;
    proxy.until(HELD, &[], 0).await;
    let labels = [("route", "main"), ("from", "client"), ("limit", "assembly_memory")];
    assert_eq!(proxy.metrics().await.count(CLOSES, &labels), 1);
}

#[tokio::test]
async fn messages_whose_receivers_do_not_read_take_no_more_than_assembly_memory() {
    const CROWD: usize = 12;
    const BUDGET: u64 = 24 << 20;
    let (proxy, backend) = filtered("assembly_memory = \"24MiB\"", "").await;
    let before = proxy.resident();
    let message = Frame::binary(vec![7; 10 << 20]);
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let (mut client, upstream) = backend.open(proxy.address, "/").await;
        let wire = client.encode(&message);
        client.write_while_open(wire).await;
        crowd.push((client, upstream));
    }
    let (first, _) = &mut crowd[0];
    first.expect_close(1013).await;
    let held = proxy.metrics().await.count(HELD, &[]);
    assert!(held > 0 && held <= BUDGET, "{held} bytes are held");
    // The copies of one message on its way through a filter come on top.
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < BUDGET + (48 << 20), "the proxy grew by {grown} bytes");
    let (_, mut last) = crowd.pop().unwrap();
    assert!(last.frame().await == message);
    drop((crowd, last));
    proxy.until(HELD, &[], 0).await;
}

#[tokio::test]
async fn one_message_alone_passes_whatever_the_memory_for_all() {
    let (proxy, backend) = filtered("assembly_memory = \"64KiB\"", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let message = Frame::binary(vec![7; 1 << 20]);
    let ((), received) = tokio::join!(client.send(message.clone()), upstream.frame());
    assert!(received == message, "{received:?}");
}

#[tokio::test]
async fn a_crowd_that_sends_half_of_its_messages_takes_no_more_than_assembly_memory() {
    const CROWD: usize = 40;
    const BUDGET: u64 = 8 << 20;
    let (proxy, backend) = filtered("assembly_memory = \"8MiB\"", "").await;
    let before = proxy.resident();
    let mut crowd = Vec::new();
    for _ in 0..CROWD {
        let (mut client, upstream) = backend.open(proxy.address, "/").await;
        client.write(start(1 << 20)).await;
        crowd.push((client, upstream));
    }
    // Who came last is held, and who came first is not.
    let (first, _) = &mut crowd[0];
    first.expect_close(1013).await;
    let metrics = proxy.metrics().await;
    let held = metrics.count(HELD, &[]);
    assert!(held > 0 && held <= BUDGET, "{held} bytes are held");
    let grown = proxy.resident().saturating_sub(before);
    // What connections take besides, and what the allocator keeps.
    assert!(grown < BUDGET + (12 << 20), "the proxy grew by {grown} bytes");
}

#[tokio::test]
async fn a_reload_changes_how_much_may_be_held() {
    let (proxy, backend) = filtered("assembly_memory = \"8MiB\"", "").await;
    let (mut first, _upstream_of_first) = backend.open(proxy.address, "/").await;
    let (mut second, _upstream_of_second) = backend.open(proxy.address, "/").await;
    first.write(start(100)).await;
    proxy.until(HELD, &[], 100).await;
    second.write(start(100)).await;
    proxy.until(HELD, &[], 200).await;
    let rest = format!("filters = [\"script\"]\n{}", guest("script"));
    proxy.rewrite(&format!("assembly_memory = 150\n{}", route(&[&backend.address()], &rest)));
    assert_eq!(proxy.reload().await.status, 200);
    first.expect_close(1013).await;
    proxy.until(HELD, &[], 100).await;
}

#[tokio::test]
async fn a_message_that_takes_longer_than_message_timeout_closes_its_sender_with_1008() {
    let (proxy, backend) = filtered("", "message_timeout = \"100ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.write(start(200)).await;
    assert!(client.expect_close(1008).await.contains("message_timeout"));
    upstream.expect_close(1011).await;
    let labels = [("route", "main"), ("from", "client"), ("limit", "message_timeout")];
    let metrics = proxy.until(CLOSES, &labels, 1).await;
    assert_eq!(metrics.count(HELD, &[]), 0);
}

#[tokio::test]
async fn fragments_that_are_whole_are_waited_for_no_longer_than_others() {
    let (proxy, backend) = filtered("", "message_timeout = \"100ms\"").await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("so far").unfinished()).await;
    client.expect_close(1008).await;
    proxy.until(HELD, &[], 0).await;
}

#[tokio::test]
async fn a_message_that_no_filter_waits_for_may_take_as_long_as_it_likes() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "message_timeout = \"1ms\"")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let wire = client.encode(&Frame::text("a message in two halves"));
    let (head, tail) = wire.split_at(10);
    client.write(head).await;
    // It has come as far as the upstream, and time passes meanwhile.
    assert_eq!(upstream.read_exactly(10).await, head);
    proxy.metrics().await;
    client.write(tail).await;
    assert_eq!(upstream.read_exactly(tail.len()).await, tail);
}

#[tokio::test]
async fn time_in_which_a_filter_delays_does_not_count() {
    let (proxy, backend) = filtered("", "message_timeout = \"400ms\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let message = Frame::binary(vec![7; 1000]);
    let wire = client.encode(&message);
    let (head, tail) = wire.split_at(500);
    client.write([client.encode(&Frame::text("delay:1600")).as_slice(), head].concat()).await;
    upstream.expect(Frame::text("delay:1600")).await;
    // It is not read before the delay is over, four times as late as it may come.
    client.write(tail).await;
    upstream.expect(message).await;
}

#[tokio::test]
async fn very_many_small_messages_that_are_decided_before_their_end_all_pass_in_order() {
    let (proxy, backend) = filtered("", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames: Vec<Frame> = (0..6000_u32)
        .flat_map(|index| match index % 3 {
            0 => vec![Frame::text(index.to_string())],
            1 => vec![Frame::binary(index.to_le_bytes()).unfinished(), Frame::continuation("")],
            _ => vec![Frame::binary("")],
        })
        .collect();
    let (sent, received) = tokio::join!(client.send_all(&frames), async {
        let mut received = Vec::new();
        while received.len() < 6000 {
            let mut frame = upstream.frame().await;
            while !frame.fin {
                let next = upstream.frame().await;
                frame.payload.extend(next.payload);
                frame.fin = next.fin;
            }
            received.push(frame);
        }
        received
    });
    let () = sent;
    for (index, frame) in (0..6000_u32).zip(received) {
        let expected = match index % 3 {
            0 => Frame::text(index.to_string()),
            1 => Frame::binary(index.to_le_bytes()),
            _ => Frame::binary(""),
        };
        assert_eq!(frame, expected);
    }
}
