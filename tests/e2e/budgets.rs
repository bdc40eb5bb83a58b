//! What a component may use, and that more is a failure with its own name and nothing worse.

use tidegate_tests::config::{guest, guest_within, route, upstream};
use tidegate_tests::{Backend, Echo, Frame, Peer, Proxy, Request};

const FAILURES: &str = "tidegate_component_failures_total";

#[tokio::test]
async fn a_message_beyond_max_message_size_closes_its_connection_and_costs_neighbours_nothing() {
    let echo = Echo::start().await;
    let filters = format!("filters = [\"counter\"]\n{}max_message_size = \"1KiB\"\n", guest("counter"));
    let proxy = Proxy::start(&route(&[echo.address()], &filters)).await;
    let (mut neighbour, mut client) = (proxy.open("/").await, proxy.open("/").await);
    neighbour.send(Frame::text("x".repeat(1024))).await;
    neighbour.expect(Frame::text(format!("1:{}", "x".repeat(1024)))).await;
    client.send(Frame::text("x".repeat(1025))).await;
    client.expect_close(1009).await;
    neighbour.send(Frame::text("and")).await;
    neighbour.expect(Frame::text("2:and")).await;
    proxy.until(FAILURES, &[("component", "counter"), ("reason", "message_size")], 1).await;
    let line = proxy.wait_for_log(&["message_size", "1025 bytes"]).await;
    assert_eq!((&line["component"], &line["place"]), (&"counter".into(), &"main".into()), "{line}");
}

#[tokio::test]
async fn a_message_as_large_as_a_route_lets_pass_fits_into_a_filter_with_its_answer() {
    let echo = Echo::start().await;
    let filters = format!("filters = [\"counter\"]\nmax_message_size = \"16MiB\"\n{}", guest_within("counter", "10s"));
    let proxy = Proxy::start(&route(&[echo.address()], &filters)).await;
    let (mut neighbour, mut client) = (proxy.open("/").await, proxy.open("/").await);
    neighbour.send(Frame::text("one")).await;
    neighbour.expect(Frame::text("1:one")).await;
    let large = "x".repeat(15 << 20);
    client.send(Frame::text(&large)).await;
    let answer = client.frame().await;
    assert!(answer == Frame::text(format!("1:{large}")), "{answer:?}");
    neighbour.send(Frame::text("two")).await;
    neighbour.expect(Frame::text("2:two")).await;
}

#[tokio::test]
async fn a_message_that_leaves_no_room_for_an_answer_is_too_large_and_costs_neighbours_nothing() {
    let echo = Echo::start().await;
    let filters = format!("filters = [\"counter\"]\n{}max_memory = \"4MiB\"\n", guest("counter"));
    let proxy = Proxy::start(&route(&[echo.address()], &filters)).await;
    let (mut neighbour, mut client) = (proxy.open("/").await, proxy.open("/").await);
    neighbour.send(Frame::text("one")).await;
    neighbour.expect(Frame::text("1:one")).await;
    client.send(Frame::text("x".repeat(1 << 20))).await;
    client.expect(Frame::text(format!("1:{}", "x".repeat(1 << 20)))).await;
    client.send(Frame::text("x".repeat(3 << 20))).await;
    client.expect_close(1009).await;
    neighbour.send(Frame::text("two")).await;
    neighbour.expect(Frame::text("2:two")).await;
    proxy.until(FAILURES, &[("component", "counter"), ("reason", "message_size")], 1).await;
    proxy.wait_for_log(&["message_size", "max_memory"]).await;
}

#[tokio::test]
async fn a_message_beyond_max_message_size_passes_a_filter_that_may_be_bypassed() {
    let echo = Echo::start().await;
    let filters = format!(
        "filters = [{{ component = \"counter\", on_failure = \"bypass\" }}]\n{}max_message_size = \"1KiB\"\n",
        guest("counter")
    );
    let proxy = Proxy::start(&route(&[echo.address()], &filters)).await;
    let mut client = proxy.open("/").await;
    client.send(Frame::text("x".repeat(1025))).await;
    client.expect(Frame::text("x".repeat(1025))).await;
    proxy.until(FAILURES, &[("component", "counter"), ("reason", "message_size")], 1).await;
}

#[tokio::test]
async fn what_a_filter_attaches_may_have_max_attachment_size_bytes() {
    let backend = Backend::bind().await;
    let filters =
        "filters = [{ component = \"access\", config = { tokens = [{ token = \"s3cret\", user = \"ann\" }] } }]";
    let request = Request::upgrade("/").with("Authorization", "Bearer s3cret");
    for (limits, status) in
        [("max_attachment_size = \"7B\"", 101), ("max_attachment_size = \"6B\"", 503), ("max_attachments = 1", 101)]
    {
        let limits = format!("{filters}\n[components.access]\ndeadline = \"1s\"\n{limits}\n");
        let proxy = Proxy::start(&route(&[&backend.address()], &limits)).await;
        if status == 101 {
            backend.open_with(proxy.address, &request, &[]).await;
        } else {
            assert_eq!(proxy.answer(&request).await.status, status);
            let labels = [("component", "access"), ("reason", "attachments")];
            proxy.until("tidegate_component_failures_total", &labels, 1).await;
        }
    }
}

#[tokio::test]
async fn an_answer_within_max_reply_size_passes_and_one_beyond_it_does_not() {
    let echo = Echo::start().await;
    let filters = format!("filters = [\"replacer\"]\n{}max_reply_size = \"1KiB\"\n", guest("replacer"));
    let proxy = Proxy::start(&route(&[echo.address()], &filters)).await;
    let mut client = proxy.open("/").await;
    client.send(Frame::binary(vec![7; 1024])).await;
    client.expect(Frame::binary(vec![7; 1024])).await;
    client.send(Frame::binary(vec![7; 1025])).await;
    client.expect_close(1011).await;
    proxy.until(FAILURES, &[("component", "replacer"), ("reason", "reply_size")], 1).await;
    proxy.wait_for_log(&["reply_size", "1025 bytes", "\"place\":\"main\""]).await;
}

#[tokio::test]
async fn a_log_line_is_cut_and_a_flood_of_them_is_dropped_and_counted() {
    let backend = Backend::bind().await;
    let filters = format!(
        "filters = [{{ component = \"hostile\", config = {{ do = \"oversized-log\" }} }}]\n{}log_lines_per_second = 3\n",
        guest("hostile")
    );
    let proxy = Proxy::start(&route(&[&backend.address()], &filters)).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("boom")).await;
    upstream.expect(Frame::text("boom")).await;
    let line = proxy.wait_for_log(&["xxxx"]).await;
    let text = line["message"].as_str().unwrap();
    assert!(text.len() < 5000 && text.ends_with("bytes cut)"), "{line}");
    let dropped =
        proxy.metrics().await.count("tidegate_component_log_lines_dropped_total", &[("component", "hostile")]);
    // A second brings three more.
    assert!((11..=17).contains(&dropped), "{dropped}");
}

/// A route through the counter, whose instances serve one connection each; the keys of its use go on with `rest`.
fn isolated(address: &str, instances: usize, rest: &str) -> String {
    format!(
        "max_isolated_instances = {instances}\n{}[[routes]]\nname = \"main\"\nupstream = \"back\"\n\
         filters = [{{ component = \"counter\", {rest} }}]\n{}isolation = \"connection\"\n",
        upstream("back", &[address], ""),
        guest_within("counter", "1s")
    )
}

/// A proxy for one instance that serves one connection.
async fn start_with_one_instance(on_failure: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let config = isolated(&backend.address(), 1, &format!("on_failure = \"{on_failure}\""));
    (Proxy::start(&config).await, backend)
}

async fn instances(proxy: &Proxy) -> [u64; 3] {
    let samples = proxy.metrics().await;
    ["free", "connection", "shadow"].map(|holder| samples.count("tidegate_isolated_instances", &[("holder", holder)]))
}

const NO_INSTANCE: &[(&str, &str)] = &[("component", "counter"), ("reason", "isolated_instances")];

#[tokio::test]
async fn a_connection_for_which_there_is_no_instance_is_refused_until_another_has_ended() {
    let (proxy, backend) = start_with_one_instance("close").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    proxy.until(FAILURES, NO_INSTANCE, 1).await;
    proxy.until("tidegate_handshakes_total", &[("route", "main"), ("outcome", "component_failed")], 1).await;
    proxy.wait_for_log(&["isolated_instances", "max_isolated_instances", "\"place\":\"main\""]).await;
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("1:still here")).await;
    drop((client, upstream));
    proxy.until("tidegate_connections_active", &[], 0).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("hello")).await;
    upstream.expect(Frame::text("1:hello")).await;
}

#[tokio::test]
async fn a_connection_for_which_there_is_no_instance_may_go_without() {
    let (proxy, backend) = start_with_one_instance("bypass").await;
    let (_client, _upstream) = backend.open(proxy.address, "/").await;
    let (mut other, mut upstream) = tokio::join!(Peer::open(proxy.address, "/"), backend.accept());
    proxy.until(FAILURES, NO_INSTANCE, 1).await;
    other.send(Frame::text("uncounted")).await;
    upstream.expect(Frame::text("uncounted")).await;
}

#[tokio::test]
async fn a_filter_changes_under_open_connections_although_all_instances_are_taken() {
    let backend = Backend::bind().await;
    let config = |label: &str| isolated(&backend.address(), 2, &format!("config = {{ label = \"{label}\" }}"));
    let proxy = Proxy::start(&config("a")).await;
    let mut connections = [backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await];
    assert_eq!(instances(&proxy).await, [0, 2, 0]);
    for (round, label) in ["b", "c", "d"].into_iter().enumerate() {
        proxy.rewrite(&config(label));
        assert_eq!(proxy.reload().await.status, 200);
        let swapped = [("component", "counter"), ("outcome", "swapped")];
        proxy.until("tidegate_component_swaps_total", &swapped, 2 * (round as u64 + 1)).await;
        for (client, upstream) in &mut connections {
            client.send(Frame::text("x")).await;
            upstream.expect(Frame::text(format!("{label}{}:x", round + 1))).await;
        }
    }
    assert_eq!(instances(&proxy).await, [0, 2, 0]);
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503, "a change has made room for nobody");
    drop(connections);
    proxy.until("tidegate_isolated_instances", &[("holder", "free")], 2).await;
}

#[tokio::test]
async fn a_shadow_has_an_instance_only_as_long_as_no_connection_needs_it() {
    let backend = Backend::bind().await;
    let shadow = "candidate = { component = \"counter\", shadow = true }";
    let proxy = Proxy::start(&isolated(&backend.address(), 4, shadow)).await;
    let decisions = |outcome| [("route", "main"), ("outcome", outcome)];
    let mut connections = vec![backend.open(proxy.address, "/").await];
    proxy.until("tidegate_candidate_decisions_total", &decisions("agreed"), 1).await;
    assert_eq!(instances(&proxy).await, [2, 1, 1]);
    // One instance is left to the next connection.
    connections.push(backend.open(proxy.address, "/").await);
    proxy.until("tidegate_candidate_decisions_total", &decisions("skipped"), 1).await;
    assert_eq!(instances(&proxy).await, [1, 2, 1]);
    for _ in 0..2 {
        connections.push(backend.open(proxy.address, "/").await);
    }
    for (client, upstream) in &mut connections {
        client.send(Frame::text("x")).await;
        upstream.expect(Frame::text("1:x")).await;
    }
    // Those of the two others, and the shadow that was there.
    proxy.until("tidegate_candidate_decisions_total", &decisions("skipped"), 4).await;
    assert_eq!(instances(&proxy).await, [0, 4, 0]);
    assert_eq!(proxy.metrics().await.count(FAILURES, &[]), 0);
}
