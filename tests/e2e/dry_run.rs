//! A dry run: everything that a reload would do, told and not done.

use serde_json::{Value, json};
use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Finished, Frame, Proxy, Reply, Request, refused_address};

const GENERATION: &str = "tidegate_config_generation";

/// A configuration that comes into force when it is told to.
fn unwatched(config: &str) -> String {
    format!("watch = false\n{config}")
}

async fn dry_run(proxy: &Proxy) -> Reply {
    proxy.admin("POST", "/api/v1/reload?dry_run=true").await
}

fn json(reply: &Reply) -> Value {
    serde_json::from_str(&reply.body).unwrap_or_else(|error| panic!("{error}: {reply:?}"))
}

/// The names of all series.
async fn series(proxy: &Proxy) -> Vec<String> {
    let reply = proxy.admin("GET", "/metrics").await;
    let samples = reply.body.lines().filter(|line| line.starts_with("tidegate_"));
    samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[tokio::test]
async fn a_dry_run_says_what_would_change_and_for_how_many_connections() {
    let backend = Backend::bind().await;
    let tagged = |tag: &str, rest: &str| {
        let filter = format!("filters = [{{ component = \"script\", config = {{ tag = \"{tag}\" }} }}]");
        unwatched(&route(&[&backend.address()], &format!("{filter}\n{rest}\n{}", guest("script"))))
    };
    let proxy = Proxy::start(&tagged("1", "")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let _another = backend.open(proxy.address, "/").await;
    let before = series(&proxy).await;
    let other = "[[routes]]\nname = \"other\"\npath = \"/other\"\nfilters = [\"json-guard\"]\nupstream = \"more\"\n\
                 [upstreams.more]\nendpoints = [{ url = \"ws://127.0.0.1:9\" }]";
    proxy.rewrite(&tagged("2", other));

    let reply = dry_run(&proxy).await;

    assert_eq!(reply.status, 200, "{reply:?}");
    let expected = json!({
        "outcome": "applicable",
        "generation": 1,
        "changes": {
            "settings": [],
            "components": [{ "name": "json-guard", "change": "added" }],
            "upstreams": [{ "name": "more", "change": "added" }],
            "routes": [
                {
                    "name": "main", "change": "changed", "because": ["settings"], "connections_active": 2,
                    "open_connections": "swapped",
                },
                { "name": "other", "change": "added" },
            ],
        },
    });
    assert_eq!(json(&reply), expected);
    // Nothing of it has happened.
    let metrics = proxy.metrics().await;
    assert_eq!((metrics.count(GENERATION, &[]), metrics.count("tidegate_reloads_total", &[])), (1, 0));
    assert_eq!(series(&proxy).await, before);
    client.send(Frame::text("old")).await;
    upstream.expect(Frame::text("old1")).await;
    let (mut newcomer, mut upstream_of_newcomer) = backend.open(proxy.address, "/").await;
    newcomer.send(Frame::text("new")).await;
    upstream_of_newcomer.expect(Frame::text("new1")).await;
    // A reload does it.
    assert_eq!(json(&proxy.reload().await)["outcome"], "applied");
    let (mut newcomer, mut upstream_of_newcomer) = backend.open(proxy.address, "/").await;
    newcomer.send(Frame::text("new")).await;
    upstream_of_newcomer.expect(Frame::text("new2")).await;
}

#[tokio::test]
async fn a_dry_run_resizes_nothing() {
    let backend = Backend::bind().await;
    let limited = |limit: u64| unwatched(&route(&[&backend.address()], &format!("max_connections = {limit}")));
    let proxy = Proxy::start(&limited(1)).await;
    let _open = backend.open(proxy.address, "/").await;
    proxy.rewrite(&limited(2));
    assert_eq!(json(&dry_run(&proxy).await)["changes"]["routes"][0]["name"], "main");
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    assert_eq!(json(&proxy.reload().await)["outcome"], "applied");
    let _another = backend.open(proxy.address, "/").await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
}

#[tokio::test]
async fn a_dry_run_of_what_would_be_rejected_says_why_and_counts_nothing() {
    let good = unwatched(&route(&[&refused_address()], &format!("filters = [\"script\"]\n{}", guest("script"))));
    let proxy = Proxy::start(&good).await;
    let rejecting =
        good.replace("[\"script\"]", "[{ component = \"script\", config = { reject = \"not on a Sunday\" } }]");
    for (bad, words) in [
        (format!("{good}ping_intervall = \"1s\"\n"), "ping_intervall"),
        (rejecting, "component `script` refuses its configuration"),
    ] {
        let before = series(&proxy).await;
        proxy.rewrite(&bad);
        let reply = dry_run(&proxy).await;
        assert_eq!(reply.status, 422, "{reply:?}");
        assert_eq!(json(&reply)["outcome"], "rejected");
        assert!(reply.body.contains(words), "{reply:?}");
        assert_eq!(series(&proxy).await, before);
    }
    assert_eq!(proxy.metrics().await.count("tidegate_reloads_total", &[]), 0);
}

#[tokio::test]
async fn a_dry_run_of_what_is_in_force_changes_nothing_and_a_misspelt_one_is_no_reload() {
    let proxy = Proxy::start(&unwatched(&route(&[&refused_address()], ""))).await;
    let reply = dry_run(&proxy).await;
    let answer = json(&reply);
    assert_eq!((reply.status, &answer["outcome"], &answer["generation"]), (200, &json!("unchanged"), &json!(1)));
    assert_eq!(answer["in_force"]["cause"], "start", "{reply:?}");
    let reply = proxy.admin("POST", "/api/v1/reload?dryrun=true").await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert_eq!(proxy.metrics().await.count("tidegate_reloads_total", &[]), 0);
}

#[tokio::test]
async fn the_command_line_says_what_would_change_and_ends_with_the_code_of_a_reload() {
    let backend = Backend::bind().await;
    let good = unwatched(&route(&[&backend.address()], ""));
    let proxy = Proxy::start(&good).await;
    let _open = backend.open(proxy.address, "/").await;
    let admin = proxy.admin.to_string();
    let arguments = ["reload", "--dry-run", "--admin", &admin];
    let ask = || Finished::run(proxy.directory(), &arguments);

    let finished = ask().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    assert!(finished.stdout.starts_with("unchanged: generation 1 is in force, since "), "{finished:?}");
    assert!(finished.stdout.ends_with(" UTC (start)\n"), "{finished:?}");

    proxy.rewrite(&format!("drain_time = \"1s\"\n{good}filters = [\"json-guard\"]\n"));
    let finished = ask().await;
    let expected = "drain_time: changed\n\
                    component json-guard: added\n\
                    route main: changed (settings), 1 open connection: swapped\n\
                    applicable: generation 1 is in force";
    assert_eq!((finished.code, finished.stdout.trim()), (Some(0), expected));

    proxy.rewrite(&format!("{good}nonsense = 1\n"));
    let finished = ask().await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.text().contains("nonsense"), "{finished:?}");
}

/// A route whose connections are closed when it changes, with a predicate and these further keys.
fn draining(backend: &Backend, top: &str, keys: &str) -> String {
    let config = "{ all = [{ query = \"a\", op = \"=\", value = \"1\" }] }";
    let when = format!("when = [{{ component = \"asks\", config = {config} }}]\non_change = \"drain\"");
    let asks = "[components.asks]\npath = \"asks.wasm\"\ndeadline = \"1s\"\n";
    unwatched(&format!("drain_time = 0\n{top}\n{}", route(&[&backend.address()], &format!("{when}\n{keys}\n{asks}"))))
}

fn conditions(build: &[u8]) -> Vec<u8> {
    let standard = tidegate_filters::all().iter().find(|standard| standard.name == "conditions").unwrap();
    [standard.bytes, build].concat()
}

#[tokio::test]
async fn connections_do_what_a_dry_run_says_they_will() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&unwatched(&route(&[&backend.address()], ""))).await;
    proxy.place("asks.wasm", conditions(&[]));
    proxy.rewrite(&draining(&backend, "", ""));
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let trust = "trusted_proxies = [\"10.0.0.0/8\"]";
    let passing = "max_connections = 9\nhandshakes_per_second = 99\nhandshake_timeout = \"9s\"";
    for (build, top, keys, because, then) in [
        (&[][..], trust, "", "trusted_proxies", "closed"),
        (&[0, 1, 0], trust, "", "component asks", "closed"),
        (&[0, 1, 0], trust, passing, "settings", "kept"),
        (&[0, 1, 0], trust, "allowed_origins = [\"https://example.com\"]", "settings", "closed"),
    ] {
        let (mut client, mut upstream) = backend.open(proxy.address, "/?a=1").await;
        proxy.place("asks.wasm", conditions(build));
        proxy.rewrite(&draining(&backend, top, keys));

        let told = json(&dry_run(&proxy).await)["changes"]["routes"].clone();
        assert_eq!(json(&proxy.reload().await)["outcome"], "applied");

        let expected = json!([{
            "name": "main", "change": "changed", "because": [because], "connections_active": 1,
            "open_connections": then,
        }]);
        assert_eq!(told, expected);
        if then == "closed" {
            client.expect_close(1012).await;
            upstream.expect_close(1012).await;
        } else {
            client.send(Frame::text("still here")).await;
            upstream.expect(Frame::text("still here")).await;
        }
        drop((client, upstream));
        proxy.until("tidegate_connections_active", &[], 0).await;
    }
}
