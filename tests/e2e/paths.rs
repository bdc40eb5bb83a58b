//! Which route a path finds however it is spelled, and what of it goes to the upstream.

use tidegate_tests::config::upstream;
use tidegate_tests::{Backend, Proxy, Request};

/// `/ws` is open and `/ws/admin` wants a token, on a listener with these further keys.
fn guarded(address: &str, listener: &str) -> String {
    let back = upstream("back", &[address], "");
    format!(
        r#"
        {back}
        [[listeners]]
        listen = "127.0.0.1:0"
        {listener}
        [[routes]]
        name = "open"
        path_prefix = "/ws"
        upstream = "back"
        [[routes]]
        name = "guarded"
        path_prefix = "/ws/admin"
        filters = [{{ component = "access", config = {{ tokens = [{{ token = "s3cret", user = "ann" }}] }} }}]
        upstream = "back"
        "#
    )
}

/// The path that arrives at the upstream when this one is asked for.
async fn arriving(proxy: &Proxy, backend: &Backend, request: Request) -> String {
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[]).await;
        head.target().to_owned()
    };
    let (reply, target) = tokio::join!(proxy.answer(&request), upstream);
    assert_eq!(reply.status, 101, "{reply:?}");
    target
}

#[tokio::test]
async fn no_spelling_of_a_guarded_path_gets_past_its_guard() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&guarded(&backend.address(), "")).await;
    for path in [
        "/ws/admin",
        "/ws/x/../admin",
        "/ws/./admin",
        "/ws/x/%2e%2E/admin",
        "/ws//admin",
        "//ws/admin/",
        "/ws/%61dmin",
        "/ws/x/..//admin",
        "/ws/admin;v=1/x",
        "/ws;v=1/admin",
        "/x/../ws/admin",
    ] {
        assert_eq!(proxy.answer(&Request::upgrade(path)).await.status, 401, "{path}");
    }
    let with_token = Request::upgrade("/ws//x/../%61dmin/%2F?a=%61//..").with("Authorization", "Bearer s3cret");
    assert_eq!(arriving(&proxy, &backend, with_token).await, "/ws//admin/%2F?a=%61//..");
}

#[tokio::test]
async fn what_is_no_canonical_path_gets_400_and_reaches_no_upstream() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&guarded(&backend.address(), "")).await;
    for path in ["/..", "/ws/../../admin", "/ws/%zz", "/ws/%", "/ws/admin%00", "/ws/..;/admin"] {
        let reply = proxy.answer(&Request::upgrade(path)).await;
        assert_eq!(reply.status, 400, "{path}");
        assert!(reply.body.starts_with("the path has a"), "{reply:?}");
    }
    proxy.until("tidegate_handshakes_total", &[("outcome", "malformed")], 6).await;
    assert_eq!(arriving(&proxy, &backend, Request::upgrade("/ws/a%2fb")).await, "/ws/a%2fb");
}

#[tokio::test]
async fn a_get_of_an_asterisk_or_an_authority_gets_400() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&tidegate_tests::config::route(&[&backend.address()], "")).await;
    for target in ["*", "proxy.test:80"] {
        assert_eq!(proxy.answer(&Request::upgrade(target)).await.status, 400, "{target}");
    }
    assert_eq!(proxy.answer(&Request::upgrade("*").method("OPTIONS")).await.status, 405);
}

#[tokio::test]
async fn strict_paths_refuse_what_two_readers_could_read_differently() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&guarded(&backend.address(), "paths = \"strict\"")).await;
    for path in ["/ws/./x", "/ws/x/..", "/ws//x", "/ws/a%2Fb", "/ws/a\\b", "/ws/a%5cb", "/ws/%2e"] {
        assert_eq!(proxy.answer(&Request::upgrade(path)).await.status, 400, "{path}");
    }
    assert_eq!(proxy.answer(&Request::upgrade("/ws/%61dmin")).await.status, 401);
    assert_eq!(arriving(&proxy, &backend, Request::upgrade("/ws/%7Eann/caf%C3%A9")).await, "/ws/~ann/caf%C3%A9");
}

#[tokio::test]
async fn a_prefix_is_replaced_in_the_path_that_matched() {
    let backend = Backend::bind().await;
    let back = upstream("back", &[&format!("{}/inner/", backend.address())], "");
    let routes = "[[routes]]\nname = \"main\"\npath_prefix = \"/ws/chat\"\nupstream = \"back\"\n";
    let proxy = Proxy::start(&format!("{back}{routes}")).await;
    for (path, inner) in [
        ("/ws/chat/room?x", "/inner/room?x"),
        ("//ws//chat//room//1", "/inner/room/1"),
        ("/ws;v=1/c%68at/a%2Fb;w", "/inner/a%2Fb;w"),
        ("/ws/chat/room/..", "/inner/"),
    ] {
        assert_eq!(arriving(&proxy, &backend, Request::upgrade(path)).await, inner, "{path}");
    }
}

#[tokio::test]
async fn components_and_services_meet_the_path_that_matched() {
    let backend = Backend::bind().await;
    let back = upstream("back", &[&backend.address()], "");
    let routes = r#"
        [[routes]]
        name = "vip"
        upstream = "back"
        when = [{ component = "conditions", config = { all = [{ path = true, op = "=", value = "/vip/room" }] } }]
        filters = [{ component = "access", config = { tokens = [{ token = "s3cret", user = "ann" }] } }]
        [[routes]]
        name = "services"
        services = { prefixes = { "/chat" = "chat" }, upstreams = { chat = "back" } }
        "#;
    let proxy = Proxy::start(&format!("{back}{routes}")).await;
    for path in ["/vip/room", "//vip/x/..//%72oom", "/vip;a/room;b"] {
        assert_eq!(proxy.answer(&Request::upgrade(path)).await.status, 401, "{path}");
    }
    assert_eq!(arriving(&proxy, &backend, Request::upgrade("/x/..//ch%61t/1")).await, "//chat/1");
    assert_eq!(proxy.answer(&Request::upgrade("/chatter")).await.status, 404);
}
