//! Which route, and which upstream, a handshake finds.

use tidegate_tests::config::{guest, upstream};
use tidegate_tests::{Echo, Frame, Peer, Proxy, Request};

/// Upstreams `a`, `b` and `c`, each with a back end that echoes its name, and `routes`.
async fn start(routes: &str) -> Proxy {
    let (a, b, c) = (Echo::named("a").await, Echo::named("b").await, Echo::named("c").await);
    let upstreams = [("a", a), ("b", b), ("c", c)].map(|(name, echo)| upstream(name, &[echo.address()], "")).concat();
    Proxy::start(&format!("{upstreams}{routes}")).await
}

/// The name of the upstream that a request reaches, or the status that refuses it.
async fn reached_by(proxy: &Proxy, request: Request) -> String {
    let (mut client, reply) = Peer::handshake(proxy.address, &request).await;
    if reply.status != 101 {
        return reply.status.to_string();
    }
    client.send(Frame::text("")).await;
    client.frame().await.as_text()
}

async fn reached(proxy: &Proxy, host: &str, target: &str) -> String {
    reached_by(proxy, Request::upgrade(target).replacing("Host", host)).await
}

#[tokio::test]
async fn an_exact_host_goes_before_a_wildcard_and_a_wildcard_before_any() {
    let proxy = start(
        r#"
        [[routes]]
        name = "any"
        upstream = "a"
        [[routes]]
        name = "wildcard"
        hosts = ["*.example.com"]
        upstream = "b"
        [[routes]]
        name = "exact"
        hosts = ["chat.example.com"]
        upstream = "c"
        "#,
    )
    .await;
    assert_eq!(reached(&proxy, "chat.example.com", "/").await, "c");
    assert_eq!(reached(&proxy, "CHAT.example.com:8080", "/").await, "c");
    assert_eq!(reached(&proxy, "other.example.com", "/").await, "b");
    assert_eq!(reached(&proxy, "example.org", "/").await, "a");
}

#[tokio::test]
async fn the_longest_wildcard_wins() {
    let proxy = start(
        r#"
        [[routes]]
        name = "short"
        hosts = ["*.example.com"]
        upstream = "a"
        [[routes]]
        name = "long"
        hosts = ["*.chat.example.com"]
        upstream = "b"
        "#,
    )
    .await;
    assert_eq!(reached(&proxy, "eu.chat.example.com", "/").await, "b");
    assert_eq!(reached(&proxy, "chat.example.com", "/").await, "a");
}

#[tokio::test]
async fn a_wildcard_matches_one_or_more_labels_and_not_none() {
    let proxy = start(
        r#"
        [[routes]]
        name = "wildcard"
        hosts = ["*.example.com"]
        upstream = "a"
        "#,
    )
    .await;
    assert_eq!(reached(&proxy, "a.example.com", "/").await, "a");
    assert_eq!(reached(&proxy, "c.b.a.example.com", "/").await, "a");
    assert_eq!(reached(&proxy, "example.com", "/").await, "404");
    assert_eq!(reached(&proxy, "anexample.com", "/").await, "404");
}

#[tokio::test]
async fn the_longest_path_wins_by_whole_segments() {
    let proxy = start(
        r#"
        [[routes]]
        name = "short"
        path_prefix = "/ws"
        upstream = "a"
        [[routes]]
        name = "long"
        path_prefix = "/ws/chat"
        upstream = "b"
        [[routes]]
        name = "exact"
        path = "/exact"
        upstream = "c"
        "#,
    )
    .await;
    assert_eq!(reached(&proxy, "x", "/ws/chat").await, "b");
    assert_eq!(reached(&proxy, "x", "/ws/chat/room").await, "b");
    assert_eq!(reached(&proxy, "x", "/ws/chat?room=1").await, "b");
    assert_eq!(reached(&proxy, "x", "/ws/chatter").await, "a");
    assert_eq!(reached(&proxy, "x", "/wsx").await, "404");
    assert_eq!(reached(&proxy, "x", "/exact").await, "c");
    assert_eq!(reached(&proxy, "x", "/exact/more").await, "404");
}

#[tokio::test]
async fn the_host_decides_before_the_path_does() {
    let proxy = start(
        r#"
        [[routes]]
        name = "any-host"
        path_prefix = "/ws/chat/room"
        upstream = "a"
        [[routes]]
        name = "exact-host"
        hosts = ["chat.example.com"]
        path_prefix = "/ws"
        upstream = "b"
        "#,
    )
    .await;
    assert_eq!(reached(&proxy, "chat.example.com", "/ws/chat/room").await, "b");
}

#[tokio::test]
async fn equal_routes_are_tried_in_the_order_of_the_file() {
    let proxy = start(
        r#"
        [[routes]]
        name = "first"
        path_prefix = "/ws"
        when = [{ component = "conditions", config = { all = [{ header = "x-pass", op = "=", value = "first" }] } }]
        upstream = "b"
        [[routes]]
        name = "second"
        path_prefix = "/ws"
        when = [{ component = "conditions", config = { all = [{ method = true, op = "=", value = "GET" }] } }]
        upstream = "a"
        [[routes]]
        name = "third"
        path_prefix = "/ws"
        when = [{ component = "conditions", config = { all = [{ method = true, op = "=", value = "GET" }] } }]
        upstream = "c"
        "#,
    )
    .await;
    assert_eq!(reached_by(&proxy, Request::upgrade("/ws").with("X-Pass", "first")).await, "b");
    assert_eq!(reached_by(&proxy, Request::upgrade("/ws").with("X-Pass", "other")).await, "a");
}

#[tokio::test]
async fn a_route_whose_predicate_says_no_gives_way_to_the_next_candidate() {
    let proxy = start(
        r#"
        [[routes]]
        name = "gold"
        hosts = ["chat.example.com"]
        path_prefix = "/ws/chat"
        when = [{ component = "conditions", config = { all = [{ header = "x-tenant", op = "=", value = "gold" }] } }]
        upstream = "a"
        [[routes]]
        name = "rest"
        path_prefix = "/ws"
        upstream = "b"
        "#,
    )
    .await;
    let request = Request::upgrade("/ws/chat").replacing("Host", "chat.example.com");
    assert_eq!(reached_by(&proxy, request.clone().with("X-Tenant", "gold")).await, "a");
    assert_eq!(reached_by(&proxy, request.clone().with("X-Tenant", "iron")).await, "b");
    assert_eq!(reached_by(&proxy, request).await, "b");
    let labels = [("route", "gold"), ("component", "conditions"), ("verdict", "mismatch")];
    proxy.until("tidegate_component_calls_total", &labels, 2).await;
}

#[tokio::test]
async fn all_predicates_of_a_route_must_hold() {
    let proxy = start(
        r#"
        [[routes]]
        name = "both"
        when = [
            { component = "conditions", config = { all = [{ header = "x-one", op = "=", value = "1" }] } },
            { component = "conditions", config = { all = [{ query = "two", op = "=", value = "2" }] } },
        ]
        upstream = "a"
        "#,
    )
    .await;
    assert_eq!(reached_by(&proxy, Request::upgrade("/?two=2").with("X-One", "1")).await, "a");
    assert_eq!(reached_by(&proxy, Request::upgrade("/?two=2")).await, "404");
    assert_eq!(reached_by(&proxy, Request::upgrade("/").with("X-One", "1")).await, "404");
}

#[tokio::test]
async fn conditions_may_be_nested() {
    let proxy = start(
        r#"
        [[routes]]
        name = "nested"
        upstream = "a"
        [[routes.when]]
        component = "conditions"
        config = { any = [
            { all = [{ cookie = "plan", op = "=", value = "gold" }, { path = true, op = "startsWith", value = "/vip" }] },
            { ip = true, op = "=", value = "203.0.113.7" },
            { header = "user-agent", op = "regex", value = "^internal/[0-9]+$" },
        ] }
        "#,
    )
    .await;
    assert_eq!(reached_by(&proxy, Request::upgrade("/vip/1").with("Cookie", "plan=gold")).await, "a");
    assert_eq!(reached_by(&proxy, Request::upgrade("/").with("Cookie", "plan=gold")).await, "404");
    assert_eq!(reached_by(&proxy, Request::upgrade("/").with("User-Agent", "internal/7")).await, "a");
    assert_eq!(reached_by(&proxy, Request::upgrade("/").with("User-Agent", "external/7")).await, "404");
}

#[tokio::test]
async fn a_predicate_that_traps_matches_nothing_and_is_counted() {
    let proxy = start(&format!(
        r#"
        [[routes]]
        name = "hostile"
        path_prefix = "/ws"
        when = ["hostile-predicate"]
        upstream = "a"
        {}"#,
        guest("hostile-predicate")
    ))
    .await;
    assert_eq!(reached_by(&proxy, Request::upgrade("/ws")).await, "a");
    let refused = reached_by(&proxy, Request::upgrade("/ws").with("X-Boom", "1")).await;
    assert!(refused.starts_with('5'), "a broken predicate answered {refused}");
    assert_eq!(reached_by(&proxy, Request::upgrade("/ws")).await, "a");
    let labels = [("component", "hostile-predicate"), ("reason", "trap")];
    proxy.until("tidegate_component_failures_total", &labels, 1).await;
}

#[tokio::test]
async fn the_service_header_wins_over_the_path_table() {
    let proxy = start(SERVICES).await;
    assert_eq!(reached_by(&proxy, Request::upgrade("/b/x").with("service_id", "service-a")).await, "a");
    assert_eq!(reached_by(&proxy, Request::upgrade("/b/x").with("service-id", "service-a")).await, "a");
}

#[tokio::test]
async fn the_path_table_of_services_matches_by_segment() {
    let proxy = start(SERVICES).await;
    assert_eq!(reached_by(&proxy, Request::upgrade("/b/x")).await, "b");
    assert_eq!(reached_by(&proxy, Request::upgrade("/b")).await, "b");
    assert_eq!(reached_by(&proxy, Request::upgrade("/bx")).await, "c");
}

#[tokio::test]
async fn a_handshake_that_names_no_known_service_takes_the_next_route() {
    let proxy = start(SERVICES).await;
    assert_eq!(reached_by(&proxy, Request::upgrade("/other")).await, "c");
    assert_eq!(reached_by(&proxy, Request::upgrade("/other").with("service_id", "service-x")).await, "c");
}

const SERVICES: &str = r#"
    [[routes]]
    name = "services"
    [routes.services.upstreams]
    service-a = "a"
    service-b = "b"
    [routes.services.prefixes]
    "/a" = "service-a"
    "/b" = "service-b"
    [[routes]]
    name = "rest"
    upstream = "c"
"#;

#[tokio::test]
async fn a_disabled_endpoint_is_not_picked_even_when_alone() {
    let echo = Echo::named("a").await;
    let proxy = Proxy::start(&format!(
        r#"
        [upstreams.back]
        endpoints = [{{ url = "ws://{}", enabled = false }}]
        [[routes]]
        name = "main"
        upstream = "back"
        "#,
        echo.address()
    ))
    .await;
    assert_eq!(reached(&proxy, "x", "/").await, "503");
}

#[tokio::test]
async fn a_disabled_endpoint_is_not_picked_beside_another() {
    let (off, on) = (Echo::named("off").await, Echo::named("on").await);
    let proxy = Proxy::start(&format!(
        r#"
        [upstreams.back]
        endpoints = [{{ url = "ws://{}", enabled = false, weight = 1000 }}, {{ url = "ws://{}", weight = 1 }}]
        [[routes]]
        name = "main"
        upstream = "back"
        "#,
        off.address(),
        on.address()
    ))
    .await;
    for _ in 0..5 {
        assert_eq!(reached(&proxy, "x", "/").await, "on");
    }
}

#[tokio::test]
async fn an_endpoint_url_without_a_scheme_or_with_http_means_ws() {
    for scheme in ["", "http://"] {
        let echo = Echo::named("a").await;
        let proxy = Proxy::start(&format!(
            r#"
            [upstreams.back]
            endpoints = [{{ url = "{scheme}{}" }}]
            [[routes]]
            name = "main"
            upstream = "back"
            "#,
            echo.address()
        ))
        .await;
        assert_eq!(reached(&proxy, "x", "/").await, "a", "for the scheme {scheme:?}");
    }
}
