//! Frames: what is refused, and what a relay leaves exactly as it came.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Opcode, Peer, Proxy};

async fn start(rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], rest)).await;
    (proxy, backend)
}

fn filtered() -> String {
    format!("filters = [{{ component = \"script\", config = {{ from_upstream = \"whole\" }} }}]\n{}", guest("script"))
}

/// The same promise holds on a relay and on a route with a filter.
fn relayed_and_filtered() -> [String; 2] {
    [String::new(), filtered()]
}

/// A way to break RFC 6455, as bytes that `peer` would write.
type Violation = (&'static str, fn(&Peer) -> Vec<u8>);

/// Sections 5.2, 5.4 and 5.5: to be answered with 1002.
const VIOLATIONS: &[Violation] = &[
    ("a reserved bit 1 that nobody negotiated", |peer| peer.encode(&Frame::text("x").with_reserved(4))),
    ("a reserved bit 2", |peer| peer.encode(&Frame::text("x").with_reserved(2))),
    ("a reserved bit 3", |peer| peer.encode(&Frame::text("x").with_reserved(1))),
    ("a reserved bit in a ping", |peer| peer.encode(&Frame::ping("x").with_reserved(4))),
    ("the opcode 3", |peer| peer.encode(&Frame::text("x").with_opcode(3))),
    ("the opcode 7", |peer| peer.encode(&Frame::text("x").with_opcode(7))),
    ("the opcode 11", |peer| peer.encode(&Frame::text("x").with_opcode(11))),
    ("the opcode 15", |peer| peer.encode(&Frame::text("x").with_opcode(15))),
    ("a fragmented ping", |peer| peer.encode(&Frame::ping("x").unfinished())),
    ("a fragmented close", |peer| peer.encode(&Frame::close(1000, "").unfinished())),
    ("a ping of 126 bytes", |peer| peer.encode(&Frame::ping(vec![b'x'; 126]))),
    ("a close of 126 bytes", |peer| peer.encode(&Frame::close(1000, vec![b'x'; 124]))),
    ("5 bytes announced in 16 bits", |peer| announced(peer, 126, &5_u16.to_be_bytes(), 5)),
    ("125 bytes announced in 16 bits", |peer| announced(peer, 126, &125_u16.to_be_bytes(), 125)),
    ("126 bytes announced in 64 bits", |peer| announced(peer, 127, &126_u64.to_be_bytes(), 126)),
    ("65535 bytes announced in 64 bits", |peer| announced(peer, 127, &65_535_u64.to_be_bytes(), 65_535)),
    ("a length over 2^63 - 1", |peer| announced(peer, 127, &(1_u64 << 63).to_be_bytes(), 0)),
    ("a continuation of nothing", |peer| peer.encode(&Frame::continuation("x"))),
    ("an unfinished continuation of nothing", |peer| peer.encode(&Frame::continuation("x").unfinished())),
    ("a text inside a fragmented message", |peer| {
        [peer.encode(&Frame::text("x").unfinished()), peer.encode(&Frame::text("y"))].concat()
    }),
    ("a binary fragment inside a fragmented message", |peer| {
        [peer.encode(&Frame::text("x").unfinished()), peer.encode(&Frame::binary("y").unfinished())].concat()
    }),
    ("a close of one byte", |peer| peer.encode(&Frame::new(Opcode::Close, [3]))),
    ("the close code 0", |peer| peer.encode(&Frame::close(0, ""))),
    ("the close code 999", |peer| peer.encode(&Frame::close(999, ""))),
    ("the close code 1004", |peer| peer.encode(&Frame::close(1004, ""))),
    ("the close code 1005", |peer| peer.encode(&Frame::close(1005, ""))),
    ("the close code 1006", |peer| peer.encode(&Frame::close(1006, ""))),
    ("the close code 1015", |peer| peer.encode(&Frame::close(1015, ""))),
    ("the close code 2999", |peer| peer.encode(&Frame::close(2999, ""))),
    ("the close code 5000", |peer| peer.encode(&Frame::close(5000, ""))),
    ("the close code 65535", |peer| peer.encode(&Frame::close(65_535, ""))),
];

/// A binary frame whose length is written as told instead of minimally.
fn announced(peer: &Peer, marker: u8, length: &[u8], payload: usize) -> Vec<u8> {
    let minimal = peer.encode(&Frame::binary([]));
    let masked = minimal[1] & 0x80;
    [&[minimal[0], masked | marker], length, &minimal[2..], &vec![0; payload]].concat()
}

/// What a peer gets from the moment it breaks a rule: first perhaps what was under way, then a close frame.
async fn verdict_on(offender: &mut Peer) -> Frame {
    let frame = offender.frame().await;
    assert!(frame.is(Opcode::Close), "instead of a close frame came {frame:?}");
    frame
}

#[tokio::test]
async fn a_client_that_breaks_the_framing_is_closed_with_1002() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        for (what, bytes) in VIOLATIONS {
            let (mut client, _upstream) = backend.open(proxy.address, "/").await;
            let bytes = bytes(&client);
            client.write(bytes).await;
            assert_eq!(verdict_on(&mut client).await.close_code(), Some(1002), "for {what}, route {rest:?}");
        }
        let count = u64::try_from(VIOLATIONS.len()).unwrap();
        proxy.until("tidegate_closes_total", &[("route", "main"), ("by", "proxy"), ("code", "1002")], count).await;
    }
}

#[tokio::test]
async fn an_upstream_that_breaks_the_framing_is_closed_with_1002() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        for (what, bytes) in VIOLATIONS {
            let (_client, mut upstream) = backend.open(proxy.address, "/").await;
            let bytes = bytes(&upstream);
            upstream.write(bytes).await;
            assert_eq!(verdict_on(&mut upstream).await.close_code(), Some(1002), "for {what}, route {rest:?}");
        }
    }
}

#[tokio::test]
async fn an_unmasked_client_frame_closes_with_1002() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, _upstream) = backend.open(proxy.address, "/").await;
        client.write(Frame::text("bare").encode(None)).await;
        client.expect_close(1002).await;
    }
}

#[tokio::test]
async fn a_masked_upstream_frame_closes_with_1002() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (_client, mut upstream) = backend.open(proxy.address, "/").await;
        upstream.write(Frame::text("veiled").encode(Some([1, 2, 3, 4]))).await;
        upstream.expect_close(1002).await;
    }
}

#[tokio::test]
async fn a_close_reason_that_is_not_utf8_closes_with_1007() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, _upstream) = backend.open(proxy.address, "/").await;
        client.send(Frame::close(1000, [0xff, 0xfe])).await;
        client.expect_close(1007).await;
    }
}

#[tokio::test]
async fn the_other_side_of_a_violation_is_closed_with_a_code_that_blames_nobody_there() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.write(client.encode(&Frame::text("x").with_opcode(3))).await;
    let told = upstream.frame().await;
    assert!(matches!(told.close_code(), Some(1001 | 1011)), "the upstream was told {told:?}");
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    upstream.write(upstream.encode(&Frame::text("x").with_opcode(3))).await;
    let told = client.frame().await;
    assert!(matches!(told.close_code(), Some(1011 | 1014)), "the client was told {told:?}");
}

#[tokio::test]
async fn what_came_before_a_violation_is_delivered() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send_all(&[Frame::text("good"), Frame::text("bad").with_opcode(5)]).await;
        upstream.expect(Frame::text("good")).await;
        client.expect_close(1002).await;
    }
}

#[tokio::test]
async fn text_that_is_not_utf8_closes_with_1007_where_it_is_assembled() {
    let (proxy, backend) = start(&filtered()).await;
    for bytes in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf"] {
        let text = Frame::new(Opcode::Text, bytes);
        let (mut client, _upstream) = backend.open(proxy.address, "/").await;
        client.send(text.clone()).await;
        client.expect_close(1007).await;
        let (_client, mut upstream) = backend.open(proxy.address, "/").await;
        upstream.send(text).await;
        upstream.expect_close(1007).await;
    }
}

#[tokio::test]
async fn a_character_may_be_split_between_fragments() {
    let (proxy, backend) = start(&filtered()).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let (head, tail) = "für".as_bytes().split_at(2);
    client.send_all(&[Frame::new(Opcode::Text, head).unfinished(), Frame::continuation(tail)]).await;
    let received = assembled(&mut upstream).await;
    assert_eq!(received.as_text(), "für");
}

/// A data message, in however many fragments.
async fn assembled(peer: &mut Peer) -> Frame {
    let mut message = peer.frame().await;
    while !message.fin {
        let more = peer.frame().await;
        assert!(more.is(Opcode::Continuation), "{more:?} inside {message:?}");
        message.payload.extend(more.payload);
        message.fin = more.fin;
    }
    message
}

#[tokio::test]
async fn a_relay_does_not_judge_text() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let text = Frame::new(Opcode::Text, b"\xff\xfe");
    client.send(text.clone()).await;
    upstream.expect(text.clone()).await;
    upstream.send(text.clone()).await;
    client.expect(text).await;
}

#[tokio::test]
async fn a_relay_keeps_fragments_and_the_place_of_control_frames_between_them() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames = [
        Frame::text("one ").unfinished(),
        Frame::ping("between"),
        Frame::continuation("two ").unfinished(),
        Frame::continuation("").unfinished(),
        Frame::pong("unasked"),
        Frame::continuation("three"),
        Frame::binary([0, 1, 2]).unfinished(),
        Frame::continuation([3]),
    ];
    client.send_all(&frames).await;
    for frame in &frames {
        upstream.expect(frame.clone()).await;
    }
    upstream.send_all(&frames).await;
    for frame in &frames {
        client.expect(frame.clone()).await;
    }
}

#[tokio::test]
async fn a_relay_keeps_every_byte_and_the_mask() {
    let (proxy, backend) = start("").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let mut bytes = Vec::new();
    for (index, length) in [0_usize, 1, 125, 126, 65_535, 65_536].into_iter().enumerate() {
        let mask = [u8::try_from(index).unwrap(), 0xa5, 0, 0xff];
        bytes.extend(Frame::binary(vec![0x5a; length]).encode(Some(mask)));
    }
    client.write(&bytes).await;
    let arrived = upstream.read_exactly(bytes.len()).await;
    assert!(arrived == bytes, "the bytes changed on their way");
}

#[tokio::test]
async fn frames_that_come_byte_by_byte_arrive() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        let frames = [Frame::text("slow"), Frame::ping("tick"), Frame::binary(vec![7; 130])];
        for byte in frames.iter().flat_map(|frame| client.encode(frame)).collect::<Vec<u8>>() {
            client.write([byte]).await;
        }
        for frame in frames {
            upstream.expect(frame).await;
        }
    }
}

#[tokio::test]
async fn pings_and_pongs_are_forwarded_and_never_answered() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send_all(&[Frame::ping("are you there"), Frame::text("after")]).await;
        upstream.expect(Frame::ping("are you there")).await;
        upstream.expect(Frame::text("after")).await;
        upstream.send_all(&[Frame::pong("are you there"), Frame::ping("and you"), Frame::text("then")]).await;
        client.expect(Frame::pong("are you there")).await;
        client.expect(Frame::ping("and you")).await;
        client.expect(Frame::text("then")).await;
        client.send_all(&[Frame::pong("and you"), Frame::pong("unasked"), Frame::empty_close()]).await;
        upstream.expect(Frame::pong("and you")).await;
        upstream.expect(Frame::pong("unasked")).await;
        upstream.expect(Frame::empty_close()).await;
    }
}

#[tokio::test]
async fn a_control_frame_inside_a_message_that_is_assembled_is_forwarded_at_once() {
    let (proxy, backend) = start(&filtered()).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("half").unfinished(), Frame::ping("now")]).await;
    upstream.expect(Frame::ping("now")).await;
    client.send(Frame::continuation(" and half")).await;
    assert_eq!(assembled(&mut upstream).await.as_text(), "half and half");
}

#[tokio::test]
async fn empty_messages_arrive() {
    for rest in relayed_and_filtered() {
        let (proxy, backend) = start(&rest).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send_all(&[Frame::text(""), Frame::binary([]), Frame::ping("")]).await;
        upstream.expect(Frame::text("")).await;
        upstream.expect(Frame::binary([])).await;
        upstream.expect(Frame::ping("")).await;
    }
}
