//! A candidate that serves a share of connections: which ones, and how its trial ends.

use serde_json::{Value, json};
use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Echo, Finished, Frame, Peer, Proxy, Request, guests};

const CONNECTIONS: &str = "tidegate_component_connections";
const ROLLBACKS: &str = "tidegate_candidate_rollbacks_total";
const NEXT: &[(&str, &str)] = &[("route", "main"), ("component", "next")];

/// A route through the counter, labelled `a`; `candidate` are the keys of a candidate labelled `b`, if there is one.
fn counting(address: &str, candidate: &str) -> String {
    let candidate = match candidate {
        "" => String::new(),
        keys => format!(", candidate = {{ component = 'next', config = {{ label = 'b' }}, {keys} }}"),
    };
    let filter = format!("{{ component = 'counter', config = {{ label = 'a' }}{candidate} }}");
    let next = format!("[components.next]\npath = {:?}\ndeadline = '1s'", guests::path("counter"));
    format!("{}\n{}\n{next}\n", route(&[address], &format!("filters = [{filter}]")), guest("counter"))
}

/// A route through the script, which appends `!` to text, with a hostile guest as a canary of all connections.
fn hostile(address: &str, config: &str, rest: &str) -> String {
    let candidate = format!("{{ component = 'hostile', config = {{ {config} }}, canary = '100%', {rest} }}");
    let filter = format!("{{ component = 'script', config = {{ tag = '!' }}, candidate = {candidate} }}");
    format!("{}\n{}\n{}", route(&[address], &format!("filters = [{filter}]")), guest("script"), guest("hostile"))
}

async fn applied(proxy: &Proxy, config: &str) {
    proxy.rewrite(config);
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Waits until so many connections are served by this component.
async fn serves(proxy: &Proxy, component: &str, connections: u64) {
    proxy.until(CONNECTIONS, &[("route", "main"), ("component", component)], connections).await;
}

async fn decide(proxy: &Proxy, decision: &str) {
    let reply = proxy.admin("POST", &format!("/api/v1/routes/main/candidates/next/{decision}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// The only candidate, as the admin API shows it.
async fn shown(proxy: &Proxy) -> Value {
    let candidates: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/candidates").await.body).unwrap();
    let [candidate] = &candidates.as_array().unwrap()[..] else { panic!("{candidates}") };
    candidate.clone()
}

async fn passes((client, upstream): &mut (Peer, Peer), text: &str) {
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text(text)).await;
}

#[tokio::test]
async fn a_canary_serves_new_connections_and_no_open_ones() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "")).await;
    let mut open = backend.open(proxy.address, "/").await;
    applied(&proxy, &counting(&backend.address(), "canary = '100%'")).await;
    let mut newcomer = backend.open(proxy.address, "/").await;
    passes(&mut newcomer, "b1:x").await;
    passes(&mut open, "a1:x").await;
    let expected = json!({
        "route": "main", "filter": "counter", "component": "next", "mode": "canary", "canary": "100%",
        "standing": "on_trial", "connections": 1, "failures": 0, "max_failures": 10, "samples": [],
    });
    assert_eq!(shown(&proxy).await, expected);
    let routes = proxy.admin("GET", "/api/v1/routes").await;
    assert!(routes.body.contains("\"candidate\": \"next\""), "{}", routes.body);
}

#[tokio::test]
async fn a_canary_gets_about_its_share_of_connections() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(&counting(echo.address(), "canary = '20%'")).await;
    let mut clients = Vec::new();
    for _ in 0..250 {
        clients.push(proxy.open("/").await);
    }
    let samples = proxy.until("tidegate_connections_active", &[("route", "main")], 250).await;
    let served = samples.count(CONNECTIONS, NEXT);
    // 50 are expected; one in ten million trials would end outside of these bounds.
    assert!((17..90).contains(&served), "{served} of 250");
}

#[tokio::test]
async fn a_promoted_candidate_has_all_connections_with_their_state() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "canary = '0.01%'")).await;
    let mut open = backend.open(proxy.address, "/").await;
    passes(&mut open, "a1:x").await;
    decide(&proxy, "promote").await;
    serves(&proxy, "next", 1).await;
    passes(&mut open, "b2:x").await;
    let mut newcomer = backend.open(proxy.address, "/").await;
    passes(&mut newcomer, "b1:x").await;
    assert_eq!(shown(&proxy).await["standing"], "promoted");
    proxy.wait_for_log(&["INFO", "promoted by an operator", "next"]).await;

    decide(&proxy, "roll-back").await;
    serves(&proxy, "counter", 2).await;
    passes(&mut open, "a3:x").await;
    passes(&mut newcomer, "a2:x").await;
    assert_eq!(shown(&proxy).await["standing"], "rolled_back");
}

#[tokio::test]
async fn a_decision_with_a_query_is_refused_and_decides_nothing() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(&counting(echo.address(), "canary = '50%'")).await;
    for decision in ["promote", "roll-back"] {
        let target = format!("/api/v1/routes/main/candidates/next/{decision}?dry_run=true");
        assert_eq!(proxy.admin("POST", &target).await.status, 400);
    }
    assert_eq!(shown(&proxy).await["standing"], "on_trial");
    assert_eq!(proxy.admin("GET", "/readyz?verbose").await.status, 400);
}

#[tokio::test]
async fn a_connection_that_is_opening_while_a_candidate_is_promoted_has_it() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "canary = '0.01%'")).await;
    let (request, address) = (Request::upgrade("/"), proxy.address);
    let opening = tokio::spawn(async move { Peer::handshake(address, &request).await.0 });
    let (mut upstream, head) = backend.request().await;
    decide(&proxy, "promote").await;
    upstream.accept(&head, &[]).await;
    let client = opening.await.unwrap();
    serves(&proxy, "next", 1).await;
    passes(&mut (client, upstream), "b1:x").await;
}

#[tokio::test]
async fn a_candidate_that_is_rolled_back_or_removed_gives_its_connections_back_with_their_state() {
    for removed in [false, true] {
        let backend = Backend::bind().await;
        let proxy = Proxy::start(&counting(&backend.address(), "canary = '100%'")).await;
        let mut open = backend.open(proxy.address, "/").await;
        passes(&mut open, "b1:x").await;
        if removed {
            applied(&proxy, &counting(&backend.address(), "")).await;
        } else {
            decide(&proxy, "roll-back").await;
        }
        serves(&proxy, "counter", 1).await;
        passes(&mut open, "a2:x").await;
        let mut newcomer = backend.open(proxy.address, "/").await;
        passes(&mut newcomer, "a1:x").await;
    }
}

#[tokio::test]
async fn a_promoted_candidate_that_becomes_the_filter_goes_on_where_it_stood() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "canary = '0.01%'")).await;
    let mut open = backend.open(proxy.address, "/").await;
    decide(&proxy, "promote").await;
    serves(&proxy, "next", 1).await;
    passes(&mut open, "b1:x").await;
    let config = counting(&backend.address(), "").replace("'counter', config = { label = 'a' }", "'next'");
    applied(&proxy, &config.replace("'next' }", "'next', config = { label = 'c' } }")).await;
    proxy.until("tidegate_component_swaps_total", &[("component", "next")], 2).await;
    passes(&mut open, "c2:x").await;
}

#[tokio::test]
async fn a_rebuilt_candidate_keeps_its_connections_and_a_greater_share_moves_no_open_ones() {
    let backend = Backend::bind().await;
    let config = |label: &str, share: &str| {
        counting(&backend.address(), &format!("canary = '{share}'"))
            .replace("label = 'b'", &format!("label = '{label}'"))
    };
    let proxy = Proxy::start(&config("b", "100%")).await;
    let mut with_candidate = backend.open(proxy.address, "/").await;
    passes(&mut with_candidate, "b1:x").await;
    applied(&proxy, &config("c", "0.01%")).await;
    let mut without = backend.open(proxy.address, "/").await;
    proxy.until("tidegate_component_swaps_total", &[("component", "next")], 1).await;
    passes(&mut with_candidate, "c2:x").await;
    passes(&mut without, "a1:x").await;
    applied(&proxy, &config("c", "100%")).await;
    proxy.until("tidegate_component_swaps_total", &[("component", "next")], 2).await;
    passes(&mut with_candidate, "c3:x").await;
    passes(&mut without, "a2:x").await;
}

#[tokio::test]
async fn a_promotion_outlives_a_new_build_of_the_candidate_and_a_failed_trial_begins_anew_with_one() {
    let backend = Backend::bind().await;
    let config = |address: &str| {
        let own = "[components.next]\npath = \"next.wasm\"\ndeadline = '1s'";
        let text = counting(address, "canary = '0.01%'");
        format!("{}{own}\n", text.split_once("[components.next]").unwrap().0)
    };
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    proxy.place("next.wasm", guests::rebuilt("counter", 0));
    applied(&proxy, &config(&backend.address())).await;
    let mut open = backend.open(proxy.address, "/").await;
    decide(&proxy, "promote").await;
    serves(&proxy, "next", 1).await;
    proxy.place("next.wasm", guests::rebuilt("counter", 1));
    proxy.until("tidegate_component_swaps_total", &[("component", "next")], 2).await;
    assert_eq!(shown(&proxy).await["standing"], "promoted");
    passes(&mut open, "b1:x").await;

    decide(&proxy, "roll-back").await;
    serves(&proxy, "counter", 1).await;
    let generation = proxy.metrics().await.count("tidegate_config_generation", &[]);
    proxy.place("next.wasm", guests::rebuilt("counter", 2));
    proxy.until("tidegate_config_generation", &[], generation + 1).await;
    assert_eq!(shown(&proxy).await["standing"], "on_trial");
    passes(&mut open, "a2:x").await;
}

#[tokio::test]
async fn with_keep_a_decision_is_about_new_connections_only() {
    let backend = Backend::bind().await;
    let config = counting(&backend.address(), "canary = '0.01%'").replace("filters =", "on_change = 'keep'\nfilters =");
    let proxy = Proxy::start(&config).await;
    let mut open = backend.open(proxy.address, "/").await;
    decide(&proxy, "promote").await;
    let mut newcomer = backend.open(proxy.address, "/").await;
    passes(&mut newcomer, "b1:x").await;
    passes(&mut open, "a1:x").await;
}

#[tokio::test]
async fn a_canary_that_fails_too_often_is_rolled_back_by_itself() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&hostile(&backend.address(), "do = 'trap'", "max_failures = 2")).await;
    let mut bystander = backend.open(proxy.address, "/").await;
    passes(&mut bystander, "x").await;
    for _ in 0..2 {
        let (mut client, _upstream) = backend.open(proxy.address, "/").await;
        client.send(Frame::text("boom")).await;
        client.expect_close(1011).await;
    }
    proxy.until(ROLLBACKS, &[("route", "main"), ("component", "hostile")], 1).await;
    let line = proxy.wait_for_log(&["WARN", "it failed too often as a candidate and is rolled back"]).await;
    assert_eq!(
        (&line["component"], &line["place"], &line["filter"]),
        (&json!("hostile"), &json!("main"), &json!("script"))
    );
    serves(&proxy, "script", 1).await;
    let (client, upstream) = &mut bystander;
    client.send(Frame::text("boom")).await;
    upstream.expect(Frame::text("boom!")).await;
    let mut newcomer = backend.open(proxy.address, "/").await;
    passes(&mut newcomer, "x!").await;
    let candidate = shown(&proxy).await;
    assert_eq!((&candidate["standing"], &candidate["failures"]), (&json!("failed"), &json!(2)));
}

#[tokio::test]
async fn a_canary_that_fails_to_open_a_connection_costs_nobody_one() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&hostile(&backend.address(), "do = 'trap', at = 'open'", "max_failures = 'off'")).await;
    let request = Request::upgrade("/").with("x-boom", "yes");
    for failures in 1..20 {
        let accepting = backend.accept();
        let ((mut client, reply), mut upstream) = tokio::join!(Peer::handshake(proxy.address, &request), accepting);
        assert_eq!(reply.status, 101, "{reply:?}");
        client.send(Frame::text("x")).await;
        upstream.expect(Frame::text("x!")).await;
        assert_eq!(shown(&proxy).await["failures"], failures);
    }
}

#[tokio::test]
async fn a_decision_about_what_is_no_candidate_is_refused() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "canary = '5%'")).await;
    for path in ["routes/main/candidates/counter/promote", "routes/other/candidates/next/promote"] {
        let reply = proxy.admin("POST", &format!("/api/v1/{path}")).await;
        assert_eq!((reply.status, reply.body.contains("is no candidate")), (404, true), "{path}: {reply:?}");
    }
    assert_eq!(proxy.admin("GET", "/api/v1/routes/main/candidates/next/promote").await.status, 405);
    assert_eq!(proxy.admin("POST", "/api/v1/routes/main/candidates/next/forget").await.status, 404);
}

#[tokio::test]
async fn the_command_line_shows_candidates_and_decides_about_them() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "canary = '0.01%'")).await;
    let admin = proxy.admin.to_string();
    let run = async |arguments: &[&str]| {
        let arguments = [&["candidate"], arguments, &["--admin", &admin]].concat();
        Finished::run(proxy.directory(), &arguments).await
    };
    let listed = run(&["list"]).await;
    let expected = "main: next for counter, canary of 0.01%: on trial; 0 connections, 0 failures\n";
    assert_eq!((listed.code, listed.stdout.as_str()), (Some(0), expected), "{listed:?}");
    let mut open = backend.open(proxy.address, "/").await;
    let promoted = run(&["promote", "main", "next"]).await;
    assert_eq!(promoted.code, Some(0), "{promoted:?}");
    assert!(promoted.stdout.contains("next has taken the place of counter on route main"), "{promoted:?}");
    serves(&proxy, "next", 1).await;
    passes(&mut open, "b1:x").await;
    assert_eq!(run(&["roll-back", "main", "next"]).await.code, Some(0));
    serves(&proxy, "counter", 1).await;
    let unknown = run(&["promote", "main", "counter"]).await;
    assert_eq!(unknown.code, Some(2), "{unknown:?}");
    assert!(unknown.stderr.contains("\"counter\" is no candidate on route \"main\""), "{unknown:?}");
    assert_eq!(run(&["promote", "a/b", "counter"]).await.code, Some(2));
}

#[tokio::test]
async fn a_candidate_of_another_kind_is_refused_at_its_place() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "")).await;
    let config = counting(&backend.address(), "canary = '5%'")
        .replace("component = 'next', config", "component = 'p2c', config");
    proxy.rewrite(&config);
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 422, "{reply:?}");
    let place = "routes[0].filters[0].candidate";
    assert!(reply.body.contains(place) && reply.body.contains("name a filter here"), "{}", reply.body);
}

#[tokio::test]
async fn no_message_is_lost_repeated_or_reordered_by_decisions_under_traffic() {
    const CLIENTS: usize = 12;
    let echo = Echo::start().await;
    let config = counting(echo.address(), "canary = '50%', max_failures = 'off'");
    let proxy =
        Proxy::start(&config.replace("label = 'a'", "label = 'a '").replace("label = 'b'", "label = 'b '")).await;
    let (stop, _) = tokio::sync::watch::channel(false);
    let mut talks = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let client = proxy.open("/").await;
        talks.spawn(crate::swapping::talk(client, stop.subscribe()));
    }
    for _ in 0..15 {
        decide(&proxy, "promote").await;
        serves(&proxy, "next", CLIENTS as u64).await;
        decide(&proxy, "roll-back").await;
        serves(&proxy, "counter", CLIENTS as u64).await;
    }
    stop.send_replace(true);
    let mut sent = 0;
    while let Some(count) = talks.join_next().await {
        sent += count.unwrap();
    }
    let samples = proxy.metrics().await;
    assert_eq!(samples.count("tidegate_messages_total", &[("from", "client"), ("kind", "text")]), sent);
    assert_eq!(samples.count("tidegate_component_swaps_total", &[("outcome", "failed")]), 0);
}
