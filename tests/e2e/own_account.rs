//! What filters do on their own account: timers, attributes that they set while a connection is open, and leases that they
//! renew.

use std::time::Duration;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Peer, Proxy};
use tokio::time::{Instant, timeout};

/// A configuration whose one route has the guest `ringer`, with `rest` of its use.
fn ringing(address: &str, config: &str, rest: &str) -> String {
    let filters = format!("filters = [{{ component = \"ringer\", config = {{ {config} }}{rest} }}]");
    format!("{}\n{}", route(&[address], &filters), guest("ringer"))
}

async fn open(config: &str, rest: &str) -> (Proxy, Backend, Peer, Peer) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&ringing(&backend.address(), config, rest)).await;
    let (client, upstream) = backend.open(proxy.address, "/").await;
    (proxy, backend, client, upstream)
}

#[tokio::test]
async fn a_timer_comes_once_and_not_before_its_time_and_what_it_sends_reaches_both_peers() {
    let (_proxy, _backend, mut client, mut upstream) = open("tag = 'late'", "").await;
    let started = Instant::now();
    client.send(Frame::text("after 120 1")).await;
    client.expect(Frame::text("late!")).await;
    assert!(started.elapsed() >= Duration::from_millis(120));
    upstream.expect(Frame::text("late!")).await;
    // The next that comes is this one.
    client.send(Frame::text("after 150 2")).await;
    assert_eq!(client.expect_close(4002).await, "time is up");
    assert_eq!(upstream.expect_close(4002).await, "time is up");
}

#[tokio::test]
async fn a_timer_that_is_set_at_the_handshake_comes_while_nobody_says_anything() {
    let (_proxy, _backend, mut client, mut upstream) = open("tag = 'first', on_open = [20, 1]", "").await;
    client.expect(Frame::text("first!")).await;
    upstream.expect(Frame::text("first!")).await;
}

#[tokio::test]
async fn a_timer_that_was_taken_back_or_set_anew_does_not_come_at_its_former_time() {
    let (_proxy, _backend, mut client, _upstream) = open("", "").await;
    client.send(Frame::text("after 30 2")).await;
    client.send(Frame::text("cancel 2")).await;
    client.send(Frame::text("after 40 3")).await;
    client.send(Frame::text("after 600000 3")).await;
    client.send(Frame::text("after 90 1")).await;
    client.expect(Frame::text("!")).await;
}

#[tokio::test]
async fn what_a_timer_sends_stands_between_messages() {
    let (_proxy, _backend, mut client, mut upstream) = open("", "").await;
    client.send(Frame::text("after 20 1")).await;
    // A message to the client that has begun: its second half comes after the timer's time.
    let whole = upstream.encode(&Frame::text("x".repeat(1000)));
    let (start, rest) = whole.split_at(500);
    upstream.write(start).await;
    upstream.expect(Frame::text("!")).await;
    upstream.write(rest).await;
    client.expect(Frame::text("x".repeat(1000))).await;
    client.expect(Frame::text("!")).await;
}

#[tokio::test]
async fn timers_wait_for_a_peer_that_does_not_take_what_they_send() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&ringing(&backend.address(), "", "")).await;
    let before = proxy.resident();
    let accept = backend.accept();
    let client = async {
        let mut client = Peer::connect_with_small_buffers(proxy.address).await;
        client.exchange(&tidegate_tests::Request::upgrade("/")).await;
        client
    };
    let (mut client, _upstream) = tokio::join!(client, accept);
    client.send(Frame::text("after 1 4")).await;
    // 20 MB, if nothing held them back. Meanwhile another connection has its turns.
    let (mut other, mut its_upstream) = backend.open(proxy.address, "/").await;
    for _ in 0..20 {
        other.send(Frame::text("after 20 1")).await;
        other.expect(Frame::text("!")).await;
        its_upstream.expect(Frame::text("!")).await;
    }
    assert!(proxy.peak_resident() < before + (12 << 20), "{} of {before}", proxy.peak_resident());
    for number in 1..=300 {
        let frame = client.frame().await;
        assert!(frame.payload.starts_with(format!("{number}:").as_bytes()), "{number}");
    }
}

#[tokio::test]
async fn timers_that_come_again_at_once_let_other_connections_have_their_turn() {
    let (proxy, backend, mut client, _upstream) = open("tag = 'other'", "").await;
    client.send_all(&["after 0 5", "after 0 6"].map(Frame::text)).await;
    let (mut other, mut its_upstream) = backend.open(proxy.address, "/").await;
    for _ in 0..5 {
        other.send(Frame::text("x")).await;
        its_upstream.expect(Frame::text("x")).await;
    }
}

#[tokio::test]
async fn a_filter_that_fails_when_its_time_has_come_closes_the_connection_or_is_bypassed() {
    let (proxy, _backend, mut client, mut upstream) = open("", "").await;
    client.send(Frame::text("after 10 3")).await;
    client.expect_close(1011).await;
    upstream.expect_close(1011).await;
    proxy.wait_for_log(&["as told: it fails"]).await;
    let (_proxy, _backend, mut client, mut upstream) = open("", ", on_failure = 'bypass'").await;
    client.send(Frame::text("after 10 3")).await;
    // It is asked about this before or after, and about the next no more.
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("x")).await;
    let bypassed = async {
        loop {
            client.send(Frame::text("cancel 7")).await;
            client.send(Frame::text("y")).await;
            if upstream.frame().await.payload == *b"cancel 7" {
                return;
            }
        }
    };
    timeout(Duration::from_secs(10), bypassed).await.expect("it is still asked");
}

#[tokio::test]
async fn more_timers_or_attributes_than_a_session_may_have_are_a_failure_of_the_filter() {
    for (said, reason) in [("many 17", "trap"), ("attributes 257", "attachments")] {
        let (proxy, _backend, mut client, _upstream) = open("", "").await;
        client.send(Frame::text("many 16")).await;
        client.send(Frame::text(said)).await;
        client.expect_close(1011).await;
        let labels = [("component", "ringer"), ("reason", reason)];
        proxy.until("tidegate_component_failures_total", &labels, 1).await;
    }
}

#[tokio::test]
async fn timers_end_with_the_version_that_set_them_and_its_successor_sets_its_own() {
    let (proxy, backend, mut client, mut upstream) = open("tag = 'old', on_open = [200, 1]", "").await;
    proxy.rewrite(&ringing(&backend.address(), "tag = 'new', on_resume = [400, 1]", ""));
    assert_eq!(proxy.reload().await.status, 200);
    client.expect(Frame::text("new!")).await;
    upstream.expect(Frame::text("new!")).await;
}

#[tokio::test]
async fn attributes_that_are_set_while_a_connection_is_open_are_shown_and_logged() {
    let (proxy, _backend, mut client, mut upstream) = open("", "").await;
    client.send_all(&["attribute user ann", "attribute room 7", "attribute room 8", "x"].map(Frame::text)).await;
    upstream.expect(Frame::text("x")).await;
    let listed: serde_json::Value =
        serde_json::from_str(&proxy.admin("GET", "/api/v1/connections").await.body).unwrap();
    assert_eq!(listed["connections"][0]["attributes"], serde_json::json!({ "user": "ann", "room": "8" }));
    client.send(Frame::close(1000, "")).await;
    upstream.expect_close(1000).await;
    upstream.send(Frame::close(1000, "")).await;
    let line = proxy.wait_for_access(|line| line["code"] == 1000).await;
    assert_eq!(line["attributes"], serde_json::json!({ "user": "ann", "room": "8" }));
}

#[tokio::test]
async fn a_lease_that_is_renewed_lasts_longer_and_runs_out_all_the_same() {
    let (_proxy, _backend, mut client, _upstream) = open("lease_seconds = 1", "").await;
    let started = Instant::now();
    client.send(Frame::text("lease 2")).await;
    client.expect_close(1008).await;
    assert!(started.elapsed() >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_token_is_not_taken_where_the_route_has_no_rules_for_it() {
    let (_proxy, _backend, mut client, _upstream) = open("", "").await;
    client.send(Frame::text("token abc")).await;
    client.expect(Frame::text("the route has no token rules")).await;
}

/// A route whose connections two filters see, of which the second may be missing, and one with a lease of a second.
fn leased(address: &str, second: &str) -> String {
    let first = "{ component = \"ringer\", config = { tag = 'first' } }";
    let lasting = "[[routes]]\nname = \"lasting\"\npath = \"/lasting\"\nupstream = \"back\"\n\
                   filters = [{ component = \"ringer\", config = { lease_seconds = 1 } }]";
    format!("{}\n{lasting}\n{}", route(&[address], &format!("filters = [{first}{second}]")), guest("ringer"))
}

#[tokio::test]
async fn the_lease_of_a_filter_that_is_gone_closes_nothing() {
    let backend = Backend::bind().await;
    let second = ", { component = \"ringer\", config = { lease_seconds = 1 } }";
    let proxy = Proxy::start(&leased(&backend.address(), second)).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    proxy.rewrite(&leased(&backend.address(), ""));
    assert_eq!(proxy.reload().await.status, 200);
    // A lease that was given later on the same worker has run out: so would have the first.
    let (mut other, _its_upstream) = backend.open(proxy.address, "/lasting").await;
    other.expect_close(1008).await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("x")).await;
}

#[tokio::test]
async fn the_lease_of_a_filter_that_is_bypassed_closes_the_connection_all_the_same() {
    let (_proxy, _backend, mut client, mut upstream) = open("lease_seconds = 1", ", on_failure = 'bypass'").await;
    client.send(Frame::text("after 0 3")).await;
    client.expect_close(1008).await;
    upstream.expect_close(1008).await;
}
