//! What filters can do with handshakes and messages.

use std::time::Duration;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Head, Opcode, Peer, Proxy, Reply, Request};
use tokio::time::Instant;

/// A proxy whose one route has these filters (a TOML list), with `rest` after them, and a back end.
async fn start(filters: &str, rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let rest = format!("filters = {filters}\n{rest}\n{}", guest("script"));
    let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
    (proxy, backend)
}

/// One use of the guest `script`.
fn script(config: &str) -> String {
    format!("{{ component = \"script\", config = {{ {config} }} }}")
}

/// A handshake through one use of `script`, with the request as it arrived and the answer.
async fn handshake(config: &str, request: Request) -> (Head, Reply, Proxy, Peer, Peer) {
    let (proxy, backend) = start(&format!("[{}]", script(config)), "").await;
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &["X-From-Upstream: 1", "X-Both: 1"]).await;
        (upstream, head)
    };
    let ((client, reply), (upstream, head)) = tokio::join!(Peer::handshake(proxy.address, &request), upstream);
    (head, reply, proxy, client, upstream)
}

#[tokio::test]
async fn client_messages_pass_the_filters_in_order_and_upstream_messages_in_reverse() {
    let filters = ["a", "b", "c"].map(|tag| script(&format!("tag = \"{tag}\""))).join(", ");
    let (proxy, backend) = start(&format!("[{filters}]"), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("-")).await;
    upstream.expect(Frame::text("-abc")).await;
    upstream.send(Frame::text("-")).await;
    client.expect(Frame::text("-cba")).await;
}

#[tokio::test]
async fn a_message_is_replaced() {
    let (proxy, backend) = start("[\"script\"]", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("replace:something longer than it was")).await;
    upstream.expect(Frame::text("something longer than it was")).await;
    upstream.send(Frame::text("replace:")).await;
    client.expect(Frame::text("")).await;
    let long = "x".repeat(70_000);
    client.send(Frame::text(format!("replace:{long}"))).await;
    upstream.expect(Frame::text(long)).await;
}

#[tokio::test]
async fn a_dropped_message_leaves_its_neighbours() {
    let (proxy, backend) = start("[\"script\"]", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("one"), Frame::text("drop"), Frame::text("nothing"), Frame::text("two")]).await;
    upstream.expect(Frame::text("one")).await;
    upstream.expect(Frame::text("two")).await;
}

#[tokio::test]
async fn a_filter_sends_to_either_side() {
    let (proxy, backend) = start("[\"script\"]", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("reply:back to you")).await;
    client.expect(Frame::text("back to you")).await;
    client.send(Frame::text("onward:one,two,three")).await;
    for text in ["one", "two", "three"] {
        upstream.expect(Frame::text(text)).await;
    }
    upstream.send(Frame::text("both:for all")).await;
    client.expect(Frame::text("for all")).await;
    upstream.expect(Frame::text("for all")).await;
    client.send(Frame::text("binary:bytes")).await;
    upstream.expect(Frame::binary("bytes")).await;
}

#[tokio::test]
async fn what_a_filter_sends_onward_passes_the_filters_that_are_left_and_a_reply_does_not() {
    let filters = [script("tag = \"a\""), script(""), script("tag = \"c\"")].join(", ");
    let (proxy, backend) = start(&format!("[{filters}]"), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    // The first filter obeys the instruction, so its own tag is not appended; `drop` would be obeyed by the next one.
    client.send(Frame::text("onward:x,drop")).await;
    upstream.expect(Frame::text("xc")).await;
    client.send(Frame::text("reply:drop")).await;
    client.expect(Frame::text("drop")).await;
    upstream.send(Frame::text("onward:y")).await;
    client.expect(Frame::text("ya")).await;
}

#[tokio::test]
async fn a_filter_closes_both_sides_with_its_code_and_reason() {
    let (proxy, backend) = start("[\"script\"]", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("before"), Frame::text("close:4321:enough"), Frame::text("after")]).await;
    upstream.expect(Frame::text("before")).await;
    assert_eq!(upstream.expect_close(4321).await, "enough");
    assert_eq!(client.expect_close(4321).await, "enough");
    let labels = [("route", "main"), ("by", "proxy"), ("code", "4000-4999")];
    client.send(Frame::close(4321, "")).await;
    upstream.send(Frame::close(4321, "")).await;
    proxy.until("tidegate_closes_total", &labels, 1).await;
}

#[tokio::test]
async fn a_delay_holds_back_what_its_sender_sends_next_and_nobody_else() {
    let (proxy, backend) = start("[\"script\"]", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let sent = Instant::now();
    client.send_all(&[Frame::text("delay:400"), Frame::text("second")]).await;
    upstream.expect(Frame::text("delay:400")).await;
    upstream.send(Frame::text("meanwhile")).await;
    client.expect(Frame::text("meanwhile")).await;
    let (mut other, mut upstream_of_other) = backend.open(proxy.address, "/").await;
    other.send(Frame::text("neighbour")).await;
    upstream_of_other.expect(Frame::text("neighbour")).await;
    let undisturbed = sent.elapsed();
    upstream.expect(Frame::text("second")).await;
    let held = sent.elapsed();
    assert!(undisturbed < Duration::from_millis(400), "the others waited, too: {undisturbed:?}");
    assert!((Duration::from_millis(380)..Duration::from_secs(3)).contains(&held), "held back for {held:?}");
}

#[tokio::test]
async fn a_filter_that_needs_no_payload_decides_by_the_size_alone() {
    let (proxy, backend) = start(&format!("[{}]", script("from_client = \"none\", drop_size = 5")), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("drop"), Frame::text("12345"), Frame::text("replace:x")]).await;
    upstream.expect(Frame::text("drop")).await;
    upstream.expect(Frame::text("replace:x")).await;
}

#[tokio::test]
async fn a_filter_that_needs_a_head_decides_when_it_is_there_and_the_rest_streams() {
    let (proxy, backend) = start(&format!("[{}]", script("from_client = { head = 4 }")), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("dropping this"), Frame::text("drop"), Frame::text("dro")]).await;
    upstream.expect(Frame::text("dro")).await;
    // Only the first half of a frame has been written: it can be there only if nobody waits for the whole.
    let whole = client.encode(&Frame::text("keep".to_owned() + &"x".repeat(200_000)));
    let (head, tail) = whole.split_at(100_000);
    client.write(head).await;
    let arrived = upstream.read_exactly(90_000).await;
    assert_eq!(arrived.len(), 90_000);
    client.write(tail).await;
    upstream.read_exactly(whole.len() - 90_000).await;
    client.send(Frame::text("next")).await;
    upstream.expect(Frame::text("next")).await;
}

#[tokio::test]
async fn a_message_of_a_kind_that_no_filter_wants_is_relayed_as_it_came() {
    let (proxy, backend) = start(&format!("[{}]", script("kinds = \"text\", tag = \"!\"")), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames = [Frame::binary("b").unfinished(), Frame::continuation("").unfinished(), Frame::continuation("in")];
    client.send_all(&frames).await;
    client.send(Frame::text("text")).await;
    for frame in frames {
        upstream.expect(frame).await;
    }
    upstream.expect(Frame::text("text!")).await;
}

#[tokio::test]
async fn a_direction_that_no_filter_wants_is_relayed_as_it_came() {
    let config = "from_client = \"whole\", from_upstream = \"off\", tag = \"!\"";
    let (proxy, backend) = start(&format!("[{}]", script(config)), "max_message_size = \"1KiB\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames = [Frame::text("x".repeat(3000)).unfinished(), Frame::continuation("drop")];
    upstream.send_all(&frames).await;
    for frame in frames {
        client.expect(frame).await;
    }
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("x!")).await;
}

#[tokio::test]
async fn a_message_over_max_message_size_closes_its_sender_with_1009() {
    let (proxy, backend) = start("[\"script\"]", "max_message_size = \"1KiB\"").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("x".repeat(1024))).await;
    upstream.expect(Frame::text("x".repeat(1024))).await;
    client.send(Frame::text("x".repeat(1025))).await;
    client.expect_close(1009).await;

    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("x".repeat(600)).unfinished(), Frame::continuation("x".repeat(600))]).await;
    client.expect_close(1009).await;

    let (_client, mut upstream) = backend.open(proxy.address, "/").await;
    upstream.send(Frame::binary(vec![0; 1025])).await;
    upstream.expect_close(1009).await;
}

#[tokio::test]
async fn a_message_over_max_message_size_is_refused_as_soon_as_it_is_announced() {
    let (proxy, backend) = start("[\"script\"]", "max_message_size = \"1KiB\"").await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    let header = client.encode(&Frame::binary(vec![0; 70_000]));
    client.write(&header[..14]).await;
    client.expect_close(1009).await;
}

#[tokio::test]
async fn header_edits_apply_to_the_request_and_to_the_answer() {
    let config = r#"
        upstream_headers = [["set", "x-set", "new"], ["append", "x-append", "two"], ["remove", "x-remove", ""]],
        client_headers = [["set", "x-both", "mine"], ["append", "x-added", "yes"], ["remove", "x-from-upstream", ""]]
    "#
    .replace('\n', " ");
    let request =
        Request::upgrade("/").with("X-Set", "old").with("X-Append", "one").with("X-Remove", "1").with("X-Keep", "1");
    let (head, reply, ..) = handshake(&config, request).await;
    assert_eq!(head.joined("x-set"), "new");
    assert_eq!(head.joined("x-append"), "one, two");
    assert_eq!(head.header("x-remove"), None);
    assert_eq!(head.joined("x-keep"), "1");
    assert_eq!(reply.status, 101);
    assert_eq!(reply.head.joined("x-both"), "mine");
    assert_eq!(reply.head.joined("x-added"), "yes");
    assert_eq!(reply.head.header("x-from-upstream"), None);
}

#[tokio::test]
async fn a_filter_may_send_a_client_elsewhere() {
    let (proxy, _backend) = start(&format!("[{}]", script("redirect = \"https://other.example/ws\"")), "").await;
    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!((reply.status, reply.header("location")), (307, "https://other.example/ws"));
    proxy.until("tidegate_handshakes_total", &[("outcome", "filter_refused")], 1).await;
    assert_eq!(proxy.metrics().await.count("tidegate_component_failures_total", &[]), 0);
}

#[tokio::test]
async fn a_refusal_reaches_the_client_with_its_status_headers_and_body_before_anything_is_dialled() {
    let (proxy, _backend) = start(&format!("[{}]", script("refuse = 418")), "").await;
    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!((reply.status, reply.body.as_str()), (418, "not today"));
    assert_eq!(reply.header("x-refused-by"), "script");
    let metrics = proxy.until("tidegate_handshakes_total", &[("outcome", "filter_refused")], 1).await;
    assert_eq!(metrics.count("tidegate_upstream_connects_total", &[]), 0);
    assert_eq!(metrics.count("tidegate_component_calls_total", &[("component", "script"), ("verdict", "refuse")]), 1);
}

#[tokio::test]
async fn attributes_reach_later_filters_and_the_access_log() {
    let giving = script("attributes = [[\"user\", \"ann\"]]");
    let demanding = script("demand = [\"user\", \"ann\"]");
    let (proxy, backend) = start(&format!("[{giving}, {demanding}]"), "").await;
    let (client, upstream) = backend.open(proxy.address, "/").await;
    drop((client, upstream));
    let line = proxy.access_line().await;
    assert!(line.to_string().contains("\"user\":\"ann\""), "{line}");

    let (proxy, _backend) = start(&format!("[{demanding}, {giving}]"), "").await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 403);
}

#[tokio::test]
async fn a_lease_that_runs_out_closes_with_1008() {
    let (_, reply, _proxy, mut client, mut upstream) = handshake("lease_seconds = 1", Request::upgrade("/")).await;
    assert_eq!(reply.status, 101);
    client.expect_close(1008).await;
    upstream.expect_close(1008).await;
}

#[tokio::test]
async fn a_filter_is_told_how_the_connection_ended() {
    let (proxy, backend) = start("[\"script\"]", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::close(4001, "")).await;
    upstream.expect_close(4001).await;
    upstream.send(Frame::close(4001, "")).await;
    proxy.wait_for_log(&["script saw the end: Some(Side::Client) Some(4001)"]).await;
    let (client, upstream) = backend.open(proxy.address, "/").await;
    drop((upstream, client));
    proxy.wait_for_log(&["script saw the end", "None"]).await;
}

#[tokio::test]
async fn messages_that_arrive_together_are_decided_one_by_one_in_order() {
    let rest = "control_frames_per_second = \"off\"";
    let (proxy, backend) = start(&format!("[{}]", script("tag = \"!\"")), rest).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let texts: Vec<String> = (0..200).map(|index| index.to_string()).collect();
    let frames: Vec<Frame> =
        texts.iter().flat_map(|text| [Frame::text(text), Frame::text("drop"), Frame::ping(text)]).collect();
    client.send_all(&frames).await;
    for text in &texts {
        upstream.expect(Frame::text(format!("{text}!"))).await;
        upstream.expect(Frame::ping(text)).await;
    }
}

#[tokio::test]
async fn a_changed_message_goes_out_in_frames_that_its_receiver_may_join() {
    let (proxy, backend) = start(&format!("[{}]", script("tag = \"!\"")), "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("frag").unfinished(), Frame::continuation("mented")]).await;
    let mut text = String::new();
    loop {
        let frame = upstream.frame().await;
        assert_eq!(frame.is(Opcode::Text), text.is_empty(), "{frame:?} after {text:?}");
        text += &frame.as_text();
        if frame.fin {
            break;
        }
    }
    assert_eq!(text, "fragmented!");
}

#[tokio::test]
async fn a_standard_filter_works_from_the_configuration_alone() {
    let backend = Backend::bind().await;
    let filters = r#"filters = [{ component = "rate-limit", config = { messages_per_second = 1, burst = 2, action = "close" } }]"#;
    let proxy = Proxy::start(&route(&[&backend.address()], filters)).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("1"), Frame::text("2"), Frame::text("3")]).await;
    upstream.expect(Frame::text("1")).await;
    upstream.expect(Frame::text("2")).await;
    upstream.expect_close(1008).await;
    client.expect_close(1008).await;
}
