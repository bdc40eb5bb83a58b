//! A component that failed too often is called no more, until an operator or a reload says otherwise.

use serde_json::Value;
use tidegate_tests::config::{guest, guest_within, route};
use tidegate_tests::{Backend, Echo, Finished, Frame, Peer, Proxy, Request, Samples};

const FAILURES: &str = "tidegate_component_failures_total";
const QUARANTINED: &str = "tidegate_component_quarantined";
const HOSTILE: &[(&str, &str)] = &[("route", "main"), ("component", "hostile")];

/// A route whose filter traps at `boom`; its entry goes on with `budgets`.
fn config(back: &str, config: &str, on_failure: &str, budgets: &str) -> String {
    let filters = format!(
        "filters = [{{ component = \"hostile\", config = {{ {config} }}, on_failure = \"{on_failure}\" }}]\n{}{budgets}\n",
        guest("hostile")
    );
    route(&[back], &filters)
}

async fn start(on_failure: &str, budgets: &str) -> (Proxy, Echo) {
    let echo = Echo::start().await;
    let proxy = Proxy::start(&config(echo.address(), "do = \"trap\"", on_failure, budgets)).await;
    (proxy, echo)
}

async fn echoes(client: &mut Peer, text: &str) {
    client.send(Frame::text(text)).await;
    client.expect(Frame::text(text)).await;
}

/// Opens a connection and has the filter trap on it.
async fn boom(proxy: &Proxy) {
    let mut client = proxy.open("/").await;
    client.send(Frame::text("boom")).await;
    client.expect_close(1011).await;
}

/// The places where `/api/v1/components` shows a component in quarantine.
async fn shown(proxy: &Proxy, component: &str) -> Value {
    let components: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/components").await.body).unwrap();
    let components = components.as_array().unwrap();
    components.iter().find(|shown| shown["name"] == component).unwrap()["quarantined"].clone()
}

fn quarantine_lines(proxy: &Proxy, level: &str) -> usize {
    let lines = proxy.log();
    lines.iter().filter(|line| line["level"] == level && line.to_string().contains("quarantine")).count()
}

fn is_quarantined(metrics: &Samples, labels: &[(&str, &str)]) -> u64 {
    metrics.count(QUARANTINED, labels)
}

#[tokio::test]
async fn a_filter_that_failed_too_often_refuses_handshakes_and_ends_connections_until_it_is_restored() {
    let (proxy, _echo) = start("close", "max_failures = 3").await;
    let mut neighbour = proxy.open("/").await;
    let mut other = proxy.open("/").await;
    for _ in 0..2 {
        boom(&proxy).await;
    }
    echoes(&mut neighbour, "not yet").await;
    assert_eq!(is_quarantined(&proxy.metrics().await, HOSTILE), 0);
    boom(&proxy).await;
    proxy.until(QUARANTINED, HOSTILE, 1).await;

    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    neighbour.send(Frame::text("anybody?")).await;
    neighbour.expect_close(1011).await;
    proxy.until(FAILURES, &[("component", "hostile"), ("reason", "quarantine")], 2).await;
    proxy.until(FAILURES, &[("component", "hostile"), ("reason", "trap")], 3).await;
    let line = proxy.wait_for_log(&["\"WARN\"", "is in quarantine"]).await;
    assert_eq!((&line["component"], &line["place"]), (&"hostile".into(), &"main".into()), "{line}");
    assert_eq!(shown(&proxy, "hostile").await, serde_json::json!(["main"]));

    let restored = proxy.admin("POST", "/api/v1/components/hostile/restore").await;
    assert_eq!((restored.status, restored.body.contains("\"lifted\": 1")), (200, true), "{restored:?}");
    proxy.until(QUARANTINED, HOSTILE, 0).await;
    proxy.wait_for_log(&["\"INFO\"", "quarantine is lifted", "an operator"]).await;
    assert_eq!(shown(&proxy, "hostile").await, serde_json::json!([]));
    // One that was silent meanwhile has noticed nothing.
    echoes(&mut other, "still here").await;
    let mut client = proxy.open("/").await;
    echoes(&mut client, "hello").await;
    assert_eq!((quarantine_lines(&proxy, "WARN"), quarantine_lines(&proxy, "INFO")), (1, 1));
    // It is still the filter that they go through.
    boom(&proxy).await;
}

#[tokio::test]
async fn failures_on_all_workers_count_together() {
    let echo = Echo::start().await;
    let text = config(echo.address(), "do = \"trap\"", "close", "max_failures = 4");
    let proxy = Proxy::with_workers(2, &text).await;
    let mut clients = Vec::new();
    // Each goes to the worker with the fewest.
    for _ in 0..4 {
        clients.push(proxy.open("/").await);
    }
    for client in &mut clients {
        client.send(Frame::text("boom")).await;
        client.expect_close(1011).await;
    }
    proxy.until(QUARANTINED, HOSTILE, 1).await;
    for _ in 0..4 {
        assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    }
}

#[tokio::test]
async fn a_filter_that_may_be_bypassed_is_skipped_in_quarantine() {
    let (proxy, _echo) = start("bypass", "max_failures = 1").await;
    let mut neighbour = proxy.open("/").await;
    let mut client = proxy.open("/").await;
    echoes(&mut client, "boom").await;
    proxy.until(QUARANTINED, HOSTILE, 1).await;
    let mut newcomer = proxy.open("/").await;
    for text in ["boom", "after"] {
        echoes(&mut neighbour, text).await;
        echoes(&mut newcomer, text).await;
    }
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.count(FAILURES, &[("component", "hostile"), ("reason", "trap")]), 1);
    assert_eq!(metrics.count(FAILURES, &[("component", "hostile"), ("reason", "quarantine")]), 2);
}

#[tokio::test]
async fn however_often_a_filter_fails_it_is_called_unless_the_configuration_says_otherwise() {
    let (proxy, _echo) = start("close", "").await;
    for _ in 0..30 {
        boom(&proxy).await;
    }
    assert_eq!(is_quarantined(&proxy.metrics().await, HOSTILE), 0);
    echoes(&mut proxy.open("/").await, "fine").await;
}

#[tokio::test]
async fn a_message_that_is_too_large_puts_nothing_in_quarantine() {
    let (proxy, _echo) = start("close", "max_failures = 1\nmax_message_size = \"1KiB\"").await;
    for _ in 0..3 {
        let mut client = proxy.open("/").await;
        client.send(Frame::text("x".repeat(2000))).await;
        client.expect_close(1009).await;
    }
    proxy.until(FAILURES, &[("component", "hostile"), ("reason", "message_size")], 3).await;
    assert_eq!(is_quarantined(&proxy.metrics().await, HOSTILE), 0);
    echoes(&mut proxy.open("/").await, "fine").await;
}

#[tokio::test]
async fn a_reload_that_changes_the_use_lifts_its_quarantine_and_another_does_not() {
    let (proxy, echo) = start("close", "max_failures = 1").await;
    boom(&proxy).await;
    proxy.until(QUARANTINED, HOSTILE, 1).await;
    let same = config(echo.address(), "do = \"trap\"", "close", "max_failures = 1");
    proxy.rewrite(&format!("drain_time = \"3s\"\n{same}"));
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(is_quarantined(&proxy.metrics().await, HOSTILE), 1);
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);

    proxy.rewrite(&config(echo.address(), "do = \"loop\"", "close", "max_failures = 1"));
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(is_quarantined(&proxy.metrics().await, HOSTILE), 0);
    proxy.wait_for_log(&["\"INFO\"", "quarantine is lifted", "a reload"]).await;
    echoes(&mut proxy.open("/").await, "fine").await;
}

#[tokio::test]
async fn a_candidate_in_quarantine_that_is_rolled_back_and_promoted_again_is_shown_as_such_all_the_time() {
    let echo = Echo::start().await;
    let candidate = "{ component = \"hostile\", config = { do = \"trap\" }, canary = \"0.01%\" }";
    let filters = format!("filters = [{{ component = \"script\", candidate = {candidate} }}]\n");
    let text = format!("{filters}{}{}max_failures = 1\n", guest("script"), guest("hostile"));
    let proxy = Proxy::start(&route(&[echo.address()], &text)).await;
    let decide = async |decision: &str| {
        let reply = proxy.admin("POST", &format!("/api/v1/routes/main/candidates/hostile/{decision}")).await;
        assert_eq!(reply.status, 200, "{reply:?}");
    };
    decide("promote").await;
    boom(&proxy).await;
    proxy.until(QUARANTINED, HOSTILE, 1).await;
    decide("roll-back").await;
    let mut client = proxy.open("/").await;
    echoes(&mut client, "the filter has the place").await;
    let further = "[[routes]]\nname = \"other\"\npath = \"/other\"\nupstream = \"back\"\n";
    proxy.rewrite(&format!("{}{further}", route(&[echo.address()], &text)));
    assert_eq!(proxy.reload().await.status, 200);
    decide("promote").await;

    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    assert_eq!(shown(&proxy, "hostile").await, serde_json::json!(["main"]));
    assert_eq!(is_quarantined(&proxy.metrics().await, HOSTILE), 1);
    assert_eq!(quarantine_lines(&proxy, "INFO"), 0, "nothing has lifted it");
    let restored = proxy.admin("POST", "/api/v1/components/hostile/restore").await;
    assert!(restored.body.contains("\"lifted\": 1"), "{restored:?}");
    assert_eq!(is_quarantined(&proxy.metrics().await, HOSTILE), 0);
}

#[tokio::test]
async fn a_predicate_in_quarantine_refuses_as_one_that_fails() {
    let echo = Echo::start().await;
    let rest =
        format!("when = [{{ component = \"hostile-predicate\" }}]\n{}max_failures = 2\n", guest("hostile-predicate"));
    let proxy = Proxy::start(&route(&[echo.address()], &rest)).await;
    echoes(&mut proxy.open("/").await, "fine").await;
    for _ in 0..2 {
        assert_eq!(proxy.answer(&Request::upgrade("/").with("X-Boom", "1")).await.status, 503);
    }
    proxy.until(QUARANTINED, &[("route", "main"), ("component", "hostile-predicate")], 1).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    let restored = proxy.admin("POST", "/api/v1/components/hostile-predicate/restore").await;
    assert_eq!(restored.status, 200, "{restored:?}");
    echoes(&mut proxy.open("/").await, "fine").await;
}

#[tokio::test]
async fn a_balancer_in_quarantine_is_replaced_by_a_uniform_choice() {
    let (one, other) = (Echo::named("one ").await, Echo::named("other ").await);
    let endpoints = [&one, &other].map(|echo| format!("{{ url = \"ws://{}\" }}", echo.address())).join(", ");
    let config = format!(
        "[upstreams.back]\nendpoints = [{endpoints}]\n\
         balance = {{ component = \"hostile-balancer\", config = {{ do = \"loop\" }} }}\n\
         [[routes]]\nname = \"main\"\nupstream = \"back\"\n{}max_failures = 2\n",
        guest_within("hostile-balancer", "20ms")
    );
    let proxy = Proxy::start(&config).await;
    let mut reached = Vec::new();
    for _ in 0..6 {
        let mut client = proxy.open("/").await;
        client.send(Frame::text("")).await;
        reached.push(client.frame().await.as_text());
    }
    reached.sort();
    assert_eq!(reached, ["one ", "one ", "one ", "other ", "other ", "other "]);
    let labels = [("route", ""), ("component", "hostile-balancer")];
    let metrics = proxy.until(QUARANTINED, &labels, 1).await;
    assert_eq!(metrics.count(FAILURES, &[("component", "hostile-balancer"), ("reason", "deadline")]), 2);
    assert_eq!(metrics.count(FAILURES, &[("component", "hostile-balancer"), ("reason", "quarantine")]), 4);
    assert_eq!(shown(&proxy, "hostile-balancer").await, serde_json::json!(["back"]));
}

#[tokio::test]
async fn the_command_line_restores_a_component_by_its_name() {
    let (proxy, _echo) = start("close", "max_failures = 1").await;
    boom(&proxy).await;
    proxy.until(QUARANTINED, HOSTILE, 1).await;
    let admin = proxy.admin.to_string();
    let restore = |name| {
        let (directory, admin) = (proxy.directory().to_owned(), admin.clone());
        async move { Finished::run(&directory, &["component", "restore", name, "--admin", &admin]).await }
    };
    let finished = restore("hostile").await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "1 use of hostile is called again\n"));
    proxy.until(QUARANTINED, HOSTILE, 0).await;
    let finished = restore("hostile").await;
    assert_eq!((finished.code, finished.stdout.as_str()), (Some(0), "no use of hostile was in quarantine\n"));
    let finished = restore("unknown").await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("no component is named \"unknown\""), "{finished:?}");
}

#[tokio::test]
async fn a_use_on_another_route_is_called_as_before() {
    let backend = Backend::bind().await;
    let route = |name: &str| {
        format!(
            "[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"back\"\n\
             filters = [{{ component = \"hostile\", config = {{ do = \"trap\" }} }}]\n"
        )
    };
    let config = format!(
        "{}{}{}{}max_failures = 1\n",
        tidegate_tests::config::upstream("back", &[&backend.address()], ""),
        route("one"),
        route("other"),
        guest("hostile")
    );
    let proxy = Proxy::start(&config).await;
    let (mut client, _upstream) = backend.open(proxy.address, "/one").await;
    client.send(Frame::text("boom")).await;
    client.expect_close(1011).await;
    proxy.until(QUARANTINED, &[("route", "one"), ("component", "hostile")], 1).await;
    assert_eq!(is_quarantined(&proxy.metrics().await, &[("route", "other"), ("component", "hostile")]), 0);
    assert_eq!(proxy.answer(&Request::upgrade("/one")).await.status, 503);
    let (mut client, mut upstream) = backend.open(proxy.address, "/other").await;
    client.send(Frame::text("fine")).await;
    upstream.expect(Frame::text("fine")).await;
}
