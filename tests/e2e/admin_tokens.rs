//! Who may ask the admin API for what.

use tidegate_tests::config::route;
use tidegate_tests::{Finished, Proxy, Reply, Request, refused_address};

/// `sha256sum` of `hello` and of `test`.
const TOKENS: &str = "tokens = [
    { name = \"ann\", sha256 = \"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\", role = \"operator\" },
    { name = \"bob\", sha256 = \"9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08\", role = \"viewer\" },
]";

async fn start(rest: &str) -> Proxy {
    let admin = format!("[admin]\nlisten = \"127.0.0.1:0\"\n{TOKENS}\n{rest}\n");
    Proxy::start(&format!("watch = false\n{}{admin}", route(&[&refused_address()], ""))).await
}

async fn ask(proxy: &Proxy, token: Option<&str>, method: &str, target: &str) -> Reply {
    let mut request = Request::new(method, target).replacing("Host", &proxy.admin.to_string());
    if let Some(token) = token {
        request = request.with("Authorization", &format!("Bearer {token}"));
    }
    tidegate_tests::request(proxy.admin, &request).await
}

#[tokio::test]
async fn each_request_but_a_probe_needs_a_token_and_a_viewer_may_only_look() {
    let proxy = start("").await;
    for (token, method, target, status) in [
        (None, "GET", "/healthz", 200),
        (None, "GET", "/readyz", 200),
        (None, "GET", "/metrics", 401),
        (None, "GET", "/", 401),
        (None, "GET", "/api/v1/routes", 401),
        (Some("hell"), "GET", "/api/v1/routes", 401),
        (Some("test"), "GET", "/api/v1/routes", 200),
        (Some("test"), "GET", "/metrics", 200),
        (Some("test"), "POST", "/api/v1/reload", 403),
        (Some("test"), "PUT", "/api/v1/log?level=debug", 403),
        (Some("test"), "DELETE", "/api/v1/connections?route=main", 403),
        (Some("hello"), "DELETE", "/api/v1/connections?route=main", 200),
        (Some("hello"), "POST", "/api/v1/reload", 200),
        (Some("hello"), "PUT", "/api/v1/log?level=debug", 200),
    ] {
        let reply = ask(&proxy, token, method, target).await;
        assert_eq!(reply.status, status, "{token:?} {method} {target}: {reply:?}");
        assert_eq!(reply.header("www-authenticate").starts_with("Bearer"), status > 400, "{reply:?}");
    }
    proxy.wait_for_log(&["asked of the admin API", "ann", "/api/v1/reload"]).await;
    let metrics = ask(&proxy, Some("test"), "GET", "/metrics").await.body;
    assert!(metrics.contains("tidegate_admin_refusals_total{reason=\"token\"} 7"), "{metrics}");
}

#[tokio::test]
async fn metrics_are_for_everybody_where_it_says_so() {
    let proxy = start("metrics = \"public\"").await;
    assert_eq!(ask(&proxy, None, "GET", "/metrics").await.status, 200);
    assert_eq!(ask(&proxy, None, "GET", "/api/v1/routes").await.status, 401);
}

#[tokio::test]
async fn an_admin_api_that_everybody_may_reach_and_ask_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let config = |admin: &str| {
        format!("{}[[listeners]]\nlisten = \"127.0.0.1:0\"\n[admin]\n{admin}\n", route(&[&refused_address()], ""))
    };
    for (admin, code) in [
        ("listen = \"0.0.0.0:0\"".to_owned(), 2),
        ("listen = \"[::]:0\"".to_owned(), 2),
        ("listen = \"0.0.0.0:0\"\nopen = true".to_owned(), 0),
        (format!("listen = \"0.0.0.0:0\"\n{TOKENS}"), 0),
        ("listen = \"[::1]:0\"".to_owned(), 0),
    ] {
        std::fs::write(directory.path().join("a.toml"), config(&admin)).unwrap();
        let finished = Finished::run(directory.path(), &["check", "--config", "a.toml"]).await;
        assert_eq!(finished.code, Some(code), "{admin}: {finished:?}");
        assert_eq!(finished.stderr.contains("admin.listen: everybody who reaches"), code == 2, "{finished:?}");
    }
}
