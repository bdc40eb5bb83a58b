//! `tidegate check`: every mistake is refused with its place, all of them at once.

use std::path::Path;

use tidegate_tests::config::route;
use tidegate_tests::{Finished, guests};

/// Checks a configuration to which a listener is added; the components' files lie in `directory`.
async fn check_in(directory: &Path, config: &str) -> Finished {
    let text = format!("{config}\n[[listeners]]\nlisten = \"127.0.0.1:8080\"\n");
    std::fs::write(directory.join("tidegate.toml"), text).unwrap();
    Finished::run(directory, &["check", "--config", "tidegate.toml"]).await
}

async fn check(config: &str) -> Finished {
    check_in(tempfile::tempdir().unwrap().path(), config).await
}

/// The lines that are marked with `# HERE`, counted from 1.
fn marked(config: &str) -> Vec<usize> {
    config.lines().enumerate().filter(|(_, line)| line.ends_with("# HERE")).map(|(index, _)| index + 1).collect()
}

/// Demands that a configuration is refused, with the place of every marked line and, on a terminal, with all of `words`.
async fn refused(config: &str, words: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let finished = check_in(directory.path(), config).await;
    let at_terminal = Finished::on_terminal(directory.path(), &["check", "--config", "tidegate.toml"]).await;
    for finished in [&finished, &at_terminal] {
        let text = finished.text();
        assert_eq!(finished.code, Some(2), "{config}\n{text}");
        for line in marked(config) {
            let place = format!("tidegate.toml:{line}:");
            assert!(text.contains(&place), "line {line} of\n{config}\nis not named in\n{text}");
        }
    }
    let text = at_terminal.text();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in\n{text}");
    }
}

/// A route to an upstream, so that only what a test adds is wrong.
fn with(rest: &str) -> String {
    route(&["127.0.0.1:9001"], rest)
}

#[tokio::test]
async fn a_good_configuration_passes() {
    let finished = check(&with(
        r#"
        hosts = ["chat.example.com", "*.chat.example.com"]
        path_prefix = "/ws/chat"
        when = [{ component = "conditions", config = { all = [{ header = "x-tenant", op = "=", value = "gold" }] } }]
        filters = ["log-messages", { component = "rate-limit", config = { messages_per_second = 50, burst = 100 } }]
        allowed_origins = ["https://chat.example.com"]
        ping_interval = "10s"
        pong_timeout = "30s"
        max_inactivity = "60s"
        max_message_size = "1MiB"
        "#,
    ))
    .await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn checking_binds_no_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let text = format!("{}[[listeners]]\nlisten = \"{}\"\n", with(""), taken.local_addr().unwrap());
    std::fs::write(directory.path().join("tidegate.toml"), text).unwrap();
    let finished = Finished::run(directory.path(), &["check", "--config", "tidegate.toml"]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
}

#[tokio::test]
async fn a_syntax_error_is_refused() {
    refused("[upstreams.back]\nendpoints = [{ url = }] # HERE\n", &[]).await;
}

#[tokio::test]
async fn an_unknown_key_at_the_top_is_refused_with_the_key_that_was_meant() {
    refused(&format!("max_conections = 5 # HERE\n{}", with("")), &["max_conections", "max_connections"]).await;
}

#[tokio::test]
async fn an_unknown_key_of_a_route_is_refused_with_the_key_that_was_meant() {
    refused(&with("path_prefixx = \"/ws\" # HERE"), &["path_prefixx", "path_prefix"]).await;
}

#[tokio::test]
async fn a_value_of_the_wrong_type_is_refused() {
    refused(&with("max_connections = \"many\" # HERE"), &["max_connections"]).await;
}

#[tokio::test]
async fn a_duration_that_is_none_is_refused() {
    refused(&with("ping_interval = \"10 parsecs\" # HERE"), &["ping_interval", "parsecs"]).await;
}

#[tokio::test]
async fn a_size_that_is_none_is_refused() {
    refused(&with("max_message_size = \"1 elephant\" # HERE"), &["max_message_size", "elephant"]).await;
}

#[tokio::test]
async fn an_upstream_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    let config = with("").replace("upstream = \"back\"", "upstream = \"bakc\" # HERE");
    refused(&config, &["bakc", "back"]).await;
}

#[tokio::test]
async fn two_routes_of_one_name_are_refused() {
    let second = "path = \"/a\"\n[[routes]]\nname = \"main\" # HERE\npath = \"/b\"\nupstream = \"back\"";
    refused(&with(second), &["main"]).await;
}

#[tokio::test]
async fn an_endpoint_that_is_no_url_is_refused() {
    let config = "[upstreams.back]\nendpoints = [\n{ url = \"ftp://files.example.com\" }, # HERE\n]\n\
                  [[routes]]\nname = \"main\"\nupstream = \"back\"\n";
    refused(config, &["ftp"]).await;
}

#[tokio::test]
async fn a_component_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    refused(&with("filters = [\"rate-limits\"] # HERE"), &["rate-limits", "rate-limit"]).await;
}

#[tokio::test]
async fn an_unknown_operator_is_refused_at_its_predicate() {
    let when = r#"when = [{ component = "conditions", config = { all = [{ header = "a", op = "resembles", value = "b" }] } }] # HERE"#;
    refused(&with(when), &["resembles"]).await;
}

#[tokio::test]
async fn a_bad_regular_expression_is_refused_at_its_predicate() {
    let when = r#"when = [{ component = "conditions", config = { all = [{ header = "a", op = "regex", value = "(" }] } }] # HERE"#;
    refused(&with(when), &["conditions"]).await;
}

#[tokio::test]
async fn an_unknown_key_of_a_component_is_refused_in_its_own_words() {
    let filter = r#"filters = [{ component = "rate-limit", config = { messages_per_minute = 50 } }] # HERE"#;
    refused(&with(filter), &["messages_per_minute"]).await;
}

#[tokio::test]
async fn a_listener_that_has_no_address_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let text = format!("[[listeners]]\nlisten = \"everywhere\"\n{}", with(""));
    std::fs::write(directory.path().join("tidegate.toml"), text).unwrap();
    let finished = Finished::run(directory.path(), &["check", "--config", "tidegate.toml"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.text().contains("tidegate.toml:2:"), "{finished:?}");
}

#[tokio::test]
async fn all_mistakes_are_reported_at_once() {
    let config = with(
        r#"ping_intervall = "1s" # HERE
max_inactivity = "soon" # HERE
filters = ["nonesuch"] # HERE
[[routes]]
name = "other"
path = "relative" # HERE
upstream = "nowhere" # HERE
"#,
    );
    refused(&config, &["ping_intervall", "soon", "nonesuch", "relative", "nowhere"]).await;
}

#[tokio::test]
async fn mistakes_in_components_are_reported_at_once_too() {
    let config = with(
        r#"path = "/a"
when = [{ component = "conditions", config = { all = [{ header = "a", op = "resembles", value = "b" }] } }] # HERE
filters = [{ component = "rate-limit", config = { messages_per_minute = 50 } }] # HERE
"#,
    );
    refused(&config, &["resembles", "messages_per_minute"]).await;
}

/// Files that are no components, by what is wrong with them.
pub(crate) fn broken_components() -> Vec<(&'static str, Vec<u8>)> {
    let good = guests::bytes("script");
    let mut flipped = good.clone();
    flipped[4] ^= 0x10;
    vec![
        ("text", b"this is no component".to_vec()),
        ("empty", Vec::new()),
        ("truncated", good[..good.len() / 2].to_vec()),
        ("flipped", flipped),
        ("untyped-core-module", b"\0asm\x01\0\0\0".to_vec()),
        ("foreign", guests::bytes("foreign")),
    ]
}

#[tokio::test]
async fn a_broken_component_is_refused_at_its_place() {
    for (name, bytes) in broken_components() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("broken.wasm"), bytes).unwrap();
        let config = with("filters = [\"broken\"]\n[components.broken]\npath = \"broken.wasm\"");
        let finished = check_in(directory.path(), &config).await;
        let text = finished.text();
        assert_eq!(finished.code, Some(2), "for {name}: {text}");
        assert!(text.contains("tidegate.toml:") && text.contains("components.broken"), "for {name}: {text}");
    }
}

#[tokio::test]
async fn a_component_file_that_is_not_there_is_refused() {
    refused(&with("filters = [\"absent\"]\n[components.absent] # HERE\npath = \"nowhere.wasm\""), &["nowhere.wasm"])
        .await;
}

#[tokio::test]
async fn flipped_bits_never_bring_the_check_down() {
    let good = guests::bytes("script");
    let directory = tempfile::tempdir().unwrap();
    let config = with("filters = [\"broken\"]\n[components.broken]\npath = \"broken.wasm\"");
    for part in 1..5 {
        let mut bytes = good.clone();
        bytes[good.len() * part / 5] ^= 0xff;
        std::fs::write(directory.path().join("broken.wasm"), bytes).unwrap();
        let finished = check_in(directory.path(), &config).await;
        assert!(matches!(finished.code, Some(0 | 2)), "{finished:?}");
    }
}

#[tokio::test]
async fn a_component_of_the_wrong_kind_is_refused_at_its_use() {
    refused(&with("filters = [\"conditions\"] # HERE"), &["predicate", "filter"]).await;
    refused(&with("when = [\"log-messages\"] # HERE"), &["predicate", "filter"]).await;
}

#[tokio::test]
async fn a_component_that_rejects_its_configuration_is_refused_in_its_own_words() {
    let config = with(&format!(
        "filters = [{{ component = \"script\", config = {{ reject = \"write seven, not six\" }} }}] # HERE\n{}",
        tidegate_tests::config::guest("script")
    ));
    refused(&config, &["write seven, not six"]).await;
}

#[tokio::test]
async fn a_component_that_fails_to_configure_is_refused() {
    for deed in ["trap", "loop", "hoard"] {
        let config = with(&format!(
            "filters = [{{ component = \"hostile\", config = {{ do = \"{deed}\", at = \"configure\" }} }}] # HERE\n{}",
            tidegate_tests::config::guest_within("hostile", "100ms")
        ));
        refused(&config, &["hostile"]).await;
    }
}

#[tokio::test]
async fn one_pass_tells_what_is_wrong_with_the_file_and_with_the_configuration_of_components() {
    let config = with(
        r#"path = "/a"
ping_intervall = "1s" # HERE
filters = [{ component = "rate-limit", config = { messages_per_second = "many" } }] # HERE
when = [{ component = "conditions", config = { all = [{ header = "a", op = "resembles", value = "b" }] } }] # HERE
[components.absent] # HERE
path = "nowhere.wasm"
"#,
    );
    refused(&config, &["did you mean `ping_interval`?", "expected a number", "resembles", "nowhere.wasm"]).await;
    let finished = check(&config).await;
    let key = "tidegate.toml:10:73: routes[0].filters[0].config.messages_per_second: ";
    assert!(
        finished
            .text()
            .contains(&format!("{key}component `rate-limit` refuses its configuration: expected a number, found text")),
        "{finished:?}"
    );
}

#[tokio::test]
async fn problems_and_warnings_are_json_when_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let json = |finished: &Finished| serde_json::from_str::<serde_json::Value>(&finished.stdout).unwrap();
    let arguments = ["check", "--json", "--config", "tidegate.toml"];

    check_in(directory.path(), &with("ping_intervall = \"1s\"")).await;
    let finished = Finished::run(directory.path(), &arguments).await;
    assert_eq!((finished.code, finished.stderr.as_str()), (Some(2), ""));
    let expected = serde_json::json!([{
        "severity": "error",
        "file": "tidegate.toml",
        "line": 8,
        "column": 1,
        "key": "routes[0].ping_intervall",
        "message": "unknown key in [[routes]]",
        "help": "did you mean `ping_interval`?",
    }]);
    assert_eq!(json(&finished), expected);

    check_in(directory.path(), &with("").replace("\" }", "\", enabled = false }")).await;
    let finished = Finished::run(directory.path(), &arguments).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let (severity, key) = (&json(&finished)[0]["severity"], &json(&finished)[0]["key"]);
    assert_eq!((severity, key), (&"warning".into(), &"upstreams.back".into()));
}

#[tokio::test]
async fn what_is_most_likely_not_meant_is_a_warning() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("admin.sock");
    let _taken = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let path = path.display();
    for (config, warning) in [
        (with("").replace("\" }", "\", enabled = false }"), "all endpoints of upstream `back` are off"),
        (with("").replace("\" }", "\", weight = 0 }"), "have weight 0"),
        (with("").replace("9001", "8080"), "ws://127.0.0.1:8080 is a listener of this proxy itself"),
        (with("[admin]\nlisten = \"0.0.0.0:0\"\nopen = true"), "the admin API asks for no password"),
        (with(&format!("[admin]\nlisten = \"127.0.0.1:{port}\"")), "something listens on 127.0.0.1:"),
        (with(&format!("[admin]\nlisten = \"unix:{path}\"")), "something listens on unix:/"),
    ] {
        let finished = check(&config).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        let warned = finished.stderr.lines().any(|line| line.starts_with("warning: ") && line.contains(warning));
        assert!(warned && finished.stdout.contains("ok"), "{finished:?}");
    }
    let finished = check(&with("")).await;
    assert!(!finished.stderr.contains("warning: upstreams"), "{finished:?}");
}
