//! Compiled components on disk: a start takes them from there, whole ones only, and only from where nobody else writes.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Finished, Frame, Proxy, guests, refused_address};

const COMPILES: &str = "tidegate_component_compiles_total";
const COMPILED: &[(&str, &str)] = &[("source", "compiled")];
const CACHE: &[(&str, &str)] = &[("source", "cache")];

/// A configuration with a cache.
fn cached(cache: &Path, config: &str) -> String {
    format!("cache_directory = {cache:?}\n{config}")
}

async fn compiles(proxy: &Proxy) -> (u64, u64) {
    let metrics = proxy.metrics().await;
    (metrics.count(COMPILES, COMPILED), metrics.count(COMPILES, CACHE))
}

fn entries(cache: &Path) -> Vec<PathBuf> {
    fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_start_with_50_components_compiles_none_that_was_compiled_before() {
    const COMPONENTS: u8 = 50;
    /// A start that compiles more is not ready in time on a slow machine.
    const AT_ONCE: usize = 10;
    let root = tempfile::tempdir().unwrap();
    let backend = Backend::bind().await;
    let tables = (0..COMPONENTS).map(|number| {
        let path = root.path().join(format!("c{number}.wasm"));
        fs::write(&path, guests::rebuilt("miscount", number)).unwrap();
        format!("[components.c{number}]\npath = {path:?}\ndeadline = \"1s\"\n")
    });
    let tables: Vec<_> = tables.collect();
    let config = |count: usize| {
        let filter = "filters = [\"c7\"]";
        let config = route(&[&backend.address()], &format!("{filter}\n{}", tables[..count].concat()));
        cached(&root.path().join("cache"), &config)
    };
    // The first compiles the balancer, too.
    let (mut balancer, mut known) = (1, 0);
    for count in (AT_ONCE..=tables.len()).step_by(AT_ONCE) {
        let proxy = Proxy::start(&config(count)).await;
        assert_eq!(compiles(&proxy).await, (AT_ONCE as u64 + balancer, known));
        (balancer, known) = (0, count as u64 + 1);
    }

    let proxy = Proxy::start(&config(tables.len())).await;

    assert_eq!(compiles(&proxy).await, (0, known));
    let views: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/components").await.body).unwrap();
    let views = views.as_array().unwrap();
    assert_eq!(views.len() as u64, known);
    assert!(views.iter().all(|view| view["compile_source"] == "cache"), "{views:?}");
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("hello")).await;
    upstream.expect(Frame::text("hello")).await;
}

#[tokio::test]
async fn a_component_that_comes_back_is_not_compiled_again() {
    let root = tempfile::tempdir().unwrap();
    let config = |number: u8| {
        let path = root.path().join(format!("c{number}.wasm"));
        fs::write(&path, guests::rebuilt("script", number)).unwrap();
        let components = format!("filters = [\"c\"]\n[components.c]\npath = {path:?}\ndeadline = \"1s\"");
        cached(&root.path().join("cache"), &route(&[&refused_address()], &components))
    };
    let proxy = Proxy::start(&config(1)).await;
    let reload = async |number: u8| {
        proxy.rewrite(&config(number));
        let reply = proxy.reload().await;
        assert_eq!(reply.status, 200, "{reply:?}");
    };
    reload(2).await;
    assert_eq!(compiles(&proxy).await, (3, 0));
    reload(1).await;
    assert_eq!(compiles(&proxy).await, (3, 1));
}

#[tokio::test]
async fn a_damaged_entry_is_compiled_anew_with_one_warning() {
    let root = tempfile::tempdir().unwrap();
    let cache = root.path().join("cache");
    let config = cached(&cache, &route(&[&refused_address()], &format!("filters = [\"script\"]\n{}", guest("script"))));
    drop(Proxy::start(&config).await);
    for entry in entries(&cache) {
        let bytes = fs::read(&entry).unwrap();
        fs::write(&entry, &bytes[..bytes.len() - 1]).unwrap();
    }
    let proxy = Proxy::start(&config).await;
    assert_eq!(compiles(&proxy).await, (2, 0));
    let warnings: Vec<_> = proxy.log().into_iter().filter(|line| line.to_string().contains("cache entry")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    drop(proxy);
    assert_eq!(compiles(&Proxy::start(&config).await).await, (0, 2));
}

#[tokio::test]
async fn a_cache_that_cannot_be_written_is_a_warning() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("file");
    fs::write(&file, "").unwrap();
    let proxy = Proxy::start(&cached(&file.join("cache"), &route(&[&refused_address()], ""))).await;
    proxy.wait_for_log(&["WARN", "cannot be kept"]).await;
    assert_eq!(compiles(&proxy).await, (1, 0));
}

#[tokio::test]
async fn a_check_uses_the_cache_if_there_is_one() {
    let root = tempfile::tempdir().unwrap();
    let config = format!("{}\n[[listeners]]\nlisten = \"127.0.0.1:8080\"\n", route(&[&refused_address()], ""));
    fs::write(root.path().join("tidegate.toml"), cached(Path::new("cache"), &config)).unwrap();
    let arguments = ["check", "--config", "tidegate.toml"];
    let check = || Finished::run(root.path(), &arguments);
    let finished = check().await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    let cache = root.path().join("cache");
    assert!(!cache.exists());
    fs::create_dir(&cache).unwrap();
    for _ in 0..2 {
        assert_eq!(check().await.code, Some(0));
        assert_eq!(entries(&cache).len(), 1);
    }
}

#[tokio::test]
async fn a_cache_that_others_may_write_to_is_refused_at_its_place() {
    let root = tempfile::tempdir().unwrap();
    let config = format!("{}\n[[listeners]]\nlisten = \"127.0.0.1:0\"\n", route(&[&refused_address()], ""));
    fs::write(root.path().join("tidegate.toml"), cached(Path::new("cache"), &config)).unwrap();
    fs::create_dir(root.path().join("cache")).unwrap();
    fs::set_permissions(root.path().join("cache"), Permissions::from_mode(0o777)).unwrap();
    for verb in ["check", "run"] {
        let finished = Finished::run(root.path(), &[verb, "--config", "tidegate.toml"]).await;
        assert_eq!(finished.code, Some(2), "{verb}: {finished:?}");
        for words in ["tidegate.toml:1:", "cache_directory", "writable by others"] {
            assert!(finished.stderr.contains(words), "{verb}: no {words} in {finished:?}");
        }
    }
}
