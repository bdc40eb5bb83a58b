//! A candidate that shadows its filter: what it sees, what is told of it, and that nobody notices.

use serde_json::{Value, json};
use tidegate_tests::config::{guest, guest_within, route};
use tidegate_tests::{Backend, Deflating, Frame, Inflating, Proxy, Request, Samples, Window, guests};

const DECISIONS: &str = "tidegate_candidate_decisions_total";

/// A route through one filter, a table, with this candidate beside it; both guests are of the suite.
fn shadowed(address: &str, filter: &str, candidate: &str, guests: &[&str]) -> String {
    let filters = format!("filters = [{{ {filter}, candidate = {{ {candidate}, shadow = true }} }}]");
    let entries: Vec<_> = guests.iter().map(|name| guest(name)).collect();
    format!("{}\n{}", route(&[address], &filters), entries.join("\n"))
}

/// The counter with these labels as filter and as candidate.
fn counters(address: &str, filter: &str, candidate: &str, rest: &str) -> String {
    let counter = |label: &str| format!("component = 'counter', config = {{ label = '{label}' }}");
    shadowed(address, &counter(filter), &format!("{}{rest}", counter(candidate)), &["counter"])
}

fn labels(outcome: &str) -> [(&str, &str); 2] {
    [("route", "main"), ("outcome", outcome)]
}

/// Waits until so many decisions have agreed, diverged and failed in all.
async fn told(proxy: &Proxy, [agreed, diverged, failed]: [u64; 3]) -> Samples {
    proxy.until(DECISIONS, &labels("diverged"), diverged).await;
    proxy.until(DECISIONS, &labels("failed"), failed).await;
    proxy.until(DECISIONS, &labels("agreed"), agreed).await
}

async fn shown(proxy: &Proxy) -> Value {
    let candidates: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/candidates").await.body).unwrap();
    let [candidate] = &candidates.as_array().unwrap()[..] else { panic!("{candidates}") };
    candidate.clone()
}

#[tokio::test]
async fn a_shadow_that_says_the_same_agrees_on_every_message_and_on_the_handshake() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counters(&backend.address(), "a", "a", "")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let frames: Vec<_> = (0..50).map(|_| Frame::text("x")).collect();
    for frame in frames {
        client.send(frame).await;
    }
    for count in 1..=50 {
        upstream.expect(Frame::text(format!("a{count}:x"))).await;
    }
    told(&proxy, [51, 0, 0]).await;
    assert_eq!(shown(&proxy).await["decisions"], json!({ "agreed": 51, "diverged": 0, "failed": 0, "skipped": 0 }));
    // What it does not select is none of its business.
    upstream.send(Frame::text("back")).await;
    client.expect(Frame::text("back")).await;
    told(&proxy, [51, 0, 0]).await;
}

#[tokio::test]
async fn what_a_shadow_decides_is_dropped_and_its_divergence_counted() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counters(&backend.address(), "a", "b", "")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    for count in 1..=3 {
        client.send(Frame::text("x")).await;
        upstream.expect(Frame::text(format!("a{count}:x"))).await;
    }
    told(&proxy, [1, 3, 0]).await;
    assert_eq!(shown(&proxy).await["samples"], json!([]), "nobody has asked for samples");
}

#[tokio::test]
async fn the_last_messages_on_which_a_shadow_diverged_are_shown_if_that_is_wanted() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counters(&backend.address(), "a", "b", ", samples = 2")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    for count in 1..=3 {
        client.send(Frame::text(format!("number {count}"))).await;
        upstream.expect(Frame::text(format!("a{count}:number {count}"))).await;
    }
    told(&proxy, [1, 3, 0]).await;
    let samples = shown(&proxy).await["samples"].clone();
    let expected = |count: u64| {
        json!({
            "connection": samples[0]["connection"],
            "message": { "origin": "client", "kind": "text", "size": 8, "payload": format!("number {count}") },
            "filter": format!("replace: a{count}:number {count}"),
            "candidate": format!("replace: b{count}:number {count}"),
        })
    };
    assert_eq!(samples, json!([expected(2), expected(3)]));
}

#[tokio::test]
async fn a_shadow_sees_what_its_filter_sees_in_a_chain_and_from_both_sides() {
    let backend = Backend::bind().await;
    let counter = "{ component = 'counter', config = { label = 'a' } }";
    let script = |tag: &str| format!("component = 'script', config = {{ tag = '{tag}' }}");
    let second = format!("{{ {}, candidate = {{ {}, shadow = true, samples = 9 }} }}", script("!"), script("?"));
    let filters = format!("filters = [{counter}, {second}]\n{}\n{}", guest("counter"), guest("script"));
    let proxy = Proxy::start(&route(&[&backend.address()], &filters)).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("a1:x!")).await;
    upstream.send(Frame::text("y")).await;
    client.expect(Frame::text("y!")).await;
    client.send(Frame::text("drop:")).await;
    client.send(Frame::binary("binary")).await;
    upstream.expect(Frame::text("a2:drop:!")).await;
    upstream.expect(Frame::binary("binary")).await;
    // The handshake and the binary message.
    told(&proxy, [2, 3, 0]).await;
    let samples = shown(&proxy).await["samples"].clone();
    let said: Vec<_> =
        samples.as_array().unwrap().iter().map(|it| (&it["message"]["payload"], &it["candidate"])).collect();
    let expected = [("a1:x", "replace: a1:x?"), ("y", "replace: y?"), ("a2:drop:", "replace: a2:drop:?")];
    assert_eq!(said, expected.map(|(payload, said)| (json!(payload), json!(said))).each_ref().map(|(a, b)| (a, b)));
}

#[tokio::test]
async fn messages_that_only_the_shadow_wants_are_compared_with_letting_them_pass() {
    let backend = Backend::bind().await;
    let filter = "component = 'script', config = { from_client = 'off', from_upstream = 'off' }";
    let proxy = Proxy::start(&shadowed(
        &backend.address(),
        filter,
        "component = 'script', config = { drop_size = 4 }",
        &["script"],
    ))
    .await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("four")).await;
    upstream.expect(Frame::text("four")).await;
    upstream.send(Frame::text("other")).await;
    client.expect(Frame::text("other")).await;
    told(&proxy, [2, 1, 0]).await;
}

#[tokio::test]
async fn messages_that_only_the_filter_wants_are_compared_as_if_the_shadow_let_them_pass() {
    let backend = Backend::bind().await;
    let candidate = "component = 'script', config = { from_client = 'off', from_upstream = 'off' }";
    let filter = "component = 'script', config = { drop_size = 4 }";
    let proxy = Proxy::start(&shadowed(&backend.address(), filter, candidate, &["script"])).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("four")).await;
    client.send(Frame::text("other")).await;
    upstream.expect(Frame::text("other")).await;
    told(&proxy, [2, 1, 0]).await;
}

#[tokio::test]
async fn after_its_filter_has_closed_a_connection_a_shadow_sees_nothing_more() {
    let backend = Backend::bind().await;
    let script = "component = 'script'";
    let proxy = Proxy::start(&shadowed(&backend.address(), script, script, &["script"])).await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send_all(&[Frame::text("a"), Frame::text("close:4000:enough"), Frame::text("b")]).await;
    client.expect_close(4000).await;
    told(&proxy, [3, 0, 0]).await;
}

#[tokio::test]
async fn a_handshake_that_the_shadow_refuses_or_marks_otherwise_diverges_and_goes_on() {
    let candidates = [
        ("refuse = 401", "admit", "refuse with 401"),
        ("lease_seconds = 9, attributes = [['k', 'secret']]", "admit", "admit, attributes k, lease 9 s"),
    ];
    for (config, filter_said, candidate_said) in candidates {
        let backend = Backend::bind().await;
        let candidate = format!("component = 'script', config = {{ {config} }}, samples = 1");
        let config = shadowed(&backend.address(), "component = 'script'", &candidate, &["script"]);
        let proxy = Proxy::start(&config).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send(Frame::text("x")).await;
        upstream.expect(Frame::text("x")).await;
        proxy.until(DECISIONS, &labels("diverged"), 1).await;
        let sample = shown(&proxy).await["samples"][0].clone();
        let expected =
            json!({ "connection": sample["connection"], "filter": filter_said, "candidate": candidate_said });
        assert_eq!(sample, expected);
    }
}

#[tokio::test]
async fn a_message_is_on_its_way_before_the_shadow_sees_it() {
    let backend = Backend::bind().await;
    let candidate = "component = 'hostile', config = { do = 'loop' }, shadow = true";
    let filters = format!("filters = [{{ component = 'script', candidate = {{ {candidate} }} }}]");
    let entries = format!("{}\n{}", guest("script"), guest_within("hostile", "3s"));
    let proxy = Proxy::start(&format!("{}\n{entries}", route(&[&backend.address()], &filters))).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("boom")).await;
    upstream.expect(Frame::text("boom")).await;
    let failures = [("component", "hostile"), ("reason", "deadline")];
    // The loop goes on for three seconds yet.
    assert_eq!(proxy.metrics().await.count("tidegate_component_failures_total", &failures), 0);
    proxy.until("tidegate_component_failures_total", &failures, 1).await;
    told(&proxy, [1, 0, 1]).await;
}

#[tokio::test]
async fn a_failing_shadow_is_rolled_back_and_no_connection_notices() {
    let backend = Backend::bind().await;
    let candidate = "component = 'hostile', config = { do = 'trap' }, max_failures = 3";
    let filter = "component = 'script', config = { tag = '!' }";
    let proxy = Proxy::start(&shadowed(&backend.address(), filter, candidate, &["script", "hostile"])).await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(backend.open(proxy.address, "/").await);
    }
    for (client, upstream) in &mut open {
        for text in ["boom", "more"] {
            client.send(Frame::text(text)).await;
            upstream.expect(Frame::text(format!("{text}!"))).await;
        }
    }
    let hostile = [("route", "main"), ("component", "hostile")];
    proxy.until("tidegate_candidate_rollbacks_total", &hostile, 1).await;
    // Five handshakes and three messages; what came later, it was not asked about.
    told(&proxy, [5, 0, 3]).await;
    assert_eq!(shown(&proxy).await["standing"], "failed");
    proxy.until("tidegate_component_connections", &hostile, 0).await;
    for (client, upstream) in &mut open {
        client.send(Frame::text("still here")).await;
        upstream.expect(Frame::text("still here!")).await;
    }
    told(&proxy, [5, 0, 3]).await;
}

#[tokio::test]
async fn a_shadow_of_new_connections_ends_with_its_trial_and_a_promoted_one_takes_the_state_over() {
    let backend = Backend::bind().await;
    let config = counters(&backend.address(), "a", "b", "")
        .replace("component = 'counter', config = { label = 'b' }", "component = 'next', config = { label = 'b' }");
    let next = format!("[components.next]\npath = {:?}\ndeadline = '1s'", guests::path("counter"));
    let proxy = Proxy::start(&format!("{config}\n{next}")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("a1:x")).await;
    told(&proxy, [1, 1, 0]).await;
    let serves = |component| [("route", "main"), ("component", component)];
    proxy.until("tidegate_component_connections", &serves("next"), 1).await;

    let reply = proxy.admin("POST", "/api/v1/routes/main/candidates/next/promote").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    proxy.until("tidegate_component_connections", &serves("counter"), 0).await;
    proxy.until("tidegate_component_connections", &serves("next"), 1).await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("b2:x")).await;
    told(&proxy, [1, 1, 0]).await;
}

#[tokio::test]
async fn a_shadow_reads_compressed_messages_and_they_go_on_as_they_came() {
    let backend = Backend::bind().await;
    let filter = "component = 'script', config = { from_client = 'off', from_upstream = 'off' }";
    let candidate = "component = 'script', config = { from_upstream = 'off' }, samples = 1";
    let proxy = Proxy::start(&shadowed(&backend.address(), filter, candidate, &["script"])).await;
    let offer = Request::upgrade("/").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let accepted = ["Sec-WebSocket-Extensions: permessage-deflate"];
    let (mut client, mut upstream) = backend.open_with(proxy.address, &offer, &accepted).await;
    let (mut deflating, mut inflating) = (Deflating::new(Window::LARGEST), Inflating::new(Window::LARGEST));
    for text in ["the same text", "the same text", "drop:it"] {
        let frame = deflating.text(text);
        client.send(frame.clone()).await;
        let got = upstream.frame().await;
        assert_eq!(got, frame);
        assert_eq!(inflating.text(&got), text);
    }
    told(&proxy, [3, 1, 0]).await;
    assert_eq!(shown(&proxy).await["samples"][0]["candidate"], "drop");
}
