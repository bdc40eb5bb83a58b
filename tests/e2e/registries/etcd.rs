//! etcd: keys under a prefix.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use tempfile::TempDir;
use tidegate_tests::{Authority, Echo, Proxy};
use tokio::process::Child;

use super::{Clients, UP, ask, at, free_port, kill, opened, problem, route, run, until_up, until_used};

/// A member of its own.
struct Etcd {
    client: u16,
    peer: u16,
    data: TempDir,
    /// Further arguments.
    with: Vec<String>,
    child: Option<Child>,
}

impl Etcd {
    fn start(with: Vec<String>) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut etcd = Self { client: free_port(), peer: free_port(), data, with, child: None };
        etcd.begin();
        etcd
    }

    fn begin(&mut self) {
        let scheme = if self.with.is_empty() { "http" } else { "https" };
        let (client, peer) =
            (format!("{scheme}://127.0.0.1:{}", self.client), format!("http://127.0.0.1:{}", self.peer));
        let own = [
            "--name=one".to_owned(),
            format!("--data-dir={}", self.data.path().join("data").display()),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=one={peer}"),
        ];
        self.child = Some(run("ETCD", &[own.to_vec(), self.with.clone()].concat()));
    }

    async fn kill(&mut self) {
        kill(self.child.take().unwrap()).await;
    }

    fn address(&self) -> SocketAddr {
        format!("127.0.0.1:{}", self.client).parse().unwrap()
    }

    async fn ask(&self, target: &str, body: serde_json::Value) -> String {
        ask(self.address(), "POST", target, "", &body.to_string()).await
    }

    /// Puts all of them in one step, under keys that are numbers.
    async fn put(&self, values: &[String]) {
        let puts = values.iter().enumerate().map(|(number, value)| {
            json!({ "request_put": { "key": base64(&format!("/tidegate/chat/{number:02}")), "value": base64(value) } })
        });
        let answer = self.ask("/v3/kv/txn", json!({ "success": puts.collect::<Vec<_>>() })).await;
        assert!(answer.contains("\"succeeded\":true"), "{answer}");
    }

    fn discover(&self) -> String {
        format!("etcd = [\"http://127.0.0.1:1\", \"http://{}\"], prefix = \"/tidegate/chat/\"", self.address())
    }
}

/// As etcd takes keys and values.
fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

#[tokio::test]
#[ignore = "needs etcd: tests/discovery/run"]
async fn endpoints_follow_the_keys_and_outlive_an_etcd_that_is_killed() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let mut etcd = Etcd::start(Vec::new());
    etcd.put(&at(&a)).await;
    let proxy = Proxy::start(&route(&etcd.discover())).await;
    until_used(&proxy, at(&a), "etcd, at the start").await;
    let mut clients = Clients::open(&proxy, 20).await;

    let mut some = at(&a);
    some[7] = at(&b)[7].clone();
    let record = json!({ "url": some[7], "weight": 3, "zone": "z" }).to_string();
    etcd.put(&[&at(&a)[..7], &[record], &at(&a)[8..]].concat()).await;
    until_used(&proxy, some, "etcd, after a change of one").await;
    etcd.ask("/v3/kv/deleterange", json!({ "key": base64("/tidegate/chat/07") })).await;
    until_used(&proxy, [&at(&a)[..7], &at(&a)[8..]].concat(), "etcd, after a key is gone").await;
    // Beside the prefix is not under it.
    etcd.ask("/v3/kv/put", json!({ "key": base64("/tidegate/chat"), "value": base64("h:1") })).await;
    etcd.ask("/v3/kv/put", json!({ "key": base64("/tidegate/chat0"), "value": base64("h:1") })).await;

    for round in 0..3 {
        etcd.kill().await;
        proxy.until(UP, &[], 0).await;
        clients.are_served_by("A").await;
        assert_eq!(opened(&proxy).await.0, if round == 0 { "A" } else { "B" });
        etcd.begin();
        etcd.ask("/v3/kv/range", json!({ "key": base64("/") })).await;
        until_up(&proxy, "etcd").await;
        etcd.put(&at(&b)).await;
        until_used(&proxy, at(&b), "etcd, after a change once it is back").await;
        assert_eq!(opened(&proxy).await.0, "B");
    }
    clients.are_served_by("A").await;
    assert_eq!(proxy.metrics().await.count("tidegate_config_generation", &[]), 1);
}

#[tokio::test]
#[ignore = "needs etcd: tests/discovery/run"]
async fn a_key_that_makes_no_sense_leaves_what_it_said_and_all_gone_at_once_is_not_believed() {
    let a = Echo::named("A").await;
    let etcd = Etcd::start(Vec::new());
    etcd.put(&at(&a)[..2]).await;
    let proxy = Proxy::start(&route(&etcd.discover())).await;
    until_used(&proxy, at(&a)[..2].to_vec(), "etcd, two keys").await;
    etcd.put(&["{ \"url\": ".to_owned(), at(&a)[5].clone()]).await;
    until_used(&proxy, vec![at(&a)[0].clone(), at(&a)[5].clone()], "etcd, one of two is broken").await;
    let said = problem(&proxy).await;
    assert!(said.starts_with("/tidegate/chat/00: EOF while parsing"), "{said}");
    let end = base64("/tidegate/chat0");
    etcd.ask("/v3/kv/deleterange", json!({ "key": base64("/tidegate/chat/"), "range_end": end })).await;
    proxy.until("tidegate_discovery_endpoints", &[], 0).await;
    assert_eq!(opened(&proxy).await.0, "A");
}

#[tokio::test]
#[ignore = "needs etcd: tests/discovery/run"]
async fn who_asks_is_told_by_a_password_that_is_shown_to_nobody_else() {
    let a = Echo::named("A").await;
    let etcd = Etcd::start(Vec::new());
    etcd.put(&at(&a)).await;
    let (name, password) = ("root", "open-sesame-7");
    etcd.ask("/v3/auth/user/add", json!({ "name": name, "password": password })).await;
    etcd.ask("/v3/auth/role/add", json!({ "name": "root" })).await;
    etcd.ask("/v3/auth/user/grant", json!({ "user": name, "role": "root" })).await;
    etcd.ask("/v3/auth/enable", json!({})).await;

    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("password");
    std::fs::write(&file, "not-the-password").unwrap();
    let login = format!("{}, username = \"{name}\", password = {{ secret = {{ file = {file:?} }} }}", etcd.discover());
    let proxy = Proxy::start(&route(&login)).await;
    proxy.wait_for_log(&["a source of endpoints fails", "authentication failed"]).await;
    std::fs::write(&file, password).unwrap();
    assert_eq!(proxy.reload().await.status, 200);
    until_used(&proxy, at(&a), "etcd, with a password").await;
    let told = format!("{:?}{}", proxy.log(), proxy.admin("GET", "/api/v1/upstreams").await.body);
    assert!(!told.contains(password) && !told.contains("not-the-password"), "{told}");
}

#[tokio::test]
#[ignore = "needs etcd: tests/discovery/run"]
async fn tls_is_spoken_with_who_has_the_certificate_of_our_authority() {
    let authority = Authority::new();
    let (own, other) = (authority.issue("etcd", &["127.0.0.1"]), Authority::new());
    let shown = [
        format!("--cert-file={}", own.chain.display()),
        format!("--key-file={}", own.key.display()),
        format!("--trusted-ca-file={}", authority.file().display()),
        "--client-cert-auth".to_owned(),
    ];
    let etcd = Etcd::start(shown.to_vec());
    let mine = authority.issue("tidegate", &["tidegate"]);
    let discover = |ca: &Authority| {
        format!(
            "etcd = \"https://127.0.0.1:{}\", prefix = \"/tidegate/chat/\", \
             tls = {{ ca = {:?}, certificate = {{ chain = {:?}, key = {:?} }} }}",
            etcd.client,
            ca.file(),
            mine.chain,
            mine.key
        )
    };
    let proxy = Proxy::start(&route(&discover(&other))).await;
    proxy.wait_for_log(&["a source of endpoints fails", "UnknownIssuer"]).await;
    proxy.rewrite(&route(&discover(&authority)));
    assert_eq!(proxy.reload().await.status, 200);
    // It has no endpoints yet, and says so.
    proxy.until(UP, &[], 1).await;
}
