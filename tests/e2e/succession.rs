//! What an operator asks for while an upgrade is under way: done in a way that lasts, or refused with the reason.

use serde_json::{Value, json};
use tidegate_tests::config::{guest, guest_within, route};
use tidegate_tests::{Backend, Finished, Frame, Proxy, Reply, Signal};

const GENERATION: &str = "tidegate_config_generation";
const PROMOTE: &str = "/api/v1/routes/main/candidates/next/promote";

/// A route through the counter under this label, with a candidate for it; reloaded when that is asked for.
fn counting(backend: &Backend, label: &str, rest: &str) -> String {
    let candidate = "{ component = 'next', config = { label = 'b' }, shadow = true }";
    let filter = format!("{{ component = 'counter', config = {{ label = '{label}' }}, candidate = {candidate} }}");
    let next = guest("counter").replace("[components.counter]", "[components.next]");
    let filters = format!("filters = [{filter}]\n{}{next}", guest("counter"));
    format!("workers = 1\nwatch = false\ndrain_time = 0\n{}{rest}", route(&[&backend.address()], &filters))
}

/// A further route, whose filter takes two seconds to accept its configuration.
fn slow_to_start() -> String {
    let filter = "{ component = 'hostile', config = { do = 'slow', at = 'configure', milliseconds = 2000 } }";
    let further = format!("[[routes]]\nname = 'slow'\npath = '/slow'\nupstream = 'back'\nfilters = [{filter}]\n");
    format!("{further}{}", guest_within("hostile", "10s"))
}

fn json(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}

/// Begins an upgrade to a process that waits in its start until [`go_on`] or [`give_up`].
async fn begin_upgrade(proxy: &Proxy) {
    proxy.place_pipe("gate");
    let program = tidegate_tests::tidegate();
    proxy.install(&format!("test \"$(cat gate)\" = go && exec {} \"$@\"", program.display()));
    proxy.signal(Signal::USR2);
    proxy.wait_for_log(&["a new process starts"]).await;
}

/// Opening the pipe waits for its reader.
async fn say(proxy: &Proxy, word: &'static str) {
    let gate = proxy.directory().join("gate");
    tokio::task::spawn_blocking(move || std::fs::write(gate, word)).await.unwrap().unwrap();
}

async fn go_on(proxy: &Proxy) {
    say(proxy, "go").await;
    proxy.wait_for_log(&["a new process has taken over"]).await;
}

async fn give_up(proxy: &Proxy) {
    say(proxy, "stop").await;
    proxy.wait_for_log(&["the upgrade has failed"]).await;
}

/// What a new connection gets in front of its text.
async fn served(proxy: &Proxy, backend: &Backend) -> String {
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("x")).await;
    String::from_utf8(upstream.receive().await.unwrap().payload.to_vec()).unwrap()
}

#[tokio::test]
async fn a_reload_that_the_new_process_would_not_know_of_is_refused() {
    let backend = Backend::bind().await;
    let slow = slow_to_start();
    let mut proxy = Proxy::upgradable(&counting(&backend, "a", &slow)).await;
    let begun = proxy.log().iter().filter(|line| line["message"] == "room for connections").count();
    assert_eq!(begun, 1);
    proxy.signal(Signal::USR2);
    // The new process has read the files, and builds.
    proxy.wait_for_lines(2, "room for connections").await;
    proxy.rewrite(&counting(&backend, "c", &slow));

    for path in ["/api/v1/reload", "/api/v1/reload?dry_run=true"] {
        let reply = proxy.admin("POST", path).await;
        let answer = json(&reply);
        let reason = answer["reason"].as_str().unwrap();
        assert_eq!((reply.status, &answer["outcome"], &answer["generation"]), (409, &json!("refused"), &json!(1)));
        assert!(reason.contains("an upgrade is under way"), "{reason}");
    }

    proxy.wait_for_log(&["a new process has taken over"]).await;
    assert_eq!(proxy.exit_code().await, Some(0));
    assert_eq!(served(&proxy, &backend).await, "a1:x");
    let applied = json(&proxy.reload().await);
    assert_eq!((&applied["outcome"], &applied["generation"]), (&json!("applied"), &json!(2)));
    assert_eq!(served(&proxy, &backend).await, "c1:x");
}

#[tokio::test]
async fn what_would_be_lost_is_refused_until_the_upgrade_has_failed() {
    let backend = Backend::bind().await;
    let proxy = Proxy::upgradable(&counting(&backend, "a", "")).await;
    begin_upgrade(&proxy).await;
    let roll_back = PROMOTE.replace("promote", "roll-back");
    for (method, path) in
        [("POST", "/api/v1/reload"), ("POST", PROMOTE), ("POST", &roll_back), ("PUT", "/api/v1/log?level=debug")]
    {
        let reply = proxy.admin(method, path).await;
        assert_eq!(reply.status, 409, "{path}: {reply:?}");
        assert!(reply.body.contains("an upgrade is under way"), "{path}: {reply:?}");
    }
    assert_eq!(json(&proxy.admin("GET", "/api/v1/log").await)["level"], "info");
    assert_eq!(json(&proxy.admin("GET", "/api/v1/candidates").await)[0]["standing"], "on_trial");

    give_up(&proxy).await;

    assert_eq!(proxy.admin("POST", PROMOTE).await.status, 200);
    assert_eq!(proxy.admin("PUT", "/api/v1/log?level=debug").await.status, 200);
    proxy.rewrite(&counting(&backend, "c", ""));
    assert_eq!(json(&proxy.reload().await)["outcome"], "applied");
}

#[tokio::test]
async fn the_command_line_says_why_it_is_refused() {
    let backend = Backend::bind().await;
    let proxy = Proxy::upgradable(&counting(&backend, "a", "")).await;
    begin_upgrade(&proxy).await;
    let admin = proxy.admin.to_string();
    for command in [&["reload"][..], &["candidate", "promote", "main", "next"], &["log-level", "debug"]] {
        let finished = Finished::run(proxy.directory(), &[command, &["--admin", &admin]].concat()).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.stderr.contains("an upgrade is under way"), "{finished:?}");
    }
}

#[tokio::test]
async fn a_sighup_meanwhile_is_a_reload_of_the_process_that_takes_over() {
    let backend = Backend::bind().await;
    let mut proxy = Proxy::upgradable(&counting(&backend, "a", &slow_to_start())).await;
    proxy.signal(Signal::USR2);
    proxy.wait_for_lines(2, "room for connections").await;
    proxy.rewrite(&counting(&backend, "c", &slow_to_start()));
    proxy.signal(Signal::HUP);
    proxy.wait_for_log(&["a new process has taken over"]).await;
    assert_eq!(proxy.exit_code().await, Some(0));
    proxy.until(GENERATION, &[], 2).await;
    assert_eq!(served(&proxy, &backend).await, "c1:x");
}

#[tokio::test]
async fn a_sighup_meanwhile_is_a_reload_of_this_process_if_the_upgrade_fails() {
    let backend = Backend::bind().await;
    let proxy = Proxy::upgradable(&counting(&backend, "a", "")).await;
    begin_upgrade(&proxy).await;
    proxy.rewrite(&counting(&backend, "c", ""));
    proxy.signal(Signal::HUP);
    proxy.wait_for_log(&["the reload of this SIGHUP follows it"]).await;
    assert_eq!(proxy.metrics().await.count(GENERATION, &[]), 1);
    give_up(&proxy).await;
    proxy.until(GENERATION, &[], 2).await;
    assert_eq!(served(&proxy, &backend).await, "c1:x");
}

#[tokio::test]
async fn a_file_that_changes_meanwhile_is_in_force_in_the_process_that_takes_over() {
    let backend = Backend::bind().await;
    let watched = |label| counting(&backend, label, &slow_to_start()).replace("watch = false", "watch = true");
    let mut proxy = Proxy::upgradable(&watched("a")).await;
    proxy.signal(Signal::USR2);
    proxy.wait_for_lines(2, "room for connections").await;
    proxy.rewrite(&watched("c"));
    proxy.wait_for_log(&["a new process has taken over"]).await;
    assert_eq!(proxy.exit_code().await, Some(0));
    proxy.until(GENERATION, &[], 2).await;
    assert_eq!(served(&proxy, &backend).await, "c1:x");
}

#[tokio::test]
async fn a_drain_of_the_process_gives_the_upgrade_up() {
    let backend = Backend::bind().await;
    let mut proxy = Proxy::upgradable(&counting(&backend, "a", "")).await;
    begin_upgrade(&proxy).await;
    assert_eq!(proxy.admin("POST", "/api/v1/drain").await.status, 202);
    assert_eq!(proxy.exit_code().await, Some(0));
    proxy.wait_for_log(&["the upgrade is given up"]).await;
}

#[tokio::test]
async fn a_drain_of_a_route_closes_connections_meanwhile() {
    let backend = Backend::bind().await;
    let proxy = Proxy::upgradable(&counting(&backend, "a", "")).await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    begin_upgrade(&proxy).await;
    assert_eq!(proxy.admin("POST", "/api/v1/drain?route=main").await.status, 202);
    client.expect_close(1012).await;
    go_on(&proxy).await;
}
