//! Takeovers that fail: who serves the connection then, who is asked again and when, and what others notice of it.

use serde_json::json;
use tidegate_tests::config::{guest, route, upstream};
use tidegate_tests::{Backend, Echo, Frame, Peer, Proxy, guests};

const SWAPS: &str = "tidegate_component_swaps_total";
const FAILURES: &str = "tidegate_component_failures_total";
const CONNECTIONS: &str = "tidegate_component_connections";
const QUARANTINED: &str = "tidegate_component_quarantined";

/// A counter with this configuration.
fn counter(config: &str) -> String {
    format!("{{ component = 'counter', config = {{ {config} }} }}")
}

/// The route `main` with these filters, and one that is named `other` at `/other` with a counter of this label.
fn routes(address: &str, filters: &str, other: &str) -> String {
    let other = format!(
        "[[routes]]\nname = 'other'\npath = '/other'\nupstream = 'back'\nfilters = [{}]\n",
        counter(&format!("label = '{other}'"))
    );
    let next = guest("counter").replace("[components.counter]", "[components.next]");
    format!("{}{other}{}{next}", route(&[address], &format!("filters = [{filters}]")), guest("counter"))
}

/// A counter labelled `a`, with a candidate labelled `b` that serves nobody before it is promoted.
fn with_candidate(config: &str) -> String {
    let candidate = format!("{{ component = 'next', config = {{ label = 'b', {config} }}, canary = '0.01%' }}");
    format!("{{ component = 'counter', config = {{ label = 'a' }}, candidate = {candidate} }}")
}

async fn applied(proxy: &Proxy, config: &str) {
    proxy.rewrite(config);
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

async fn decide(proxy: &Proxy, decision: &str) {
    let reply = proxy.admin("POST", &format!("/api/v1/routes/main/candidates/next/{decision}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

async fn open(backend: &Backend, proxy: &Proxy, target: &str, count: usize) -> Vec<(Peer, Peer)> {
    let mut open = Vec::new();
    for _ in 0..count {
        open.push(backend.open(proxy.address, target).await);
    }
    open
}

async fn passes((client, upstream): &mut (Peer, Peer), text: &str) {
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text(text)).await;
}

fn of<'a>(component: &'a str, outcome: &'a str) -> [(&'a str, &'a str); 3] {
    [("route", "main"), ("component", component), ("outcome", outcome)]
}

fn failed<'a>(component: &'a str, reason: &'a str) -> [(&'a str, &'a str); 2] {
    [("component", component), ("reason", reason)]
}

/// Reloads the other route alone, and waits until its connection has followed, which was opened after those of `main`.
async fn change_the_other(proxy: &Proxy, config: &str, swapped: u64) {
    applied(proxy, config).await;
    proxy.until(SWAPS, &[("route", "other"), ("outcome", "swapped")], swapped).await;
}

#[tokio::test]
async fn a_connection_that_stayed_behind_is_not_asked_again_before_its_own_filter_changes() {
    let backend = Backend::bind().await;
    let refusing = with_candidate("refuse_to_resume = true");
    let config = |other: &str| format!("{}max_failures = 8\n", routes(&backend.address(), &refusing, other));
    let proxy = Proxy::start(&config("0")).await;
    let mut behind = open(&backend, &proxy, "/", 6).await;
    let mut other = open(&backend, &proxy, "/other", 1).await;
    decide(&proxy, "promote").await;
    proxy.until(SWAPS, &of("next", "failed"), 6).await;
    for round in 1..=4_u64 {
        change_the_other(&proxy, &config(&round.to_string()), round).await;
        passes(&mut other[0], &format!("{round}{round}:x")).await;
        let samples = proxy.metrics().await;
        assert_eq!(samples.count(FAILURES, &failed("next", "resume")), 6, "after {round} reloads of another route");
        assert_eq!(samples.count(SWAPS, &of("next", "failed")), 6);
        assert_eq!(samples.count(QUARANTINED, &[("route", "main"), ("component", "next")]), 0);
    }
    for connection in &mut behind {
        passes(connection, "a1:x").await;
    }
    let mut newcomer = backend.open(proxy.address, "/").await;
    passes(&mut newcomer, "b1:x").await;
}

#[tokio::test]
async fn a_decision_about_their_own_route_asks_those_that_stayed_behind_again() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&routes(&backend.address(), &with_candidate("refuse_to_resume = true"), "0")).await;
    let mut behind = open(&backend, &proxy, "/", 3).await;
    for asked in [3, 6] {
        decide(&proxy, "promote").await;
        proxy.until(SWAPS, &of("next", "failed"), asked).await;
        decide(&proxy, "roll-back").await;
    }
    for connection in &mut behind {
        passes(connection, "a1:x").await;
    }
}

#[tokio::test]
async fn where_a_successor_traps_another_change_costs_its_connections_nothing() {
    let backend = Backend::bind().await;
    let trapping = with_candidate("fail_to_resume = true");
    let proxy = Proxy::start(&routes(&backend.address(), &trapping, "0")).await;
    let mut behind = open(&backend, &proxy, "/", 2).await;
    let _other = open(&backend, &proxy, "/other", 1).await;
    decide(&proxy, "promote").await;
    proxy.until(SWAPS, &of("next", "failed"), 2).await;
    let mut served = backend.open(proxy.address, "/").await;
    for round in 1..=3_u64 {
        passes(&mut served, &format!("b{round}:x")).await;
        passes(&mut behind[0], &format!("a{round}:x")).await;
        change_the_other(&proxy, &routes(&backend.address(), &trapping, &round.to_string()), round).await;
    }
    assert_eq!(proxy.metrics().await.count(FAILURES, &failed("next", "trap")), 2);
}

#[tokio::test]
async fn who_has_declined_is_not_asked_again_because_another_filter_of_the_chain_changes() {
    let backend = Backend::bind().await;
    let chain = |first: &str, second: &str| {
        routes(&backend.address(), &format!("{}, {}", counter(first), counter(second)), "0")
    };
    let proxy = Proxy::start(&chain("label = 'a'", "label = 'b'")).await;
    let mut open = backend.open(proxy.address, "/").await;
    applied(&proxy, &chain("label = 'c', refuse_to_resume = true", "label = 'b'")).await;
    proxy.until(SWAPS, &of("counter", "failed"), 1).await;
    for label in ["d", "e"] {
        applied(&proxy, &chain("label = 'c', refuse_to_resume = true", &format!("label = '{label}'"))).await;
        let mut newcomer = backend.open(proxy.address, "/").await;
        passes(&mut newcomer, &format!("{label}1:c1:x")).await;
    }
    passes(&mut open, "b1:a1:x").await;
    let samples = proxy.metrics().await;
    assert_eq!(samples.count(FAILURES, &failed("counter", "resume")), 1);
    assert_eq!(samples.count(SWAPS, &of("counter", "failed")), 1);
    applied(&proxy, &chain("label = 'f'", "label = 'e'")).await;
    proxy.until(SWAPS, &of("counter", "swapped"), 2).await;
    passes(&mut open, "e2:f2:x").await;
}

#[tokio::test]
async fn neighbours_have_their_turn_while_many_connections_change() {
    const CHANGING: usize = 60;
    let echo = Echo::start().await;
    let config = |label: &str| {
        let slow = counter(&format!("label = '{label}', slow_to_resume = 10"));
        format!("{}{}", route(&[echo.address()], &format!("filters = [{slow}]")), guest("counter"))
    };
    let proxy = Proxy::start(&config("a")).await;
    // The first on the worker's list, and so the first to change.
    let mut neighbour = proxy.open("/").await;
    let mut changing = Vec::new();
    for _ in 0..CHANGING {
        changing.push(proxy.open("/").await);
    }
    let (changed, over) = tokio::sync::watch::channel(false);
    let talk = tokio::spawn(async move {
        let mut answered = 0;
        loop {
            neighbour.send(Frame::text("x")).await;
            let text = neighbour.frame().await.as_text();
            if *over.borrow() {
                return answered;
            }
            answered += u64::from(text.starts_with('b'));
        }
    });
    applied(&proxy, &config("b")).await;
    proxy.until(SWAPS, &of("counter", "swapped"), CHANGING as u64 + 1).await;
    changed.send_replace(true);
    let answered = talk.await.unwrap();
    assert!(answered >= CHANGING as u64 / 6, "{answered} messages during {CHANGING} takeovers of 10 ms");
}

#[tokio::test]
async fn a_former_version_that_does_not_save_stays() {
    for successor in ["label = 'b'", "label = 'b', refuse_to_resume = true"] {
        let backend = Backend::bind().await;
        let config = |config: &str| routes(&backend.address(), &counter(config), "0");
        let proxy = Proxy::start(&config("label = 'a', fail_to_save = true")).await;
        let mut open = backend.open(proxy.address, "/").await;
        passes(&mut open, "a1:x").await;
        applied(&proxy, &config(successor)).await;
        let samples = proxy.until(SWAPS, &of("counter", "failed"), 1).await;
        assert_eq!(samples.count(SWAPS, &of("counter", "swapped")), 0);
        assert_eq!(samples.count(FAILURES, &failed("counter", "trap")), 1);
        assert_eq!(samples.count(FAILURES, &failed("counter", "resume")), 0, "nobody is to take over");
        // Its instance has trapped, so it begins anew, as each of that instance's connections does.
        passes(&mut open, "a1:x").await;
        passes(&mut open, "a2:x").await;
        assert_eq!(proxy.metrics().await.count(CONNECTIONS, &[("route", "main"), ("generation", "1")]), 1);
    }
}

#[tokio::test]
async fn a_former_version_that_saves_for_nobody_goes_on_serving_all() {
    let backend = Backend::bind().await;
    let config = |config: &str| {
        let budget = format!("{}max_failures = 2\n", guest("counter"));
        format!("{}{budget}", route(&[&backend.address()], &format!("filters = [{}]", counter(config))))
    };
    let proxy = Proxy::start(&config("label = 'a', fail_to_save = true")).await;
    let mut behind = open(&backend, &proxy, "/", 6).await;
    applied(&proxy, &config("label = 'b'")).await;
    proxy.until(SWAPS, &of("counter", "failed"), 6).await;
    for connection in &mut behind {
        passes(connection, "a1:x").await;
    }
}

#[tokio::test]
async fn where_the_former_version_has_failed_its_successor_begins_with_an_empty_state() {
    let backend = Backend::bind().await;
    let hostile = |config: &str| {
        let filter = format!("{{ component = 'hostile', config = {{ {config} }}, on_failure = 'bypass' }}");
        format!("{}{}", route(&[&backend.address()], &format!("filters = [{filter}]")), guest("hostile"))
    };
    let proxy = Proxy::start(&hostile("do = 'trap'")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("boom")).await;
    upstream.expect(Frame::text("boom")).await;
    let mended = hostile("do = 'slow'");
    applied(&proxy, &mended).await;
    let samples = proxy.until(SWAPS, &of("hostile", "reset"), 1).await;
    assert_eq!(samples.count(SWAPS, &[("outcome", "swapped")]), 0);
}

#[tokio::test]
async fn a_mended_version_takes_over_from_one_in_quarantine() {
    let backend = Backend::bind().await;
    let config = |config: &str| {
        let filter = format!("{{ component = 'counter', config = {{ {config} }} }}");
        let filters = format!("filters = [{filter}]\n{}max_failures = 1\n", guest("counter"));
        route(&[&backend.address()], &filters)
    };
    let proxy = Proxy::start(&config("label = 'a', fail_at = 2")).await;
    let mut open = backend.open(proxy.address, "/").await;
    passes(&mut open, "a1:x").await;
    lose(backend.open(proxy.address, "/").await).await;
    proxy.until(QUARANTINED, &[("route", "main"), ("component", "counter")], 1).await;
    applied(&proxy, &config("label = 'b'")).await;
    proxy.until(SWAPS, &of("counter", "reset"), 1).await;
    passes(&mut open, "b1:x").await;
}

/// A counter and then the script, which appends `!`, with a candidate that serves everybody and traps at the second message
/// of a connection.
fn trapping(address: &str, label: &str, on_change: &str) -> String {
    let candidate = "{ component = 'hostile', config = { do = 'trap', nth = 2 }, canary = '100%', max_failures = 2 }";
    let script = format!("{{ component = 'script', config = {{ tag = '!' }}, candidate = {candidate} }}");
    let filters = format!("filters = [{}, {script}]", counter(&format!("label = '{label}'")));
    let guests = ["counter", "script", "hostile"].map(guest).concat();
    let main = format!("[[routes]]\nname = 'main'\nupstream = 'back'\non_change = '{on_change}'\n{filters}\n");
    format!("{}{main}{guests}", upstream("back", &[address], ""))
}

/// Sends two messages, of which at least one is too many.
async fn lose((mut client, _upstream): (Peer, Peer)) {
    client.send_all(&[Frame::text("x"), Frame::text("x")]).await;
    client.expect_close(1011).await;
}

#[tokio::test]
async fn a_failed_canary_gives_its_open_connections_back_whatever_on_change_says() {
    for on_change in ["swap", "keep", "drain"] {
        let backend = Backend::bind().await;
        let proxy = Proxy::start(&trapping(&backend.address(), "a", on_change)).await;
        let mut connections = open(&backend, &proxy, "/", 8).await;
        for connection in &mut connections {
            passes(connection, "a1:x").await;
        }
        for _ in 0..2 {
            lose(connections.pop().unwrap()).await;
        }
        proxy.until(CONNECTIONS, &[("route", "main"), ("component", "script")], 6).await;
        for connection in &mut connections {
            passes(connection, "a2:x!").await;
        }
        assert_eq!(proxy.metrics().await.count(SWAPS, &of("script", "swapped")), 6, "{on_change}");
    }
}

#[tokio::test]
async fn with_keep_a_failed_canary_is_all_that_changes() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&trapping(&backend.address(), "a", "keep")).await;
    let mut open = backend.open(proxy.address, "/").await;
    passes(&mut open, "a1:x").await;
    applied(&proxy, &trapping(&backend.address(), "b", "keep")).await;
    for _ in 0..2 {
        lose(backend.open(proxy.address, "/").await).await;
    }
    proxy.until(CONNECTIONS, &[("route", "main"), ("component", "script")], 1).await;
    passes(&mut open, "a2:x!").await;
    applied(&proxy, &trapping(&backend.address(), "b", "swap")).await;
    proxy.until(SWAPS, &of("counter", "swapped"), 1).await;
    passes(&mut open, "b3:x!").await;
}

#[tokio::test]
async fn with_keep_a_build_of_a_canary_that_was_replaced_gives_its_connections_back_when_it_fails() {
    let backend = Backend::bind().await;
    let config = |rest: &str| {
        let candidate =
            "{ component = 'own', config = { label = 'b', fail_at = 2 }, canary = '100%', max_failures = 2 }";
        let filter = format!("{{ component = 'counter', config = {{ label = 'a' }}, candidate = {candidate} }}");
        let own = "[components.own]\npath = 'own.wasm'\ndeadline = '1s'\n";
        let filters = format!("on_change = 'keep'\nfilters = [{filter}]\n{}{own}{rest}", guest("counter"));
        format!("watch = false\n{}", route(&[&backend.address()], &filters))
    };
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    proxy.place("own.wasm", guests::rebuilt("counter", 0));
    applied(&proxy, &config("")).await;
    let mut connections = open(&backend, &proxy, "/", 3).await;
    for connection in &mut connections {
        passes(connection, "b1:x").await;
    }
    proxy.place("own.wasm", guests::rebuilt("counter", 1));
    applied(&proxy, &config("")).await;
    for connection in connections.drain(..2) {
        lose(connection).await;
    }
    proxy.until(SWAPS, &of("counter", "swapped"), 1).await;
    passes(&mut connections[0], "a1:x").await;
    let mut newcomer = backend.open(proxy.address, "/").await;
    passes(&mut newcomer, "b1:x").await;
}

#[tokio::test]
async fn a_failed_canary_that_does_not_even_save_gives_its_connections_back_all_the_same() {
    let backend = Backend::bind().await;
    let candidate = "{ component = 'next', config = { label = 'b', fail_at = 2, fail_to_save = true }, \
                     canary = '100%', max_failures = 1 }";
    let filter = format!("{{ component = 'counter', config = {{ label = 'a' }}, candidate = {candidate} }}");
    let proxy = Proxy::start(&routes(&backend.address(), &filter, "0")).await;
    let mut kept = backend.open(proxy.address, "/").await;
    passes(&mut kept, "b1:x").await;
    lose(backend.open(proxy.address, "/").await).await;
    proxy.until(SWAPS, &of("counter", "reset"), 1).await;
    passes(&mut kept, "a1:x").await;
    let candidates = proxy.admin("GET", "/api/v1/candidates").await.body;
    let candidates: serde_json::Value = serde_json::from_str(&candidates).unwrap();
    assert_eq!(candidates[0]["standing"], json!("failed"));
}
