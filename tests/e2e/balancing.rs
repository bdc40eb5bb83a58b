//! Which endpoint of an upstream gets a connection.

use tidegate_tests::config::guest_within;
use tidegate_tests::{Backend, Echo, Frame, Peer, Proxy, Request, refused_address};

/// One route to endpoints with these addresses and further keys, balanced as `upstream` says.
fn balanced(upstream: &str, endpoints: &[(&str, &str)]) -> String {
    let endpoints: Vec<String> =
        endpoints.iter().map(|(address, keys)| format!("{{ url = \"ws://{address}\"{keys} }}")).collect();
    format!(
        "[upstreams.back]\n{upstream}\nendpoints = [{}]\n[[routes]]\nname = \"main\"\nupstream = \"back\"\n",
        endpoints.join(", ")
    )
}

/// Opens a WebSocket and says which named echo it reached.
async fn named(proxy: &Proxy, request: Request) -> (String, Peer) {
    let (mut client, reply) = Peer::handshake(proxy.address, &request).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    client.send(Frame::text("")).await;
    (client.frame().await.as_text(), client)
}

async fn cycle(proxy: &Proxy, count: usize) -> String {
    let mut names = String::new();
    for _ in 0..count {
        names.push_str(&named(proxy, Request::upgrade("/")).await.0);
    }
    names
}

#[tokio::test]
async fn round_robin_of_50_30_20_gives_abcaabacba() {
    let (a, b, c) = (Echo::named("A").await, Echo::named("B").await, Echo::named("C").await);
    let endpoints = [(a.address(), ", weight = 50"), (b.address(), ", weight = 30"), (c.address(), ", weight = 20")];
    let proxy = Proxy::start(&balanced("balance = \"round-robin\"", &endpoints)).await;
    assert_eq!(cycle(&proxy, 20).await, "ABCAABACBAABCAABACBA");
}

#[tokio::test]
async fn round_robin_of_5_1_1_gives_aabacaa() {
    let (a, b, c) = (Echo::named("A").await, Echo::named("B").await, Echo::named("C").await);
    let endpoints = [(a.address(), ", weight = 5"), (b.address(), ", weight = 1"), (c.address(), ", weight = 1")];
    let proxy = Proxy::start(&balanced("balance = \"round-robin\"", &endpoints)).await;
    assert_eq!(cycle(&proxy, 7).await, "AABACAA");
}

#[tokio::test]
async fn an_endpoint_that_has_just_started_has_weight_1_while_it_warms_up() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let endpoints = [(a.address(), ", weight = 50, warmup = \"10h\""), (b.address(), ", weight = 1")];
    let proxy = Proxy::start(&balanced("balance = \"round-robin\"", &endpoints)).await;
    let names = cycle(&proxy, 6).await;
    assert_eq!(names.matches('A').count(), 3, "{names}");
}

#[tokio::test]
async fn a_retry_goes_to_another_endpoint() {
    let b = Echo::named("B").await;
    let endpoints = [(&*refused_address(), ", weight = 50"), (b.address(), ", weight = 50")];
    let proxy = Proxy::start(&balanced("retries = 1", &endpoints)).await;
    assert_eq!(cycle(&proxy, 6).await, "BBBBBB");
    let metrics = proxy.metrics().await;
    let outcomes = metrics.by_label("tidegate_upstream_connects_total", "outcome");
    assert_eq!(outcomes.get("connected"), Some(&6), "{outcomes:?}");
    assert!(outcomes.get("refused").is_some_and(|refused| *refused >= 1), "{outcomes:?}");
}

#[tokio::test]
async fn a_503_of_an_upstream_is_retried_elsewhere() {
    let full = Backend::bind().await.always_answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let b = Echo::named("B").await;
    let endpoints = [(full.as_str(), ""), (b.address(), "")];
    let proxy = Proxy::start(&balanced("retries = 1", &endpoints)).await;
    assert_eq!(cycle(&proxy, 4).await, "BBBB");
}

#[tokio::test]
async fn a_401_of_an_upstream_is_not_retried() {
    let stern = Backend::bind().await.always_answer("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
    let proxy = Proxy::start(&balanced("retries = 3", &[(stern.as_str(), "")])).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 401);
    proxy.until("tidegate_upstream_connects_total", &[("upstream", "back")], 1).await;
}

#[tokio::test]
async fn an_upstream_that_is_too_slow_is_retried_elsewhere() {
    let silent = Backend::bind().await;
    let b = Echo::named("B").await;
    let config = balanced("retries = 1", &[(&silent.address(), ""), (b.address(), "")]);
    let proxy = Proxy::start(&format!("{config}handshake_timeout = \"200ms\"\n")).await;
    assert_eq!(cycle(&proxy, 2).await, "BB");
    proxy.until("tidegate_upstream_connects_total", &[("outcome", "handshake_timeout")], 1).await;
}

#[tokio::test]
async fn there_are_at_most_retries_plus_one_attempts() {
    let addresses = [refused_address(), refused_address(), refused_address(), refused_address()];
    let endpoints: Vec<(&str, &str)> = addresses.iter().map(|address| (address.as_str(), "")).collect();
    let proxy = Proxy::start(&balanced("retries = 2", &endpoints)).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 502);
    let metrics = proxy.until("tidegate_upstream_connects_total", &[("outcome", "refused")], 3).await;
    let tried = metrics.by_label("tidegate_upstream_connects_total", "endpoint");
    assert!(tried.values().all(|attempts| *attempts == 1), "an endpoint was tried twice: {tried:?}");
}

#[tokio::test]
async fn without_retries_there_is_one_attempt() {
    let (dead, also_dead) = (refused_address(), refused_address());
    let proxy = Proxy::start(&balanced("retries = 0", &[(&dead, ""), (&also_dead, "")])).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 502);
    proxy.until("tidegate_upstream_connects_total", &[("outcome", "refused")], 1).await;
}

#[tokio::test]
async fn consistent_hash_keeps_a_user_on_one_endpoint() {
    let (a, b, c) = (Echo::named("A").await, Echo::named("B").await, Echo::named("C").await);
    let balance = r#"balance = { component = "consistent-hash", config = { key = "header:x-user" } }"#;
    let endpoints = [(a.address(), ""), (b.address(), ""), (c.address(), "")];
    let proxy = Proxy::start(&balanced(balance, &endpoints)).await;
    let mut used = std::collections::BTreeSet::new();
    for user in 0..20 {
        let request = Request::upgrade("/").with("X-User", &format!("user-{user}"));
        let first = named(&proxy, request.clone()).await.0;
        assert_eq!(named(&proxy, request).await.0, first, "user {user} moved");
        used.insert(first);
    }
    assert_eq!(used.len(), 3, "20 users share {used:?}");
}

#[tokio::test]
async fn least_connections_goes_by_live_counts() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let endpoints = [(a.address(), ""), (b.address(), "")];
    let proxy = Proxy::start(&balanced("balance = \"least-connections\"", &endpoints)).await;
    let mut on_a = Vec::new();
    let mut on_b = Vec::new();
    for _ in 0..4 {
        let (name, client) = named(&proxy, Request::upgrade("/")).await;
        if name == "A" { on_a.push(client) } else { on_b.push(client) }
    }
    assert_eq!((on_a.len(), on_b.len()), (2, 2));
    let endpoint = format!("ws://{}", a.address());
    on_a.clear();
    proxy.until("tidegate_upstream_connections_active", &[("endpoint", &endpoint)], 0).await;
    let next = [named(&proxy, Request::upgrade("/")).await, named(&proxy, Request::upgrade("/")).await];
    assert_eq!(next.each_ref().map(|(name, _)| name.as_str()), ["A", "A"]);
}

#[tokio::test]
async fn live_counts_are_shared_by_all_workers() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let endpoints = [(a.address(), ""), (b.address(), "")];
    let config = balanced("balance = \"least-connections\"", &endpoints);
    let proxy = Proxy::with_workers(2, &config).await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(named(&proxy, Request::upgrade("/")).await);
    }
    let on_a = open.iter().filter(|(name, _)| name == "A").count();
    assert_eq!(on_a, 8);
}

#[tokio::test]
async fn a_balancer_that_misbehaves_is_replaced_by_a_uniform_choice_and_counted() {
    for (deed, reason) in [
        ("trap", "trap"),
        ("trap-when-told", "trap"),
        ("loop", "deadline"),
        ("unknown-endpoint", "invalid_answer"),
        ("owned-header", "invalid_answer"),
        ("two-lines-in-a-header", "invalid_answer"),
        ("many-headers", "attachments"),
        ("large-header", "attachments"),
    ] {
        let (a, b) = (Echo::named("A").await, Echo::named("B").await);
        let balance = format!(r#"balance = {{ component = "hostile-balancer", config = {{ do = "{deed}" }} }}"#);
        let config = balanced(&balance, &[(a.address(), ""), (b.address(), "")]);
        let proxy = Proxy::start(&format!("{config}{}", guest_within("hostile-balancer", "100ms"))).await;
        let names = cycle(&proxy, 3).await;
        assert!(["ABA", "BAB"].contains(&names.as_str()), "{deed}: {names}");
        let labels = [("component", "hostile-balancer"), ("reason", reason)];
        proxy.until("tidegate_component_failures_total", &labels, 3).await;
        let warnings = proxy.log().into_iter().filter(|line| line["level"] == "WARN");
        let about = warnings.filter(|line| line.to_string().contains("hostile-balancer")).count();
        assert!(about <= 2, "{deed} was logged {about} times within a minute");
    }
}

#[tokio::test]
async fn a_balancer_that_picks_nobody_gets_the_client_503() {
    let a = Echo::named("A").await;
    let balance = r#"balance = { component = "hostile-balancer", config = { do = "nobody" } }"#;
    let config = balanced(balance, &[(a.address(), "")]);
    let proxy = Proxy::start(&format!("{config}{}", guest_within("hostile-balancer", "100ms"))).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
}

#[tokio::test]
async fn every_standard_balancer_reaches_an_endpoint() {
    for name in ["round-robin", "random", "consistent-hash", "least-connections", "p2c"] {
        let a = Echo::named("A").await;
        let dead = refused_address();
        let config = balanced(&format!("balance = \"{name}\"\nretries = 1"), &[(a.address(), ""), (&dead, "")]);
        let proxy = Proxy::start(&config).await;
        assert_eq!(cycle(&proxy, 4).await, "AAAA", "with {name}");
    }
}

#[tokio::test]
async fn a_lease_is_given_back_when_its_connection_ends() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&balanced("", &[(&backend.address(), "")])).await;
    let (client, upstream) = backend.open(proxy.address, "/").await;
    proxy.until("tidegate_upstream_connections_active", &[("upstream", "back")], 1).await;
    client.reset();
    drop(upstream);
    proxy.until("tidegate_upstream_connections_active", &[("upstream", "back")], 0).await;
}

#[tokio::test]
async fn eight_connections_to_four_endpoints_are_two_on_each_whichever_of_eight_workers_they_are_on() {
    let echoes = [Echo::named("A").await, Echo::named("B").await, Echo::named("C").await, Echo::named("D").await];
    let endpoints = echoes.each_ref().map(|echo| (echo.address(), ""));
    let proxy = Proxy::with_workers(8, &balanced("balance = \"round-robin\"", &endpoints)).await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(named(&proxy, Request::upgrade("/")).await);
    }
    let names: String = open.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(["A", "B", "C", "D"].map(|name| names.matches(name).count()), [2; 4], "{names}");
}

#[tokio::test]
async fn weights_interleave_smoothly_over_all_workers() {
    let (a, b, c) = (Echo::named("A").await, Echo::named("B").await, Echo::named("C").await);
    let endpoints = [(a.address(), ", weight = 50"), (b.address(), ", weight = 30"), (c.address(), ", weight = 20")];
    let proxy = Proxy::with_workers(4, &balanced("", &endpoints)).await;
    assert_eq!(cycle(&proxy, 20).await, "ABCAABACBAABCAABACBA");
}
