//! Filters that misbehave: what happens to their connection, and that nothing happens to anybody else.

use std::time::Duration;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Finished, Frame, Peer, Proxy, Request};
use tokio::time::Instant;

/// What the guest `hostile` does when a message says `boom`, and the failure it is to be counted as.
const DEEDS: &[(&str, &str)] = &[
    ("trap", "trap"),
    ("loop", "deadline"),
    ("hoard", "memory"),
    ("reserved-close-code", "invalid_answer"),
    ("replace-on-head", "invalid_answer"),
    ("send-on-head", "invalid_answer"),
    ("invalid-text", "invalid_answer"),
    ("send-invalid-text", "invalid_answer"),
];

/// A proxy whose one filter is `hostile` with this `config`; `rest` holds more keys of its use.
async fn start(config: &str, rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let filters =
        format!("filters = [{{ component = \"hostile\", config = {{ {config} }}{rest} }}]\n{}", guest("hostile"));
    let proxy = Proxy::start(&route(&[&backend.address()], &filters)).await;
    (proxy, backend)
}

async fn exchange(from: &mut Peer, to: &mut Peer, text: &str) {
    from.send(Frame::text(text)).await;
    to.expect(Frame::text(text)).await;
}

#[tokio::test]
async fn a_filter_that_misbehaves_costs_its_connection_a_1011_and_is_counted() {
    for (deed, reason) in DEEDS {
        let (proxy, backend) = start(&format!("do = \"{deed}\""), "").await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        exchange(&mut client, &mut upstream, "fine").await;
        client.send(Frame::text("boom")).await;
        assert_eq!(client.frame().await.close_code(), Some(1011), "for {deed}");
        assert_eq!(upstream.frame().await.close_code(), Some(1011), "for {deed}");
        let labels = [("component", "hostile"), ("reason", reason)];
        let metrics = proxy.until("tidegate_component_failures_total", &labels, 1).await;
        assert_eq!(metrics.count("tidegate_component_failures_total", &[]), 1, "for {deed}");
        drop((client, upstream));
        let labels = [("route", "main"), ("by", "proxy"), ("code", "1011")];
        proxy.until("tidegate_closes_total", &labels, 1).await;
    }
}

#[tokio::test]
async fn the_neighbours_of_a_filter_that_misbehaves_go_on_with_the_filter() {
    for (deed, reason) in DEEDS {
        let (proxy, backend) = start(&format!("do = \"{deed}\""), "").await;
        let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
        exchange(&mut neighbour, &mut upstream_of_neighbour, "before").await;
        let (mut client, _upstream) = backend.open(proxy.address, "/").await;
        client.send(Frame::text("boom")).await;
        client.expect_close(1011).await;
        exchange(&mut neighbour, &mut upstream_of_neighbour, "after").await;
        exchange(&mut upstream_of_neighbour, &mut neighbour, "and back").await;
        let (mut newcomer, mut upstream_of_newcomer) = backend.open(proxy.address, "/").await;
        exchange(&mut newcomer, &mut upstream_of_newcomer, "hello").await;
        // It is still the filter that they go through.
        neighbour.send(Frame::text("boom")).await;
        neighbour.expect_close(1011).await;
        let labels = [("component", "hostile"), ("reason", *reason)];
        proxy.until("tidegate_component_failures_total", &labels, 2).await;
    }
}

#[tokio::test]
async fn a_filter_that_may_be_bypassed_leaves_its_connection_open() {
    for (deed, reason) in DEEDS {
        let (proxy, backend) = start(&format!("do = \"{deed}\""), ", on_failure = \"bypass\"").await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        for text in ["boom", "after"] {
            client.send(Frame::text(text)).await;
            assert_eq!(upstream.frame().await, Frame::text(text), "for {deed}");
        }
        exchange(&mut upstream, &mut client, "and back").await;
        let labels = [("component", "hostile"), ("reason", *reason)];
        proxy.until("tidegate_component_failures_total", &labels, 1).await;
    }
}

#[tokio::test]
async fn a_loop_costs_its_neighbours_no_more_than_the_deadline() {
    let (proxy, backend) = start("do = \"loop\"", "").await;
    let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
    exchange(&mut neighbour, &mut upstream_of_neighbour, "warm").await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    let sent = Instant::now();
    client.send(Frame::text("boom")).await;
    exchange(&mut neighbour, &mut upstream_of_neighbour, "meanwhile").await;
    let took = sent.elapsed();
    client.expect_close(1011).await;
    // The deadline is 10 ms; the rest is for a machine that is busy with other tests.
    assert!(took < Duration::from_millis(500), "the neighbour waited {took:?}");
}

#[tokio::test]
async fn a_message_of_the_upstream_may_bring_the_filter_down_as_well() {
    let (proxy, backend) = start("do = \"trap\"", "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    upstream.send(Frame::text("boom")).await;
    client.expect_close(1011).await;
    upstream.expect_close(1011).await;
}

#[tokio::test]
async fn a_close_reason_that_no_frame_can_hold_never_reaches_the_wire() {
    let (proxy, backend) = start("do = \"endless-close-reason\"", "").await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("boom")).await;
    let close = client.frame().await;
    assert!(matches!(close.close_code(), Some(1000 | 1011)), "{close:?}");
    assert!(close.payload.len() <= 125, "{close:?}");
}

#[tokio::test]
async fn a_filter_that_fails_to_open_refuses_its_handshake_and_no_other() {
    for (deed, reason) in [
        ("trap", "trap"),
        ("loop", "deadline"),
        ("hoard", "memory"),
        ("forbidden-header", "invalid_answer"),
        ("broken-header", "invalid_answer"),
        ("refuse-with200", "invalid_answer"),
    ] {
        let (proxy, backend) = start(&format!("do = \"{deed}\", at = \"open\""), "").await;
        let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
        let reply = proxy.answer(&Request::upgrade("/").with("X-Boom", "1")).await;
        assert!(matches!(reply.status, 500 | 503), "{deed} was answered with {reply:?}");
        exchange(&mut neighbour, &mut upstream_of_neighbour, "still here").await;
        let labels = [("component", "hostile"), ("reason", reason)];
        proxy.until("tidegate_component_failures_total", &labels, 1).await;
        proxy.until("tidegate_handshakes_total", &[("outcome", "component_failed")], 1).await;
    }
}

#[tokio::test]
async fn a_filter_that_fails_to_open_may_be_bypassed() {
    let (proxy, backend) = start("do = \"trap\", at = \"open\"", ", on_failure = \"bypass\"").await;
    let request = Request::upgrade("/").with("X-Boom", "1");
    let ((mut client, reply), mut upstream) = tokio::join!(Peer::handshake(proxy.address, &request), backend.accept());
    assert_eq!(reply.status, 101);
    exchange(&mut client, &mut upstream, "unfiltered").await;
}

#[tokio::test]
async fn a_failure_at_the_end_of_a_connection_is_only_counted() {
    let (proxy, backend) = start("do = \"trap\", at = \"close\"", "").await;
    let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::close(1000, "bye")).await;
    upstream.expect(Frame::close(1000, "bye")).await;
    upstream.send(Frame::close(1000, "bye")).await;
    client.expect(Frame::close(1000, "bye")).await;
    let labels = [("component", "hostile"), ("reason", "trap")];
    proxy.until("tidegate_component_failures_total", &labels, 1).await;
    exchange(&mut neighbour, &mut upstream_of_neighbour, "still here").await;
}

#[tokio::test]
async fn a_wrong_number_of_verdicts_is_an_invalid_answer() {
    let backend = Backend::bind().await;
    let filters = format!("filters = [\"miscount\"]\n{}", guest("miscount"));
    let proxy = Proxy::start(&route(&[&backend.address()], &filters)).await;
    let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("one"), Frame::text("two"), Frame::text("three")]).await;
    client.expect_close(1011).await;
    let labels = [("component", "miscount"), ("reason", "invalid_answer")];
    proxy.until("tidegate_component_failures_total", &labels, 1).await;
    exchange(&mut neighbour, &mut upstream_of_neighbour, "still here").await;
}

#[tokio::test]
async fn an_import_that_nobody_lends_is_refused_by_name_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let config = route(&["127.0.0.1:9"], &format!("filters = [\"foreign\"]\n{}", guest("foreign")));
    let text = format!("{config}[[listeners]]\nlisten = \"127.0.0.1:0\"\n");
    std::fs::write(directory.path().join("tidegate.toml"), text).unwrap();
    let finished = Finished::run(directory.path(), &["run", "--config", "tidegate.toml"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("wasi:sockets/instance-network"), "{finished:?}");
}

#[tokio::test]
async fn an_instance_for_each_connection_works_and_fails_alone() {
    let backend = Backend::bind().await;
    let filters = format!(
        "filters = [{{ component = \"hostile\", config = {{ do = \"trap\" }} }}]\n{}isolation = \"connection\"\n",
        guest("hostile")
    );
    let proxy = Proxy::start(&route(&[&backend.address()], &filters)).await;
    let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("boom")).await;
    client.expect_close(1011).await;
    exchange(&mut neighbour, &mut upstream_of_neighbour, "still here").await;
}
