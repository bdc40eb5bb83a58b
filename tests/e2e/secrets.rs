//! Secrets: what stands in the configuration of components is shown to who wrote it, at a terminal, and to nobody else.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Finished, Proxy, refused_address};

/// Refused configurations that hold `hush`, and what a terminal shows of each.
fn refused() -> Vec<(String, &'static str)> {
    let address = refused_address();
    let filter = |filter: &str| route(&[&address], &format!("filters = [{filter}]\n{}", guest("script")));
    let url = |url: &str| route(&[&address], "").replace(&format!("ws://{address}"), url);
    vec![
        (filter(r#"{ component = "access", config = { tokens = "hush" } }"#), "found the text \"hush\""),
        (
            filter(r#"{ component = "access", config = { tokens = [{ token = "hush", user = 7 }] } }"#),
            "expected text, found `7`",
        ),
        (filter(r#"{ component = "access", config = { tokens = [], credential = "hush" } }"#), "hush"),
        (filter(r#"{ component = "script", config = { reject = "hush" } }"#), "refuses its configuration: hush"),
        (filter(r#"{ component = "access", config = "hush" }"#), "expected a table, found text"),
        (filter(r#"{ component = "access", confg = { tokens = "hush" } }"#), "did you mean `config`?"),
        (filter(r#"{ component = "access", config = { tokens = "hush } }"#), "this is no TOML"),
        (url("ws://hush@127.0.0.1:9001/chat"), "holds a user or a password"),
        (url("ws://me:hush@127.0.0.1:9001/chat"), "holds a user or a password"),
        (url("ws://me:h/hush@127.0.0.1:9001/chat"), "has no valid port"),
        (url("ws://127.0.0.1:9001/chat?token=hush"), "has more than a host, a port and a path"),
        (route(&[&address], "").replacen('[', "admin = 'hush'\n[", 1), "expected a table, found text"),
    ]
}

#[tokio::test]
async fn a_refused_configuration_is_quoted_on_a_terminal_alone() {
    let directory = tempfile::tempdir().unwrap();
    for (config, shown) in refused() {
        std::fs::write(
            directory.path().join("tidegate.toml"),
            format!("{config}[[listeners]]\nlisten = '127.0.0.1:0'"),
        )
        .unwrap();
        for verb in ["run", "check"] {
            let finished = Finished::run(directory.path(), &[verb, "--config", "tidegate.toml"]).await;
            assert_eq!(finished.code, Some(2), "{verb} of\n{config}: {finished:?}");
            assert!(!finished.text().contains("hush"), "{verb} of\n{config}: {finished:?}");
            assert!(finished.text().contains("tidegate.toml:"), "{verb} of\n{config}: {finished:?}");
        }
        let finished = Finished::on_terminal(directory.path(), &["check", "--config", "tidegate.toml"]).await;
        assert_eq!(finished.code, Some(2), "{config}: {finished:?}");
        let line = finished.text().lines().any(|line| line.contains(" | ") && line.contains("hush"));
        assert!(line && finished.text().contains(shown), "{config}: {finished:?}");
    }
}

#[tokio::test]
async fn a_refused_reload_quotes_nothing_in_the_log_and_the_answers() {
    // A reload compiles what is not in force yet, and gives way to everything else on the machine.
    let filters = "filters = ['script', { component = 'access', config = { deny = [{ header = 'x-none' }] } }]";
    let good = format!("watch = false\n{}", route(&[&refused_address()], &format!("{filters}\n{}", guest("script"))));
    let proxy = Proxy::start(&good).await;
    let admin = proxy.admin.to_string();
    for (config, _) in refused() {
        proxy.rewrite(&format!("watch = false\n{config}"));
        for target in ["/api/v1/reload?dry_run=true", "/api/v1/reload"] {
            let reply = proxy.admin("POST", target).await;
            assert_eq!(reply.status, 422, "{config}: {reply:?}");
            assert!(!reply.body.contains("hush"), "{config}: {reply:?}");
        }
        let finished = Finished::run(proxy.directory(), &["reload", "--admin", &admin]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(!finished.text().contains("hush"), "{config}: {finished:?}");
    }
    // All that was logged before this is there with it.
    proxy.rewrite(&good);
    assert_eq!(proxy.reload().await.status, 200);
    proxy.wait_for_log(&["what was rejected is gone"]).await;
    let log = format!("{:?}", proxy.log());
    assert!(log.contains("configuration rejected"), "{log}");
    assert!(!log.contains("hush"), "{log}");
}

#[tokio::test]
async fn what_a_component_logs_before_it_fails_over_its_configuration_is_for_a_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let config = route(
        &[&refused_address()],
        &format!("filters = [{{ component = 'script', config = {{ panic = 'hush' }} }}]\n{}", guest("script")),
    );
    std::fs::write(directory.path().join("tidegate.toml"), format!("{config}[[listeners]]\nlisten = '127.0.0.1:0'"))
        .unwrap();
    let arguments = ["check", "--config", "tidegate.toml"];
    let finished = Finished::run(directory.path(), &arguments).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(
        !finished.text().contains("hush") && finished.text().contains("`tidegate check` on a terminal"),
        "{finished:?}"
    );
    let finished = Finished::on_terminal(directory.path(), &arguments).await;
    assert!(finished.text().contains("component `script`") && finished.text().contains("panicked at"), "{finished:?}");
}

#[tokio::test]
async fn the_admin_api_shows_nothing_of_a_components_configuration() {
    let filter = r#"{ component = "access", config = { tokens = [{ token = "hush", user = "hush" }] }"#;
    let candidate =
        r#"candidate = { component = "access", config = { deny = [{ header = "hush" }] }, shadow = true } }"#;
    let rest = format!("filters = [{filter}, {candidate}]");
    let proxy = Proxy::start(&route(&[&refused_address()], &rest)).await;
    for target in ["routes", "upstreams", "components", "connections", "candidates"] {
        let reply = proxy.admin("GET", &format!("/api/v1/{target}")).await;
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        assert!(!reply.body.contains("hush"), "{target}: {reply:?}");
    }
    assert!(!proxy.admin("GET", "/metrics").await.body.contains("hush"));
}

/// Checks a configuration beside a file `token` that holds `resolved`.
async fn check_with_a_secret(config: &str) -> (Finished, Finished) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "resolved\n").unwrap();
    std::fs::write(directory.path().join("tidegate.toml"), format!("{config}[[listeners]]\nlisten = '127.0.0.1:0'"))
        .unwrap();
    let arguments = ["check", "--config", "tidegate.toml"];
    (Finished::run(directory.path(), &arguments).await, Finished::on_terminal(directory.path(), &arguments).await)
}

#[tokio::test]
async fn every_faulty_secret_is_told_with_its_line_and_key() {
    let tokens = "filters = [{ component = 'access', config = { tokens = [\n\
        { token = { secret = { env = 'TIDEGATE_TEST_NONE' } }, user = 'a' },\n\
        { token = { secret = { file = 'nowhere' } }, user = 'b' },\n\
        { token = { secret = { fil = 'token' } }, user = 'c' },\n\
        { token = { secret = { env = 'A', file = 'token' } }, user = 'd' },\n\
        { token = { secret = {} }, user = 'e' },\n\
        ] } }]";
    let config = route(&["127.0.0.1:9001"], tokens);
    let first = config.lines().position(|line| line.contains("TIDEGATE_TEST_NONE")).unwrap() + 1;
    let (finished, _) = check_with_a_secret(&config).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    for (index, told) in [
        "the environment has no variable `TIDEGATE_TEST_NONE`",
        "nowhere cannot be read",
        "unknown key `fil` in a secret; did you mean `file`?",
        "a secret comes from one place",
        "a secret comes from one place",
    ]
    .iter()
    .enumerate()
    {
        let place = format!("tidegate.toml:{}:", first + index);
        let key = format!(" routes[0].filters[0].config.tokens[{index}].token: ");
        let is_told = |line: &str| line.starts_with(&place) && line.contains(&key) && line.contains(told);
        assert!(finished.stderr.lines().any(is_told), "{told}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_secret_where_none_can_stand_is_refused_as_one() {
    let secret = "{ secret = { file = 'token' } }";
    let with = |rest: &str| route(&["127.0.0.1:9001"], rest);
    for (config, key) in [
        (with("").replace("\"ws://127.0.0.1:9001\"", secret), "upstreams.back.endpoints[0].url"),
        (with(&format!("hosts = [{secret}]")), "routes[0].hosts[0]"),
        (with(&format!("path = {secret}")), "routes[0].path"),
        (with(&format!("max_connections = {secret}")), "routes[0].max_connections"),
        (with(&format!("[admin]\nlisten = {secret}\n")), "admin.listen"),
        (with(&format!("filters = [{{ component = 'access', config = {secret} }}]")), "routes[0].filters[0].config"),
    ] {
        let (finished, _) = check_with_a_secret(&config).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        let told = format!(" {key}: a secret can stand only for a text within the `config` of a component");
        assert!(finished.stderr.contains(&told), "{key}: {}", finished.stderr);
    }
}

#[tokio::test]
async fn a_secret_that_stands_elsewhere_is_not_even_shown_on_a_terminal() {
    let secret = "{ secret = { file = 'token' } }";
    let script = |config: &str| {
        let filter = format!("filters = [{{ component = 'script', config = {config} }}]\n{}", guest("script"));
        route(&["127.0.0.1:9001"], &filter)
    };
    let access = |config: &str| {
        route(&["127.0.0.1:9001"], &format!("filters = [{{ component = 'access', config = {config} }}]\n"))
    };
    let conditions = |condition: &str| {
        route(&["127.0.0.1:9001"], &format!("when = [{{ component = 'conditions', config = {condition} }}]\n"))
    };
    for (config, told) in [
        (access(&format!("{{ tokens = {secret} }}")), "refuses its configuration: expected a list, found text"),
        (access(&format!("{{ jwt = {{ secret = {secret} }} }}")), "not shown, because it may quote a secret"),
        (
            conditions(&format!("{{ header = 'a', op = {secret}, value = 'b' }}")),
            "not shown, because it may quote a secret",
        ),
        (script(&format!("{{ reject = {secret} }}")), "not shown, because it may quote a secret"),
        (script(&format!("{{ panic = {secret} }}")), "not shown, because it may quote a secret"),
    ] {
        let (finished, terminal) = check_with_a_secret(&config).await;
        for finished in [&finished, &terminal] {
            assert_eq!(finished.code, Some(2), "{config}: {finished:?}");
            assert!(!finished.text().contains("resolved"), "{config}: {finished:?}");
            assert!(finished.text().contains(told), "{config}: {finished:?}");
        }
    }
}
