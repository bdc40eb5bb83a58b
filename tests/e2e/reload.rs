//! Reloading: what is new comes into force, what is open goes on, and what is wrong changes nothing.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Echo, Frame, Proxy, Signal, guests};

async fn reached(proxy: &Proxy) -> String {
    let mut client = proxy.open("/").await;
    client.send(Frame::text("")).await;
    client.frame().await.as_text()
}

const APPLIED: &[(&str, &str)] = &[("outcome", "applied")];
const REJECTED: &[(&str, &str)] = &[("outcome", "rejected")];
const UNCHANGED: &[(&str, &str)] = &[("outcome", "unchanged")];
const RELOADS: &str = "tidegate_reloads_total";

#[tokio::test]
async fn a_pipe_in_the_place_of_a_file_is_refused_and_keeps_nobody_waiting() {
    let backend = Backend::bind().await;
    let own = "filters = [\"own\"]\n[components.own]\npath = \"own.wasm\"\ndeadline = \"1s\"";
    let config = route(&[&backend.address()], own);
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    proxy.place("own.wasm", guests::bytes("counter"));
    proxy.rewrite(&config);
    assert_eq!(proxy.reload().await.status, 200);
    for name in ["own.wasm", "tidegate.toml"] {
        proxy.place_pipe(name);
        let reply = proxy.reload().await;
        assert_eq!((reply.status, reply.body.contains("it is a pipe")), (422, true), "{reply:?}");
        proxy.place("own.wasm", guests::bytes("counter"));
        proxy.rewrite(&config);
        assert_eq!(proxy.reload().await.status, 200);
    }
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("1:x")).await;
}

#[tokio::test]
async fn a_changed_file_is_reloaded_by_itself() {
    let (old, new) = (Echo::named("old").await, Echo::named("new").await);
    let proxy = Proxy::start(&route(&[old.address()], "")).await;
    assert_eq!(reached(&proxy).await, "old");
    proxy.rewrite(&route(&[new.address()], ""));
    proxy.until(RELOADS, APPLIED, 1).await;
    assert_eq!(reached(&proxy).await, "new");
}

#[tokio::test]
async fn a_changed_file_that_was_named_without_its_folder_is_reloaded_by_itself() {
    let (old, new) = (Echo::named("old").await, Echo::named("new").await);
    let proxy = Proxy::upgradable(&route(&[old.address()], "")).await;
    proxy.rewrite(&route(&[new.address()], ""));
    proxy.until(RELOADS, APPLIED, 1).await;
    assert_eq!(reached(&proxy).await, "new");
}

#[tokio::test]
async fn sighup_reloads() {
    let (old, new) = (Echo::named("old").await, Echo::named("new").await);
    let proxy = Proxy::start(&route(&[old.address()], "")).await;
    proxy.signal(Signal::HUP);
    proxy.until(RELOADS, UNCHANGED, 1).await;
    proxy.rewrite(&route(&[new.address()], ""));
    proxy.signal(Signal::HUP);
    proxy.until(RELOADS, APPLIED, 1).await;
    assert_eq!(reached(&proxy).await, "new");
}

#[tokio::test]
async fn the_admin_api_reloads_and_says_so() {
    let (old, new) = (Echo::named("old").await, Echo::named("new").await);
    let proxy = Proxy::start(&route(&[old.address()], "")).await;
    let before = proxy.metrics().await.count("tidegate_config_generation", &[]);
    proxy.rewrite(&route(&[new.address()], ""));
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let metrics = proxy.until(RELOADS, APPLIED, 1).await;
    assert_eq!(metrics.count("tidegate_config_generation", &[]), before + 1);
    assert_eq!(reached(&proxy).await, "new");
}

#[tokio::test]
async fn a_reload_of_the_same_file_is_counted_as_unchanged() {
    let echo = Echo::named("old").await;
    let proxy = Proxy::start(&route(&[echo.address()], "")).await;
    let before = proxy.metrics().await.count("tidegate_config_generation", &[]);
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.body.contains("unchanged"), "{reply:?}");
    let metrics = proxy.until(RELOADS, UNCHANGED, 1).await;
    assert_eq!(metrics.count("tidegate_config_generation", &[]), before);
}

#[tokio::test]
async fn a_bad_reload_changes_nothing_and_says_why() {
    let echo = Echo::named("old").await;
    let good = route(&[echo.address()], "");
    let proxy = Proxy::start(&good).await;
    proxy.rewrite(&format!("{good}ping_intervall = \"1s\"\n"));
    let reply = proxy.reload().await;
    assert!((400..500).contains(&reply.status), "{reply:?}");
    assert!(reply.body.contains("ping_intervall"), "{reply:?}");
    let line = good.lines().count() + 1;
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(body["problems"][0]["line"], line, "{reply:?}");
    proxy.wait_for_log(&["ping_intervall"]).await;
    let rejected = proxy.metrics().await.count(RELOADS, REJECTED);
    assert!(rejected >= 1, "the reload was not counted");
    assert_eq!(proxy.metrics().await.count(RELOADS, APPLIED), 0);
    assert_eq!(reached(&proxy).await, "old");
    proxy.rewrite(&format!("{good}max_connections = 1000\n"));
    proxy.until(RELOADS, APPLIED, 1).await;
}

#[tokio::test]
async fn malformed_configurations_in_a_reload_name_their_place_and_leave_the_running_proxy_as_it_is() {
    let backend = Backend::bind().await;
    let good = route(&[&backend.address()], "");
    let proxy = Proxy::start(&good).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    // What is appended to a good file, in its last table or after it, and what the answer has to name.
    let malformed = [
        ("filters = [", "line"),
        ("path_prefix = 5", "path_prefix"),
        ("handshake_timeout = \"soon\"", "handshake_timeout"),
        ("max_message_size = \"16 parsecs\"", "max_message_size"),
        ("upstream = \"back\"", "duplicate key"),
        ("filters = [\"no-such-filter\"]", "no-such-filter"),
        ("[[routes]]\nname = \"main\"\nupstream = \"back\"", "main"),
        ("[[routes]]\nname = \"other\"\nupstream = \"nowhere\"", "nowhere"),
        ("[upstreams.none]\nendpoints = []", "upstreams.none"),
        ("[upstreams.more]\nendpoints = [{ url = \"ftp://127.0.0.1\" }]", "ftp://127.0.0.1"),
        ("[components.gone]\npath = \"gone.wasm\"", "gone.wasm"),
        ("[[listeners]]\nlisten = \"127.0.0.1\"", "listen"),
    ];
    for (index, (bad, named)) in malformed.into_iter().enumerate() {
        proxy.rewrite(&format!("{good}{bad}\n"));
        let reply = proxy.reload().await;
        assert!((400..500).contains(&reply.status), "{bad}: {reply:?}");
        assert!(reply.body.contains(named), "{bad}: {reply:?}");
        let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
        assert!(body["problems"][0]["line"].as_u64().is_some_and(|line| line > 0), "{bad}: {reply:?}");
        client.send(Frame::text(format!("still here {index}"))).await;
        upstream.expect(Frame::text(format!("still here {index}"))).await;
        let (mut newcomer, mut upstream_of_newcomer) = backend.open(proxy.address, "/").await;
        newcomer.send(Frame::text("hello")).await;
        upstream_of_newcomer.expect(Frame::text("hello")).await;
    }
    assert_eq!(proxy.metrics().await.count(RELOADS, APPLIED), 0);
}

#[tokio::test]
async fn broken_components_in_a_reload_leave_the_running_proxy_as_it_is() {
    let backend = Backend::bind().await;
    let filtered = |path: &str| {
        route(
            &[&backend.address()],
            &format!(
                "filters = [{{ component = \"x\", config = {{ tag = \"!\" }} }}]\n[components.x]\npath = {path:?}\n"
            ),
        )
    };
    let good = tidegate_tests::guests::path("script").display().to_string();
    let proxy = Proxy::start(&filtered(&good)).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    for (name, bytes) in crate::check::broken_components() {
        let path = proxy.directory().join(format!("{name}.wasm"));
        std::fs::write(&path, bytes).unwrap();
        proxy.rewrite(&filtered(&path.display().to_string()));
        let reply = proxy.reload().await;
        assert!((400..500).contains(&reply.status), "{name}: {reply:?}");
        client.send(Frame::text("still here")).await;
        upstream.expect(Frame::text("still here!")).await;
        let (mut newcomer, mut upstream_of_newcomer) = backend.open(proxy.address, "/").await;
        newcomer.send(Frame::text("hello")).await;
        upstream_of_newcomer.expect(Frame::text("hello!")).await;
    }
    assert_eq!(proxy.metrics().await.count(RELOADS, APPLIED), 0);
}

#[tokio::test]
async fn a_connection_outlives_its_route() {
    let backend = Backend::bind().await;
    let named = |name: &str| {
        format!(
            "[upstreams.{name}]\nendpoints = [{{ url = \"ws://{}\" }}]\n[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"{name}\"\n",
            backend.address()
        )
    };
    let proxy = Proxy::start(&named("first")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/first").await;
    proxy.rewrite(&named("second"));
    proxy.until(RELOADS, APPLIED, 1).await;
    let gone = proxy.answer(&tidegate_tests::Request::upgrade("/first")).await;
    assert_eq!(gone.status, 404);
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

#[tokio::test]
async fn reloads_under_load_lose_and_reorder_nothing() {
    const RELOADS_UNDER_LOAD: u64 = 20;
    let echo = Echo::start().await;
    let config = |generation: u64| {
        let filter = format!("filters = [\"script\"]\nmax_connections = {}\n{}", 1000 + generation, guest("script"));
        route(&[echo.address()], &filter)
    };
    let proxy = Proxy::with_workers(2, &config(0)).await;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (mut client, stopped) = (proxy.open("/").await, stopped.clone());
        clients.spawn(async move {
            let mut sent = 0_u64;
            while !*stopped.borrow() || sent == 0 {
                client.send(Frame::text(sent.to_string())).await;
                client.expect(Frame::text(sent.to_string())).await;
                sent += 1;
            }
        });
    }
    for generation in 1..=RELOADS_UNDER_LOAD {
        proxy.rewrite(&config(generation));
        let reply = proxy.reload().await;
        assert_eq!(reply.status, 200, "{reply:?}");
    }
    stop.send(true).unwrap();
    clients.join_all().await;
    assert_eq!(proxy.metrics().await.count(RELOADS, REJECTED), 0);
}

#[tokio::test]
async fn an_endpoint_that_a_reload_keeps_keeps_its_live_count() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let (client, upstream) = backend.open(proxy.address, "/").await;
    proxy.rewrite(&route(&[&backend.address()], "max_connections = 1000"));
    proxy.until(RELOADS, APPLIED, 1).await;
    let active = "tidegate_upstream_connections_active";
    assert_eq!(proxy.metrics().await.count(active, &[("upstream", "back")]), 1);
    drop((client, upstream));
    proxy.until(active, &[("upstream", "back")], 0).await;
}
