//! The request that the upstream gets: what of the client's is in it, and what is the proxy's own.

use tidegate_tests::config::{route, upstream};
use tidegate_tests::{Backend, Head, Peer, Proxy, Request};

/// The request that arrives when a client sends `request` to a route described by `rest`.
async fn arriving(rest: &str, request: Request) -> Head {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], rest)).await;
    sent(&proxy, &backend, &request).await.0
}

/// Opens a WebSocket and gives the request that arrived, and both ends.
async fn sent(proxy: &Proxy, backend: &Backend, request: &Request) -> (Head, Peer, Peer) {
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[]).await;
        (upstream, head)
    };
    let ((client, reply), (upstream, head)) = tokio::join!(Peer::handshake(proxy.address, request), upstream);
    assert_eq!(reply.status, 101, "{reply:?}");
    (head, client, upstream)
}

#[tokio::test]
async fn headers_cookies_path_and_query_reach_the_upstream() {
    let request = Request::upgrade("/ws/chat%20room?token=a%2Fb&x=1")
        .with("Authorization", "Bearer abc")
        .with("Cookie", "session=1; theme=dark")
        .with("X-Tag", "one")
        .with("X-Tag", "two")
        .with("Origin", "https://chat.example.com")
        .with("User-Agent", "test");
    let head = arriving("", request).await;
    assert_eq!(head.line, "GET /ws/chat%20room?token=a%2Fb&x=1 HTTP/1.1");
    assert_eq!(head.header("authorization"), Some("Bearer abc"));
    assert_eq!(head.header("cookie"), Some("session=1; theme=dark"));
    assert_eq!(head.joined("x-tag"), "one, two");
    assert_eq!(head.header("origin"), Some("https://chat.example.com"));
    assert_eq!(head.header("user-agent"), Some("test"));
}

#[tokio::test]
async fn hop_by_hop_headers_stay_behind() {
    let request = Request::upgrade("/")
        .replacing("Connection", "Upgrade, X-Private")
        .with("X-Private", "1")
        .with("Keep-Alive", "timeout=5")
        .with("Proxy-Connection", "keep-alive")
        .with("TE", "trailers");
    let head = arriving("", request).await;
    for name in ["x-private", "keep-alive", "proxy-connection", "te"] {
        assert_eq!(head.header(name), None, "{head:?}");
    }
    assert!(!head.joined("connection").to_ascii_lowercase().contains("x-private"), "{head:?}");
}

#[tokio::test]
async fn what_connection_names_stays_behind_whatever_else_it_lists() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let mut client = Peer::connect(proxy.address).await;
    let request =
        Request::upgrade("/").replacing("Connection", "@, Upgrade, X-Private").with("X-Private", "1").encode();
    let bytes: Vec<u8> = request.bytes().map(|byte| if byte == b'@' { 0xff } else { byte }).collect();
    client.write(bytes).await;
    let (_upstream, head) = backend.request().await;
    assert_eq!(head.header("x-private"), None, "{head:?}");
}

#[tokio::test]
async fn the_upstream_gets_an_opening_handshake_of_the_proxys_own() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let request = Request::upgrade("/");
    let (first, ..) = sent(&proxy, &backend, &request).await;
    let (second, ..) = sent(&proxy, &backend, &request).await;
    let key = first.joined("sec-websocket-key");
    assert_eq!((key.len(), key.ends_with("==")), (24, true), "no 16 bytes in base64: {key}");
    assert_ne!(key, "dGhlIHNhbXBsZSBub25jZQ==", "the client's key was passed on");
    assert_ne!(key, second.joined("sec-websocket-key"), "a key was used twice");
    assert_eq!(first.joined("sec-websocket-version"), "13");
    assert!(first.joined("upgrade").eq_ignore_ascii_case("websocket"), "{first:?}");
    assert!(first.joined("connection").eq_ignore_ascii_case("upgrade"), "{first:?}");
}

#[tokio::test]
async fn the_client_is_named_in_forwarded_headers() {
    let head = arriving("", Request::upgrade("/").replacing("Host", "chat.example.com")).await;
    assert_eq!(head.joined("x-forwarded-for"), "127.0.0.1");
    assert_eq!(head.joined("x-forwarded-host"), "chat.example.com");
    assert!(["ws", "http"].contains(&head.joined("x-forwarded-proto").as_str()), "{head:?}");
    let forwarded = head.joined("forwarded").to_ascii_lowercase();
    assert!(forwarded.contains("for=127.0.0.1") || forwarded.contains("for=\"127.0.0.1"), "{forwarded}");
    assert!(
        forwarded.contains("host=chat.example.com") || forwarded.contains("host=\"chat.example.com"),
        "{forwarded}"
    );
}

#[tokio::test]
async fn forwarded_headers_of_a_peer_that_is_not_trusted_are_replaced() {
    let request = Request::upgrade("/")
        .with("X-Forwarded-For", "6.6.6.6")
        .with("X-Forwarded-Proto", "https")
        .with("X-Forwarded-Host", "bank.example.com")
        .with("X-Forwarded-Port", "6.6.6.6")
        .with("X-Forwarded-User", "6.6.6.6")
        .with("X_Forwarded_For", "6.6.6.6")
        .with("X-Real-IP", "6.6.6.6")
        .with("True-Client-IP", "6.6.6.6")
        .with("Forwarded", "for=6.6.6.6;host=bank.example.com");
    let head = arriving("", request).await;
    let all = format!("{:?}", head.headers);
    assert!(!all.contains("6.6.6.6") && !all.contains("bank.example.com"), "{all}");
    assert_eq!(head.joined("x-forwarded-for"), "127.0.0.1");
}

#[tokio::test]
async fn forwarded_headers_of_a_trusted_proxy_are_appended_to() {
    let backend = Backend::bind().await;
    let config = route(&[&backend.address()], "");
    let proxy = Proxy::start(&format!("trusted_proxies = [\"127.0.0.0/8\"]\n{config}")).await;
    let request = Request::upgrade("/")
        .with("X-Forwarded-For", "203.0.113.7")
        .with("X-Forwarded-Proto", "wss")
        .with("X-Forwarded-Host", "chat.example.com");
    let (head, ..) = sent(&proxy, &backend, &request).await;
    assert_eq!(head.joined("x-forwarded-for"), "203.0.113.7, 127.0.0.1");
    assert_eq!(head.joined("x-forwarded-proto"), "wss");
    assert_eq!(head.joined("x-forwarded-host"), "chat.example.com");
}

#[tokio::test]
async fn forwarded_headers_can_be_switched_off() {
    let head = arriving("forwarded_headers = false", Request::upgrade("/")).await;
    for name in ["x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded"] {
        assert_eq!(head.header(name), None, "{head:?}");
    }
}

#[tokio::test]
async fn a_group_id_is_forwarded_as_it_is() {
    let head = arriving("", Request::upgrade("/").with("X-Group-Id", "team 7")).await;
    assert_eq!(head.joined("x-group-id"), "team 7");
}

#[tokio::test]
async fn a_client_without_a_group_id_gets_one_of_its_own_that_is_logged() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let request = Request::upgrade("/");
    let (first, mut client, mut upstream) = sent(&proxy, &backend, &request).await;
    let (second, ..) = sent(&proxy, &backend, &request).await;
    let (first, second) = (first.joined("x-group-id"), second.joined("x-group-id"));
    assert_ne!(first, second);
    let shape: Vec<usize> = first.split('-').map(str::len).collect();
    assert_eq!(shape, [8, 4, 4, 4, 12], "no UUID: {first}");
    upstream.shut_down().await;
    client.drain().await;
    drop((client, upstream));
    let lines = proxy.access_lines(2).await;
    assert!(lines.iter().any(|line| line.to_string().contains(&first)), "{first} is not in {lines:?}");
}

#[tokio::test]
async fn two_clients_without_a_group_id_never_see_each_others_messages() {
    use tidegate_tests::Frame;
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let (mut one, mut upstream_of_one) = backend.open(proxy.address, "/").await;
    let (mut two, mut upstream_of_two) = backend.open(proxy.address, "/").await;
    upstream_of_one.send(Frame::text("for one")).await;
    upstream_of_two.send(Frame::text("for two")).await;
    one.expect(Frame::text("for one")).await;
    two.expect(Frame::text("for two")).await;
    one.send(Frame::text("from one")).await;
    two.send(Frame::text("from two")).await;
    upstream_of_one.expect(Frame::text("from one")).await;
    upstream_of_two.expect(Frame::text("from two")).await;
}

#[tokio::test]
async fn an_endpoint_without_a_path_keeps_the_requests_path_and_query() {
    let head = arriving("path_prefix = \"/ws\"", Request::upgrade("/ws/chat?room=7")).await;
    assert_eq!(head.target(), "/ws/chat?room=7");
}

#[tokio::test]
async fn an_endpoint_with_a_path_replaces_the_matched_prefix_by_it() {
    let backend = Backend::bind().await;
    let config = format!(
        "{}[[routes]]\nname = \"main\"\npath_prefix = \"/ws/chat\"\nupstream = \"back\"\n",
        upstream("back", &[&format!("{}/inner", backend.address())], "")
    );
    let proxy = Proxy::start(&config).await;
    let (head, ..) = sent(&proxy, &backend, &Request::upgrade("/ws/chat/room/7?x=1")).await;
    assert_eq!(head.target(), "/inner/room/7?x=1");
    let (head, ..) = sent(&proxy, &backend, &Request::upgrade("/ws/chat")).await;
    assert_eq!(head.target(), "/inner");
}

#[tokio::test]
async fn the_host_is_the_clients_unless_the_upstream_says_otherwise() {
    let backend = Backend::bind().await;
    let endpoint = backend.address();
    for (key, expected) in [
        ("", "chat.example.com:8443"),
        ("host = \"client\"", "chat.example.com:8443"),
        ("host = \"endpoint\"", endpoint.as_str()),
        ("host = \"back.internal:81\"", "back.internal:81"),
    ] {
        let config = upstream("back", &[&endpoint], key) + "[[routes]]\nname = \"main\"\nupstream = \"back\"\n";
        let proxy = Proxy::start(&config).await;
        let request = Request::upgrade("/")
            .replacing("Host", "chat.example.com:8443")
            .with("Origin", "https://chat.example.com:8443");
        let (head, ..) = sent(&proxy, &backend, &request).await;
        assert_eq!(head.joined("host"), expected, "{key}");
        assert_eq!(head.joined("origin"), "https://chat.example.com:8443");
        assert_eq!(head.joined("x-forwarded-host"), "chat.example.com:8443");
    }
}
