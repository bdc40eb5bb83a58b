//! Filters that misbehave: what happens to their connection, and that nothing happens to anybody else.

use std::collections::BTreeMap;
use std::time::Duration;

use tidegate_tests::config::{guest, guest_within, route, upstream};
use tidegate_tests::{Backend, Finished, Frame, Peer, Proxy, Request};
use tokio::time::Instant;

/// What the guest `hostile` does when a message says `boom`, and the failure it is to be counted as.
const DEEDS: &[(&str, &str)] = &[
    ("trap", "trap"),
    ("recurse", "trap"),
    ("loop", "deadline"),
    ("hoard", "memory"),
    ("reserved-close-code", "invalid_answer"),
    ("replace-on-head", "invalid_answer"),
    ("send-on-head", "invalid_answer"),
    ("invalid-text", "invalid_answer"),
    ("send-invalid-text", "invalid_answer"),
    ("oversized-reply", "reply_size"),
    ("many-replies", "reply_size"),
];

/// Ten times the default, so that a busy machine does not take the well-behaved calls for endless ones.
const DEADLINE: &str = "100ms";

/// A proxy with a route for each deed, whose path is the deed's name; `rest` holds more keys of the filters' uses.
async fn start_all(deeds: &[(&str, &str)], at: &str, rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let routes: String = deeds
        .iter()
        .map(|(deed, _)| {
            format!(
                "[[routes]]\nname = \"{deed}\"\npath = \"/{deed}\"\nupstream = \"back\"\n\
                 filters = [{{ component = \"hostile\", config = {{ do = \"{deed}\", at = \"{at}\" }}{rest} }}]\n"
            )
        })
        .collect();
    let config = format!(
        "{}{routes}{}max_reply_size = \"64KiB\"\n",
        upstream("back", &[&backend.address()], ""),
        guest_within("hostile", DEADLINE)
    );
    (Proxy::start(&config).await, backend)
}

/// How often each kind of failure is to have been counted.
#[derive(Default)]
struct Failures(BTreeMap<&'static str, u64>);

impl Failures {
    /// Waits for one more of this kind, and demands that nothing else was counted.
    async fn one_more(&mut self, proxy: &Proxy, reason: &'static str) {
        let count = self.0.entry(reason).or_default();
        *count += 1;
        let labels = [("component", "hostile"), ("reason", reason)];
        let metrics = proxy.until("tidegate_component_failures_total", &labels, *count).await;
        let all: u64 = self.0.values().sum();
        assert_eq!(metrics.count("tidegate_component_failures_total", &[]), all, "after another {reason}");
    }
}

/// A proxy whose one filter is `hostile` with this `config`; `rest` holds more keys of its use.
async fn start(config: &str, rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let filters = format!(
        "filters = [{{ component = \"hostile\", config = {{ {config} }}{rest} }}]\n{}",
        guest_within("hostile", DEADLINE)
    );
    let proxy = Proxy::start(&route(&[&backend.address()], &filters)).await;
    (proxy, backend)
}

async fn exchange(from: &mut Peer, to: &mut Peer, text: &str) {
    from.send(Frame::text(text)).await;
    to.expect(Frame::text(text)).await;
}

#[tokio::test]
async fn a_filter_that_misbehaves_costs_its_connection_a_1011_and_is_counted() {
    let (proxy, backend) = start_all(DEEDS, "message", "").await;
    let mut failures = Failures::default();
    for (deed, reason) in DEEDS {
        let (mut client, mut upstream) = backend.open(proxy.address, &format!("/{deed}")).await;
        exchange(&mut client, &mut upstream, "fine").await;
        client.send(Frame::text("boom")).await;
        assert_eq!(client.frame().await.close_code(), Some(1011), "for {deed}");
        assert_eq!(upstream.frame().await.close_code(), Some(1011), "for {deed}");
        failures.one_more(&proxy, reason).await;
        drop((client, upstream));
        proxy.until("tidegate_closes_total", &[("route", deed), ("by", "proxy"), ("code", "1011")], 1).await;
    }
}

#[tokio::test]
async fn the_neighbours_of_a_filter_that_misbehaves_go_on_with_the_filter() {
    let (proxy, backend) = start_all(DEEDS, "message", "").await;
    let mut failures = Failures::default();
    for (deed, reason) in DEEDS {
        let path = format!("/{deed}");
        let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, &path).await;
        exchange(&mut neighbour, &mut upstream_of_neighbour, "before").await;
        let (mut client, _upstream) = backend.open(proxy.address, &path).await;
        client.send(Frame::text("boom")).await;
        client.expect_close(1011).await;
        failures.one_more(&proxy, reason).await;
        exchange(&mut neighbour, &mut upstream_of_neighbour, "after").await;
        exchange(&mut upstream_of_neighbour, &mut neighbour, "and back").await;
        let (mut newcomer, mut upstream_of_newcomer) = backend.open(proxy.address, &path).await;
        exchange(&mut newcomer, &mut upstream_of_newcomer, "hello").await;
        // It is still the filter that they go through.
        neighbour.send(Frame::text("boom")).await;
        neighbour.expect_close(1011).await;
        failures.one_more(&proxy, reason).await;
    }
}

#[tokio::test]
async fn a_filter_that_may_be_bypassed_leaves_its_connection_open() {
    let (proxy, backend) = start_all(DEEDS, "message", ", on_failure = \"bypass\"").await;
    let mut failures = Failures::default();
    for (deed, reason) in DEEDS {
        let (mut client, mut upstream) = backend.open(proxy.address, &format!("/{deed}")).await;
        for text in ["boom", "after"] {
            client.send(Frame::text(text)).await;
            assert_eq!(upstream.frame().await, Frame::text(text), "for {deed}");
        }
        exchange(&mut upstream, &mut client, "and back").await;
        failures.one_more(&proxy, reason).await;
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
    // The rest is for a machine that is busy with other tests.
    assert!(took < Duration::from_millis(600), "the neighbour waited {took:?}");
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
    let deeds = &[
        ("trap", "trap"),
        ("loop", "deadline"),
        ("hoard", "memory"),
        ("forbidden-header", "invalid_answer"),
        ("broken-header", "invalid_answer"),
        ("refuse-with200", "invalid_answer"),
    ];
    let (proxy, backend) = start_all(deeds, "open", "").await;
    let mut failures = Failures::default();
    for (deed, reason) in deeds {
        let path = format!("/{deed}");
        let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, &path).await;
        let reply = proxy.answer(&Request::upgrade(&path).with("X-Boom", "1")).await;
        assert!(matches!(reply.status, 500 | 503), "{deed} was answered with {reply:?}");
        failures.one_more(&proxy, reason).await;
        exchange(&mut neighbour, &mut upstream_of_neighbour, "still here").await;
        let labels = [("route", *deed), ("outcome", "component_failed")];
        proxy.until("tidegate_handshakes_total", &labels, 1).await;
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
async fn a_filter_that_attaches_too_much_fails_and_the_client_is_told() {
    for deed in ["many-edits", "many-refusal-fields", "long-refusal", "long-attribute"] {
        let (proxy, backend) = start(&format!("do = \"{deed}\", at = \"open\""), "").await;
        let reply = proxy.answer(&Request::upgrade("/").with("X-Boom", "1")).await;
        assert_eq!(reply.status, 503, "{deed}");
        Failures::default().one_more(&proxy, "attachments").await;
        let line = proxy.access_line().await.to_string();
        assert!(line.contains("component_failed"), "{deed}: {line}");
        backend.open(proxy.address, "/").await;
    }
}

#[tokio::test]
async fn a_filter_that_attaches_too_much_may_be_bypassed() {
    let (proxy, backend) = start("do = \"many-edits\", at = \"open\"", ", on_failure = \"bypass\"").await;
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
    assert!(finished.stderr.contains("wasi:keyvalue/batch"), "{finished:?}");
}

#[tokio::test]
async fn an_instance_for_each_connection_works_and_fails_alone() {
    let backend = Backend::bind().await;
    let filters = format!(
        "filters = [{{ component = \"hostile\", config = {{ do = \"trap\" }} }}]\n{}isolation = \"connection\"\n",
        guest_within("hostile", DEADLINE)
    );
    let proxy = Proxy::start(&route(&[&backend.address()], &filters)).await;
    let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("boom")).await;
    client.expect_close(1011).await;
    exchange(&mut neighbour, &mut upstream_of_neighbour, "still here").await;
}

#[tokio::test]
async fn a_filter_that_has_messages_put_outside_of_its_memory_harms_its_connection_alone() {
    let backend = Backend::bind().await;
    let filters = format!("filters = [\"forged\"]\n{}", guest("forged"));
    let proxy = Proxy::start(&route(&[&backend.address()], &filters)).await;
    let (mut neighbour, mut upstream_of_neighbour) = backend.open(proxy.address, "/").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    exchange(&mut client, &mut upstream, "z, from now on").await;
    client.send(Frame::text("Next")).await;
    client.expect_close(1011).await;
    proxy.until("tidegate_component_failures_total", &[("component", "forged")], 1).await;
    exchange(&mut neighbour, &mut upstream_of_neighbour, "Still here").await;
    exchange(&mut upstream_of_neighbour, &mut neighbour, "And back").await;
}
