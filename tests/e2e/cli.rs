//! The command line: what it prints, and with which code it ends.

use std::path::Path;

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Finished, Proxy, guests, refused_address};

async fn tidegate(arguments: &[&str]) -> Finished {
    Finished::run(Path::new("/"), arguments).await
}

fn path(name: &str) -> String {
    guests::path(name).display().to_string()
}

#[tokio::test]
async fn help_and_version_end_with_0() {
    for argument in ["--help", "--version"] {
        let finished = tidegate(&[argument]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout.contains("tidegate"), "{finished:?}");
    }
}

#[tokio::test]
async fn bad_usage_ends_with_2() {
    for arguments in [
        &["run"][..],
        &["frobnicate"],
        &["check"],
        &["component", "inspect"],
        &["run", "--config", "tidegate.toml", "--workers", "0"],
        &["run", "--config", "tidegate.toml", "--workers", "1025"],
        &["drain", "--over", "10"],
        &["drain", "--code", "1000"],
    ] {
        let finished = tidegate(arguments).await;
        assert_eq!(finished.code, Some(2), "{arguments:?}: {finished:?}");
        assert!(!finished.stderr.is_empty(), "{arguments:?} was refused without a word");
    }
}

#[tokio::test]
async fn a_configuration_that_is_not_there_ends_with_2_and_is_named() {
    for verb in ["run", "check"] {
        let finished = tidegate(&[verb, "--config", "/nowhere/tidegate.toml"]).await;
        assert_eq!(finished.code, Some(2), "{finished:?}");
        assert!(finished.stderr.contains("/nowhere/tidegate.toml"), "{finished:?}");
    }
}

#[tokio::test]
async fn inspect_shows_the_kind_size_interest_and_compile_time_of_a_guest() {
    let finished = tidegate(&["component", "inspect", &path("script")]).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let text = finished.stdout.to_lowercase();
    for word in ["filter", "interest", "compile", "mib at the start", "starts:    in"] {
        assert!(text.contains(word), "{word} is not in {text}");
    }
    let size = std::fs::metadata(guests::path("script")).unwrap().len();
    let kibibytes = (size / 1024).to_string();
    assert!(text.contains(&kibibytes) || text.contains(&size.to_string()), "no size near {size} bytes in {text}");
}

#[tokio::test]
async fn inspect_shows_what_a_standard_component_is() {
    let directory = tempfile::tempdir().unwrap();
    for standard in tidegate_filters::all() {
        let file = directory.path().join(standard.name);
        std::fs::write(&file, standard.bytes).unwrap();
        let finished = tidegate(&["component", "inspect", &file.display().to_string()]).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.stdout.contains(standard.kind), "{}: {finished:?}", standard.name);
        assert!(!finished.stdout.contains("wasi:"), "{}: {finished:?}", standard.name);
    }
}

#[tokio::test]
async fn inspect_of_a_component_that_needs_more_memory_says_how_to_give_it_some() {
    let script = path("script");
    let inspect = async |size| tidegate(&["component", "inspect", "--max-memory", size, &script]).await;
    let finished = inspect("64KiB").await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    let told = "raise its max_memory in the configuration, and write --max-memory 2MiB or more here";
    assert!(finished.stderr.contains(told), "{finished:?}");
    assert_eq!(inspect("2MiB").await.code, Some(0));
    assert!(inspect("2 apples").await.stderr.contains("--max-memory"));
}

#[tokio::test]
async fn inspect_refuses_a_device_at_once() {
    let finished = tidegate(&["component", "inspect", "/dev/zero"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("it is a device, and not a regular file"), "{finished:?}");
}

#[tokio::test]
async fn inspect_shows_imports_as_permissions() {
    let finished = tidegate(&["component", "inspect", &path("script")]).await;
    assert!(finished.stdout.contains("log"), "{finished:?}");
    assert!(!finished.stdout.contains("wasi:"), "{finished:?}");
}

#[tokio::test]
async fn a_filter_that_selects_parts_and_cannot_be_shown_any_is_refused() {
    let finished = tidegate(&["component", "inspect", &path("miscount"), "--config", "{\"stream\":1}"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("does not export `streaming`"), "{}", finished.stderr);
}

#[tokio::test]
async fn inspect_shows_which_optional_interfaces_a_filter_exports() {
    for (guest, hooks) in [("script", "batching, closing, swapping, timing, streaming"), ("miscount", "batching")] {
        let finished = tidegate(&["component", "inspect", &path(guest)]).await;
        assert!(finished.stdout.contains(&format!("hooks:     {hooks}\n")), "{}", finished.stdout);
    }
}

#[tokio::test]
async fn inspect_tells_predicates_and_balancers_from_filters() {
    for (name, kind) in [("hostile-predicate", "predicate"), ("hostile-balancer", "balancer"), ("miscount", "filter")] {
        let finished = tidegate(&["component", "inspect", &path(name)]).await;
        assert!(finished.stdout.contains(kind), "{name}: {finished:?}");
    }
}

#[tokio::test]
async fn inspect_of_a_component_with_a_foreign_import_names_it() {
    let finished = tidegate(&["component", "inspect", &path("foreign")]).await;
    assert!(finished.text().contains("wasi:keyvalue/batch"), "{finished:?}");
    assert_eq!(finished.code, Some(2), "{finished:?}");
}

#[tokio::test]
async fn inspect_of_what_is_no_component_ends_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("text.wasm");
    std::fs::write(&file, "not wasm").unwrap();
    let finished = tidegate(&["component", "inspect", &file.display().to_string()]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("text.wasm"), "{finished:?}");
}

#[tokio::test]
async fn a_port_that_is_taken_ends_with_1_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    for (key, tables) in [
        ("listeners[0].listen", format!("[[listeners]]\nlisten = \"{address}\"\n")),
        ("admin.listen", format!("[[listeners]]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"{address}\"\n")),
    ] {
        let config = format!("{}{tables}", route(&[&refused_address()], ""));
        std::fs::write(directory.path().join("tidegate.toml"), &config).unwrap();
        let finished = Finished::run(directory.path(), &["run", "--config", "tidegate.toml", "--workers", "1"]).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        let line = config.lines().count();
        let told = format!("tidegate: tidegate.toml:{line}:10: {key}: cannot listen on {address}: ");
        assert!(finished.stderr.contains(&told), "{finished:?}");
    }
}

#[tokio::test]
async fn the_admin_api_says_that_the_proxy_is_ready() {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    assert_eq!(proxy.admin("GET", "/healthz").await.status, 200);
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
    assert_eq!(proxy.admin("GET", "/nonesuch").await.status, 404);
    assert_eq!(proxy.admin("POST", "/metrics").await.status, 405);
}

#[tokio::test]
async fn the_admin_api_lists_routes_upstreams_components_and_connections() {
    let backend = Backend::bind().await;
    let config = route(&[&backend.address()], &format!("filters = [\"script\"]\n{}", guest("script")));
    let proxy = Proxy::start(&config).await;
    let _open = backend.open(proxy.address, "/").await;
    for (target, word) in [
        ("/api/v1/routes", "main".to_owned()),
        ("/api/v1/upstreams", backend.address()),
        ("/api/v1/components", "script".to_owned()),
        ("/api/v1/connections", "main".to_owned()),
    ] {
        let reply = proxy.admin("GET", target).await;
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        assert!(reply.body.contains(&word), "{target}: {reply:?}");
        assert!(serde_json::from_str::<serde_json::Value>(&reply.body).is_ok(), "{target}: {reply:?}");
    }
}

#[tokio::test]
async fn reload_asks_the_running_proxy() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    proxy.rewrite(&format!("{}nonsense = 1\n", route(&[&backend.address()], "")));
    let admin = proxy.admin.to_string();
    let finished = tidegate(&["reload", "--admin", &admin]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.text().contains("nonsense"), "{finished:?}");
}
