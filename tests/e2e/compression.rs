//! permessage-deflate (RFC 7692) with peers that really compress.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Deflating, Frame, Inflating, Opcode, Peer, Proxy, Request, Window};

/// A connection whose ends have agreed on compression.
struct Compressed {
    proxy: Proxy,
    client: Peer,
    upstream: Peer,
}

/// Opens a connection through a route with these filters (a TOML list), with `rest` after them, and this answer of the
/// upstream.
async fn open(filters: &str, rest: &str, answer: &str) -> Compressed {
    let backend = Backend::bind().await;
    let rest = format!("filters = {filters}\n{rest}\n{}", guest("script"));
    let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
    let offer = Request::upgrade("/").with(
        "Sec-WebSocket-Extensions",
        "permessage-deflate; server_max_window_bits=15; client_max_window_bits, permessage-deflate; client_max_window_bits",
    );
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[&format!("Sec-WebSocket-Extensions: {answer}")]).await;
        upstream
    };
    let ((client, reply), upstream) = tokio::join!(Peer::handshake(proxy.address, &offer), upstream);
    assert_eq!((reply.status, reply.header("sec-websocket-extensions")), (101, answer));
    Compressed { proxy, client, upstream }
}

const PLAIN: &str = "permessage-deflate";

/// One use of the guest `script`.
fn script(config: &str) -> String {
    format!("[{{ component = \"script\", config = {{ {config} }} }}]")
}

/// Text that compresses.
fn text(number: usize) -> String {
    format!(r#"{{"type":"message","number":{number},"text":"all work and no play makes Jack a dull boy"}}"#)
}

#[tokio::test]
async fn messages_that_filters_let_pass_go_on_as_they_came() {
    let Compressed { proxy: _proxy, mut client, mut upstream } = open("[\"script\"]", "", PLAIN).await;
    let (mut of_client, mut of_upstream) = (Deflating::new(Window::LARGEST), Deflating::new(Window::LARGEST));
    for number in 0..20 {
        let frame = of_client.text(text(number));
        client.send(frame.clone()).await;
        upstream.expect(frame).await;
        let frame = of_upstream.message(Opcode::Binary, text(number).as_bytes());
        upstream.send(frame.clone()).await;
        client.expect(frame).await;
        client.send(Frame::text("uncompressed")).await;
        upstream.expect(Frame::text("uncompressed")).await;
    }
}

#[tokio::test]
async fn filters_see_what_a_compressed_message_says_and_what_they_make_of_it_can_be_inflated() {
    let parameters = [
        (PLAIN, Window::LARGEST, Window::LARGEST),
        (
            "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
            Window { bits: 15, takeover: false },
            Window { bits: 15, takeover: false },
        ),
        (
            "permessage-deflate; client_max_window_bits=9; server_max_window_bits=10",
            Window { bits: 9, takeover: true },
            Window { bits: 10, takeover: true },
        ),
        (
            "permessage-deflate; server_no_context_takeover; client_max_window_bits=12; server_max_window_bits=9",
            Window { bits: 12, takeover: true },
            Window { bits: 9, takeover: false },
        ),
    ];
    for (answer, from_client, from_upstream) in parameters {
        let Compressed { proxy: _proxy, mut client, mut upstream } = open("[\"script\"]", "", answer).await;
        let (mut at_client, mut at_upstream) = (Deflating::new(from_client), Deflating::new(from_upstream));
        let (mut by_upstream, mut by_client) = (Inflating::new(from_client), Inflating::new(from_upstream));
        for number in 0..30 {
            let said = text(number);
            let (sent, arrives) = match number % 5 {
                0 => (format!("replace:{said}{said}"), Some(format!("{said}{said}"))),
                1 => ("drop".to_owned(), None),
                _ => (said.clone(), Some(said)),
            };
            client.send(at_client.text(&sent)).await;
            upstream.send(at_upstream.text(&sent)).await;
            if let Some(arrives) = arrives {
                assert_eq!(by_upstream.text(&upstream.frame().await), arrives, "{answer}, from the client");
                assert_eq!(by_client.text(&client.frame().await), arrives, "{answer}, from the upstream");
            }
        }
    }
}

#[tokio::test]
async fn a_receiver_with_a_window_of_8_bits_gets_nothing_that_reaches_further_back() {
    let answer = "permessage-deflate; client_max_window_bits=8";
    let Compressed { proxy: _proxy, mut client, mut upstream } = open("[\"script\"]", "", answer).await;
    // zlib has no compressor for 8 bits; within messages this short, one of 9 reaches no further.
    let mut at_client = Deflating::new(Window { bits: 9, takeover: false });
    let mut by_upstream = Inflating::new(Window { bits: 8, takeover: true });
    client.send(at_client.text("drop")).await;
    for number in 0..10 {
        client.send(at_client.text(text(number))).await;
        assert_eq!(by_upstream.text(&upstream.frame().await), text(number));
    }
    client.send(at_client.text(format!("replace:{}", text(10)))).await;
    assert_eq!(by_upstream.text(&upstream.frame().await), text(10));
}

#[tokio::test]
async fn compressed_messages_after_a_dropped_one_can_be_inflated_when_they_come_at_once() {
    let Compressed { proxy: _proxy, mut client, mut upstream } = open("[\"script\"]", "", PLAIN).await;
    let (mut at_client, mut by_upstream) = (Deflating::new(Window::LARGEST), Inflating::new(Window::LARGEST));
    let texts = [text(1), text(2), "drop".to_owned(), text(3), "replace:".to_owned() + &text(4), text(5)];
    let frames: Vec<Frame> = texts.iter().map(|text| at_client.text(text)).collect();
    client.send_all(&frames).await;
    upstream.expect(frames[0].clone()).await;
    by_upstream.text(&frames[0]);
    upstream.expect(frames[1].clone()).await;
    by_upstream.text(&frames[1]);
    for number in 3..6 {
        assert_eq!(by_upstream.text(&upstream.frame().await), text(number));
    }
}

#[tokio::test]
async fn replies_are_not_compressed_and_leave_the_other_direction_as_it_came() {
    let Compressed { proxy: _proxy, mut client, mut upstream } = open("[\"script\"]", "", PLAIN).await;
    let (mut at_client, mut at_upstream) = (Deflating::new(Window::LARGEST), Deflating::new(Window::LARGEST));
    for number in 0..5 {
        client.send(at_client.text(format!("reply:{}", text(number)))).await;
        client.expect(Frame::text(text(number))).await;
        let frame = at_upstream.text(text(number));
        upstream.send(frame.clone()).await;
        client.expect(frame).await;
    }
}

#[tokio::test]
async fn kinds_and_payloads_that_no_filter_wants_keep_the_windows_equal() {
    for wanted in ["kinds = \"text\"", "from_client = \"none\"", "from_client = { head = 4 }"] {
        for answer in [PLAIN, "permessage-deflate; client_no_context_takeover"] {
            let Compressed { proxy: _proxy, mut client, mut upstream } = open(&script(wanted), "", answer).await;
            let window = Window { bits: 15, takeover: answer == PLAIN };
            let (mut at_client, mut by_upstream) = (Deflating::new(window), Inflating::new(window));
            let mut frames = Vec::new();
            for number in 0..5 {
                frames.push(at_client.text(text(number)));
                frames.push(at_client.message(Opcode::Binary, text(number).as_bytes()));
            }
            client.send_all(&frames).await;
            for frame in frames {
                upstream.expect(frame.clone()).await;
                by_upstream.payload(true, &frame.payload);
            }
            // Seen whole it is dropped, seen by its head too; by its size alone it passes.
            client.send_all(&[at_client.text("drop"), at_client.message(Opcode::Binary, b"binary")]).await;
            let mut next = upstream.frame().await;
            if wanted.contains("none") {
                assert_eq!(by_upstream.text(&next), "drop");
                next = upstream.frame().await;
            }
            assert!(next.is(Opcode::Binary), "{next:?}");
            assert_eq!(by_upstream.payload(next.reserved == 4, &next.payload), "binary", "{wanted}, {answer}");
        }
    }
}

#[tokio::test]
async fn a_direction_that_no_filter_wants_carries_compressed_frames_as_they_are() {
    let wanted = script("from_upstream = \"off\"");
    let rest = "max_message_size = \"1KiB\"";
    let Compressed { proxy: _proxy, mut client, mut upstream } = open(&wanted, rest, PLAIN).await;
    let frames = [
        Deflating::new(Window::LARGEST).text("x".repeat(3000)),
        Frame::text("this is no deflate data").with_reserved(4),
    ];
    upstream.send_all(&frames).await;
    for frame in frames {
        client.expect(frame).await;
    }
}

#[tokio::test]
async fn a_compressed_message_in_fragments_is_one_message_and_a_ping_between_them_passes() {
    let Compressed { proxy: _proxy, mut client, mut upstream } = open(&script("tag = \"!\""), "", PLAIN).await;
    let (mut at_client, mut by_upstream) = (Deflating::new(Window::LARGEST), Inflating::new(Window::LARGEST));
    for number in 0..3 {
        let whole = at_client.text(text(number));
        let (first, rest) = whole.payload.split_at(4);
        let (second, third) = rest.split_at(1);
        let frames = [
            Frame { payload: first.to_vec(), ..whole.clone() }.unfinished(),
            Frame::ping("between"),
            Frame::continuation(second).unfinished(),
            Frame::continuation(third).unfinished(),
            Frame::continuation(""),
        ];
        client.send_all(&frames).await;
        upstream.expect(Frame::ping("between")).await;
        assert_eq!(by_upstream.text(&upstream.frame().await), text(number) + "!");
    }
}

#[tokio::test]
async fn empty_compressed_messages_pass() {
    let Compressed { proxy: _proxy, mut client, mut upstream } = open("[\"script\"]", "", PLAIN).await;
    // RFC 7692 section 7.2.3.6, and what some send instead.
    for empty in [Frame::text("\0").with_reserved(4), Frame::text("").with_reserved(4)] {
        client.send(empty.clone()).await;
        upstream.expect(empty).await;
    }
    let frame = Deflating::new(Window::LARGEST).text("after");
    client.send(frame.clone()).await;
    upstream.expect(frame).await;
}

#[tokio::test]
async fn a_message_that_inflates_too_far_closes_its_sender_with_1009_and_is_counted() {
    let zeros = vec![b'0'; 600 << 10];
    for (rest, reason) in [("max_message_size = \"512KiB\"", "size"), ("max_compression_ratio = 200", "ratio")] {
        let Compressed { proxy, mut client, mut upstream } = open("[\"script\"]", rest, PLAIN).await;
        let bomb = Deflating::new(Window::LARGEST).message(Opcode::Binary, &zeros);
        assert!(bomb.payload.len() < 2000);
        client.send(bomb).await;
        client.expect_close(1009).await;
        upstream.expect_close(1011).await;
        let labels = [("route", "main"), ("from", "client"), ("reason", reason)];
        let metrics = proxy.until("tidegate_inflate_failures_total", &labels, 1).await;
        assert_eq!(metrics.count("tidegate_inflate_failures_total", &[]), 1);
        assert_eq!(metrics.count("tidegate_component_calls_total", &[("verdict", "forward")]), 0);
    }
}

#[tokio::test]
async fn honest_messages_that_compress_a_thousandfold_pass_whatever_filters_want_of_them() {
    let zeros = vec![0; 4 << 20];
    let plain = [(Opcode::Text, "y".repeat(300_000).into_bytes()), (Opcode::Binary, zeros)];
    let reads = script("tag = \"\"");
    for filters in [reads.as_str(), &script("from_client = \"none\""), &script("from_client = { head = 4 }"), "[]"] {
        let Compressed { proxy: _proxy, mut client, mut upstream } = open(filters, "", PLAIN).await;
        let mut at_client = Deflating::new(Window::LARGEST);
        for (opcode, payload) in &plain {
            let message = at_client.message(*opcode, payload);
            assert!(message.payload.len() * 200 < payload.len());
            client.send(message.clone()).await;
            upstream.expect(message).await;
        }
    }
}

#[tokio::test]
async fn what_follows_a_large_message_that_was_dropped_by_its_head_does_not_wait_for_more() {
    let Compressed { proxy: _proxy, mut client, mut upstream } =
        open(&script("from_client = { head = 4 }"), "", PLAIN).await;
    let (mut at_client, mut by_upstream) = (Deflating::new(Window::LARGEST), Inflating::new(Window::LARGEST));
    let dropped = at_client.text(format!("drop{}", "0".repeat(4 << 20)));
    client.send_all(&[dropped, at_client.text("after")]).await;
    assert_eq!(by_upstream.text(&upstream.frame().await), "after");
}

#[tokio::test]
async fn what_cannot_be_inflated_closes_its_sender_with_1007_and_is_counted() {
    let Compressed { proxy, mut client, mut upstream } = open("[\"script\"]", "", PLAIN).await;
    upstream.send(Frame::text("\x07 this is no deflate data").with_reserved(4)).await;
    upstream.expect_close(1007).await;
    client.expect_close(1014).await;
    let labels = [("route", "main"), ("from", "upstream"), ("reason", "invalid_data")];
    let metrics = proxy.until("tidegate_inflate_failures_total", &labels, 1).await;
    assert_eq!(metrics.count("tidegate_inflate_failures_total", &[]), 1);
}

#[tokio::test]
async fn compressed_messages_are_counted_as_they_came_on_the_wire() {
    let Compressed { proxy, mut client, mut upstream } = open("[\"script\"]", "", PLAIN).await;
    let mut at_client = Deflating::new(Window::LARGEST);
    let frames = [at_client.text(text(1)), at_client.text("drop"), at_client.message(Opcode::Binary, &[7; 1000])];
    client.send_all(&frames).await;
    upstream.expect(frames[0].clone()).await;
    assert!(upstream.frame().await.is(Opcode::Binary));
    let metrics = proxy.metrics().await;
    let count = |name, label| metrics.count(name, &[("route", "main"), label]);
    assert_eq!(count("tidegate_messages_total", ("kind", "text")), 2);
    assert_eq!(count("tidegate_messages_total", ("kind", "binary")), 1);
    let bytes: usize = frames.iter().map(|frame| frame.payload.len()).sum();
    assert_eq!(count("tidegate_message_bytes_total", ("from", "client")), u64::try_from(bytes).unwrap());
    assert_eq!(count("tidegate_component_calls_total", ("verdict", "forward")), 2);
    assert_eq!(count("tidegate_component_calls_total", ("verdict", "drop")), 1);
}

#[tokio::test]
async fn a_compressed_frame_is_a_violation_where_no_compression_was_agreed() {
    let backend = Backend::bind().await;
    let proxy =
        Proxy::start(&route(&[&backend.address()], &format!("filters = [\"script\"]\n{}", guest("script")))).await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send(Deflating::new(Window::LARGEST).text("compressed")).await;
    client.expect_close(1002).await;
}
