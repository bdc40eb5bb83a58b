//! Decisions about a candidate among reloads: what they hold for, and what becomes of a trial that goes on.

use serde_json::{Value, json};
use tidegate_tests::config::{guest, guest_within, route};
use tidegate_tests::{Backend, Frame, Peer, Proxy, guests, refused_address};

const COMPILES: &str = "tidegate_component_compiles_total";
const CONNECTIONS: &str = "tidegate_component_connections";
const GENERATION: &str = "tidegate_config_generation";
const RESUMES: &[(&str, &str)] = &[("component", "next"), ("reason", "resume")];

/// A route through the counter, labelled `a`, with a candidate from `next.wasm` that is tried with these keys. Files are
/// only looked at when a reload is asked for.
fn counting(address: &str, trial: &str, rest: &str) -> String {
    let candidate = format!("{{ component = 'next', config = {{ label = 'b' }}, {trial} }}");
    let filter = format!("{{ component = 'counter', config = {{ label = 'a' }}, candidate = {candidate} }}");
    let next = "[components.next]\npath = 'next.wasm'\ndeadline = '1s'\n";
    let filters = format!("filters = [{filter}]\n{}{next}", guest("counter"));
    format!("watch = false\n{}{rest}", route(&[address], &filters))
}

/// A further route, whose filter takes a second to accept its configuration.
fn slow_to_build() -> String {
    let filter = "{ component = 'hostile', config = { do = 'slow', at = 'configure', milliseconds = 1000 } }";
    let further = format!("[[routes]]\nname = 'slow'\npath = '/slow'\nupstream = 'back'\nfilters = [{filter}]\n");
    format!("{further}{}", guest_within("hostile", "10s"))
}

/// A proxy with that route and the first build of the candidate.
async fn start(config: &str) -> Proxy {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    proxy.place("next.wasm", guests::rebuilt("counter", 0));
    applied(&proxy, config).await;
    proxy
}

async fn applied(proxy: &Proxy, config: &str) {
    proxy.rewrite(config);
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// Decides, and gives the standing that is answered.
async fn decide(proxy: &Proxy, decision: &str) -> Value {
    let reply = proxy.admin("POST", &format!("/api/v1/routes/main/candidates/next/{decision}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    serde_json::from_str::<Value>(&reply.body).unwrap()["standing"].clone()
}

/// The standing and the failures of the only candidate.
async fn standing(proxy: &Proxy) -> (Value, Value) {
    let candidates: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/candidates").await.body).unwrap();
    let [candidate] = &candidates.as_array().unwrap()[..] else { panic!("{candidates}") };
    (candidate["standing"].clone(), candidate["failures"].clone())
}

async fn serves(proxy: &Proxy, component: &str, connections: u64) {
    proxy.until(CONNECTIONS, &[("route", "main"), ("component", component)], connections).await;
}

async fn passes((client, upstream): &mut (Peer, Peer), text: &str) {
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text(text)).await;
}

/// Reloads this configuration and decides while it is being built; gives what is answered to the decision.
async fn decide_while_building(proxy: &Proxy, config: &str, decision: &str) -> Value {
    let metrics = proxy.metrics().await;
    let (compiled, before) = (metrics.count(COMPILES, &[]), metrics.count(GENERATION, &[]));
    proxy.rewrite(config);
    let reloading = proxy.reload();
    let deciding = async {
        // The new build of the candidate, and the component that is slow to take its configuration.
        proxy.until(COMPILES, &[], compiled + 2).await;
        let answered = decide(proxy, decision).await;
        (answered, proxy.metrics().await.count(GENERATION, &[]))
    };
    let (reply, (answered, generation)) = tokio::join!(reloading, deciding);
    assert_eq!((reply.status, generation), (200, before), "the decision has waited for the reload: {reply:?}");
    answered
}

#[tokio::test]
async fn a_decision_during_a_reload_holds_for_the_build_that_the_reload_puts_in_force() {
    for (first, decision, expected, then) in [
        (None, "promote", "promoted", "b2:x"),
        (Some("promote"), "roll-back", "rolled_back", "a2:x"),
        (None, "roll-back", "rolled_back", "a2:x"),
        (Some("roll-back"), "promote", "promoted", "b2:x"),
    ] {
        let backend = Backend::bind().await;
        let config = counting(&backend.address(), "canary = '0.01%'", "");
        let proxy = start(&config).await;
        let mut open = backend.open(proxy.address, "/").await;
        if let Some(first) = first {
            decide(&proxy, first).await;
        }
        serves(&proxy, if first == Some("promote") { "next" } else { "counter" }, 1).await;
        passes(&mut open, if first == Some("promote") { "b1:x" } else { "a1:x" }).await;

        proxy.place("next.wasm", guests::rebuilt("counter", 1));
        let answered = decide_while_building(&proxy, &format!("{config}{}", slow_to_build()), decision).await;

        assert_eq!(answered, expected);
        assert_eq!(standing(&proxy).await.0, expected, "{first:?}, then {decision} during the reload");
        serves(&proxy, if expected == "promoted" { "next" } else { "counter" }, 1).await;
        passes(&mut open, then).await;
    }
}

#[tokio::test]
async fn a_decision_during_a_reload_that_changes_how_a_candidate_is_tried_holds() {
    let backend = Backend::bind().await;
    let proxy = start(&counting(&backend.address(), "canary = '0.01%'", "")).await;
    proxy.place("next.wasm", guests::rebuilt("counter", 1));
    let config = counting(&backend.address(), "canary = '0.02%'", &slow_to_build());
    assert_eq!(decide_while_building(&proxy, &config, "promote").await, "promoted");
    assert_eq!(standing(&proxy).await.0, "promoted");
    let mut newcomer = backend.open(proxy.address, "/").await;
    passes(&mut newcomer, "b1:x").await;
}

#[tokio::test]
async fn a_decision_before_a_rejected_reload_is_over_holds_as_any_other() {
    let backend = Backend::bind().await;
    let config = counting(&backend.address(), "canary = '0.01%'", "");
    let proxy = start(&config).await;
    let compiled = proxy.metrics().await.count(COMPILES, &[]);
    proxy.place("next.wasm", guests::rebuilt("counter", 1));
    proxy.rewrite(&format!("{config}{}", slow_to_build().replace("'configure'", "'configure', nth = -1")));
    let deciding = async {
        proxy.until(COMPILES, &[], compiled + 2).await;
        decide(&proxy, "promote").await
    };
    let (reply, answered) = tokio::join!(proxy.reload(), deciding);
    assert_eq!((reply.status, answered), (422, json!("promoted")), "{reply:?}");
    assert_eq!(standing(&proxy).await.0, "promoted");
}

#[tokio::test]
async fn a_trial_goes_on_where_only_on_failure_of_its_filter_changes() {
    let backend = Backend::bind().await;
    let failing = |on_failure: &str| {
        counting(&backend.address(), "canary = '100%', max_failures = 3", "")
            .replace("label = 'b'", "label = 'b', fail_at = 2")
            .replace("candidate =", &format!("on_failure = '{on_failure}', candidate ="))
    };
    let proxy = start(&failing("close")).await;
    let mut open = backend.open(proxy.address, "/").await;
    passes(&mut open, "b1:x").await;
    let (mut lost, mut its_upstream) = backend.open(proxy.address, "/").await;
    lost.send_all(&[Frame::text("x"), Frame::text("x")]).await;
    its_upstream.expect_close(1011).await;
    assert_eq!(standing(&proxy).await, (json!("on_trial"), json!(1)));

    applied(&proxy, &failing("bypass")).await;
    assert_eq!(standing(&proxy).await, (json!("on_trial"), json!(1)));
    // It is the candidate still, and what it says about failures has changed.
    proxy.until("tidegate_component_swaps_total", &[("component", "next"), ("outcome", "swapped")], 1).await;
    passes(&mut open, "b1:x").await;
    passes(&mut open, "x").await;
    decide(&proxy, "roll-back").await;
    applied(&proxy, &failing("close")).await;
    assert_eq!(standing(&proxy).await, (json!("rolled_back"), json!(2)));
    assert_eq!(proxy.metrics().await.count("tidegate_component_failures_total", RESUMES), 0);
}
