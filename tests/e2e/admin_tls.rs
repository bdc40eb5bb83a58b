//! The admin API over TLS, and commands that ask it.

use std::path::Path;

use tidegate_tests::config::route;
use tidegate_tests::{Authority, Finished, Issued, Proxy, Request, Trust, refused_address, within};

/// A proxy whose admin API shows this certificate.
async fn start(issued: &Issued, rest: &str) -> Proxy {
    Proxy::start(&config(issued, rest)).await
}

fn config(issued: &Issued, rest: &str) -> String {
    let admin = format!("[admin]\nlisten = \"127.0.0.1:0\"\n[admin.tls]\ncertificates = [{}]\n{rest}\n", issued.toml());
    format!("{}{admin}", route(&[&refused_address()], ""))
}

/// A command that asks for a name of the admin API.
async fn ask(proxy: &Proxy, host: &str, arguments: &[&str]) -> Finished {
    let admin = format!("https://{host}:{}", proxy.admin.port());
    Finished::run(Path::new("/"), &[&["log-level", "--admin", &admin], arguments].concat()).await
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn samples(proxy: &Proxy, trust: &Trust) -> String {
    let request = Request::new("GET", "/metrics").replacing("Host", &proxy.admin.to_string());
    let (_peer, reply) = trust.handshake(proxy.admin, "127.0.0.1", &request).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.body
}

#[tokio::test]
async fn commands_ask_over_tls_and_say_why_where_they_cannot() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let issued = authority.issue("a", &["127.0.0.1"]);
    let proxy = start(&issued, "").await;
    let (ca, other) = (authority.file(), stranger.file());
    let asked = ask(&proxy, "127.0.0.1", &["--ca", path(&ca)]).await;
    assert_eq!((asked.code, &*asked.stdout), (Some(0), "info\n"), "{asked:?}");
    for (host, ca, told) in
        [("127.0.0.1", &other, "the certificate comes from an unknown issuer"), ("localhost", &ca, "localhost")]
    {
        let asked = ask(&proxy, host, &["--ca", path(ca)]).await;
        assert_eq!(asked.code, Some(1), "{asked:?}");
        let place = format!("there is no TLS with https://{host}:{}: ", proxy.admin.port());
        assert!(asked.stderr.contains(&place) && asked.stderr.contains(told), "{}", asked.stderr);
    }
    let clear = Finished::run(Path::new("/"), &["log-level", "--admin", &proxy.admin.to_string()]).await;
    assert_eq!(clear.code, Some(1), "{clear:?}");
    assert!(clear.stderr.contains("where it speaks TLS, ask it by `https://`"), "{}", clear.stderr);
    let needless = ["log-level", "--admin", "127.0.0.1:1", "--ca", path(&ca)];
    let needless = Finished::run(Path::new("/"), &needless).await;
    assert_eq!(needless.code, Some(2), "{needless:?}");
    assert!(needless.stderr.contains("write --admin https://"), "{}", needless.stderr);
    let absent = ask(&proxy, "127.0.0.1", &["--ca", "/absent.pem"]).await;
    assert_eq!(absent.code, Some(2), "{absent:?}");
    assert!(absent.stderr.contains("/absent.pem: No such file"), "{}", absent.stderr);
    let metrics = samples(&proxy, &authority.trust()).await;
    let counted = |outcome: &str, version: &str, count: u32| {
        let labels = format!("listener=\"127.0.0.1:0\",outcome=\"{outcome}\",version=\"{version}\"");
        let line = format!("tidegate_tls_handshakes_total{{{labels}}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    };
    // The command, and who asks for the metrics.
    counted("full", "1.3", 2);
    assert!(metrics.contains("tidegate_certificate_expiry_seconds{listener=\"127.0.0.1:0\",name=\"127.0.0.1\"}"));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on_and_open_connections_go_on() {
    let authority = Authority::new();
    let issued = authority.issue("a", &["127.0.0.1"]);
    let proxy = start(&issued, "").await;
    let ca = authority.file();
    let request = Request::new("GET", "/api/v1/routes").replacing("Host", &proxy.admin.to_string());
    let (mut open, reply) = authority.trust().handshake(proxy.admin, "127.0.0.1", &request).await;
    assert_eq!(reply.status, 200);

    let key = std::fs::read(&issued.key).unwrap();
    std::fs::write(&issued.key, "no key").unwrap();
    proxy.wait_for_log(&["rejected", "admin.tls.certificates[0].key", "a.key holds no private key"]).await;
    assert_eq!(ask(&proxy, "127.0.0.1", &["--ca", path(&ca)]).await.code, Some(0));
    std::fs::write(&issued.key, key).unwrap();

    let renewed = authority.issue("b", &["localhost"]);
    std::fs::copy(&renewed.key, &issued.key).unwrap();
    std::fs::copy(&renewed.chain, &issued.chain).unwrap();
    let is_shown = async || ask(&proxy, "localhost", &["--ca", path(&ca)]).await.code == Some(0);
    within("the renewed certificate", async { while !is_shown().await {} }).await;
    assert_eq!(open.exchange(&request).await.status, 200);
}

#[tokio::test]
async fn tls_of_the_admin_api_begins_and_ends_with_a_reload() {
    let authority = Authority::new();
    let issued = authority.issue("a", &["127.0.0.1"]);
    let without = "watch = false\n".to_owned() + &route(&[&refused_address()], "");
    let proxy = Proxy::start(&without).await;
    let ca = authority.file();
    proxy.rewrite(&("watch = false\n".to_owned() + &config(&issued, "")));
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(ask(&proxy, "127.0.0.1", &["--ca", path(&ca)]).await.code, Some(0));
    proxy.rewrite(&without);
    let admin = format!("https://{}", proxy.admin);
    let reloaded = Finished::run(Path::new("/"), &["reload", "--admin", &admin, "--ca", path(&ca)]).await;
    assert_eq!(reloaded.code, Some(0), "{reloaded:?}");
    assert_eq!(proxy.admin("GET", "/healthz").await.status, 200);
}

#[tokio::test]
async fn who_shows_no_certificate_that_is_asked_for_is_not_answered() {
    let authority = Authority::new();
    let (issued, ann) = (authority.issue("a", &["127.0.0.1"]), authority.issue("ann", &["ann.example"]));
    let ca = authority.file();
    let proxy = start(&issued, &format!("client_auth = {{ ca = {ca:?} }}")).await;
    let ca = path(&ca);
    let refused = ask(&proxy, "127.0.0.1", &["--ca", ca]).await;
    assert_eq!((refused.code, &*refused.stdout), (Some(1), ""), "{refused:?}");
    let shown = ["--ca", ca, "--certificate", path(&ann.chain), "--key", path(&ann.key)];
    let asked = ask(&proxy, "127.0.0.1", &shown).await;
    assert_eq!((asked.code, &*asked.stdout), (Some(0), "info\n"), "{asked:?}");
    let mixed = ["--ca", ca, "--certificate", path(&ann.chain), "--key", path(&issued.key)];
    let mixed = ask(&proxy, "127.0.0.1", &mixed).await;
    assert_eq!(mixed.code, Some(2), "{mixed:?}");
    assert!(mixed.stderr.contains("a.key holds a key that does not fit"), "{}", mixed.stderr);
}
