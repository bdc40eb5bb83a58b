//! The opening handshake as the client sees it: what is accepted, and what exactly refuses the rest.

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Frame, Peer, Proxy, Reply, Request, accept_key, refused_address};

async fn answer(request: Request) -> Reply {
    let proxy = Proxy::start(&route(&[&refused_address()], "path_prefix = \"/ws\"")).await;
    proxy.answer(&request).await
}

#[tokio::test]
async fn a_plain_request_on_a_websocket_route_gets_426() {
    let reply = answer(Request::new("GET", "/ws")).await;
    assert_eq!(reply.status, 426);
    assert_eq!(reply.header("upgrade"), "websocket");
    assert!(reply.header("connection").to_ascii_lowercase().contains("upgrade"), "{reply:?}");
    assert_eq!(reply.header("sec-websocket-version"), "13");
}

#[tokio::test]
async fn a_request_that_no_route_serves_gets_404() {
    assert_eq!(answer(Request::upgrade("/other")).await.status, 404);
}

#[tokio::test]
async fn a_plain_request_that_no_route_serves_gets_404() {
    assert_eq!(answer(Request::new("GET", "/other")).await.status, 404);
}

#[tokio::test]
async fn another_method_gets_405_that_allows_get() {
    let reply = answer(Request::upgrade("/ws").method("POST")).await;
    assert_eq!(reply.status, 405);
    assert_eq!(reply.header("allow"), "GET");
}

#[tokio::test]
async fn another_version_gets_426_that_names_version_13() {
    let reply = answer(Request::upgrade("/ws").replacing("Sec-WebSocket-Version", "8")).await;
    assert_eq!(reply.status, 426);
    assert_eq!(reply.header("sec-websocket-version"), "13");
}

#[tokio::test]
async fn a_bad_key_gets_400() {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    for key in ["", "short", "!!!!!!!!!!!!!!!!!!!!!!==", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZXh4eA=="] {
        let reply = proxy.answer(&Request::upgrade("/").replacing("Sec-WebSocket-Key", key)).await;
        assert_eq!(reply.status, 400, "for the key {key:?}");
    }
}

#[tokio::test]
async fn a_missing_key_gets_400() {
    assert_eq!(answer(Request::upgrade("/ws").without("Sec-WebSocket-Key")).await.status, 400);
}

#[tokio::test]
async fn two_keys_get_400() {
    let request = Request::upgrade("/ws").with("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==");
    assert_eq!(answer(request).await.status, 400);
}

#[tokio::test]
async fn an_upgrade_that_connection_does_not_name_gets_400() {
    assert_eq!(answer(Request::upgrade("/ws").replacing("Connection", "keep-alive")).await.status, 400);
}

#[tokio::test]
async fn a_handshake_without_host_gets_400() {
    assert_eq!(answer(Request::upgrade("/ws").without("Host")).await.status, 400);
}

#[tokio::test]
async fn tokens_are_compared_without_regard_to_case_and_among_others() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let request =
        Request::upgrade("/").replacing("Upgrade", "WebSocket").replacing("Connection", "keep-alive, UPGRADE");
    let ((_, reply), _upstream) = tokio::join!(Peer::handshake(proxy.address, &request), backend.accept());
    assert_eq!(reply.status, 101);
}

#[tokio::test]
async fn the_accept_value_is_derived_from_the_clients_key() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let request = Request::upgrade("/");
    let ((_, reply), _upstream) = tokio::join!(Peer::handshake(proxy.address, &request), backend.accept());
    assert_eq!(reply.status, 101);
    assert_eq!(reply.header("sec-websocket-accept"), accept_key("dGhlIHNhbXBsZSBub25jZQ=="));
    assert_eq!(reply.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(reply.header("upgrade").eq_ignore_ascii_case("websocket"), "{reply:?}");
    assert!(reply.header("connection").eq_ignore_ascii_case("upgrade"), "{reply:?}");
}

#[tokio::test]
async fn the_client_gets_its_101_only_after_the_upstream_has_agreed() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::upgrade("/").encode()).await;
    let (mut upstream, _) = backend.request().await;
    upstream.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno").await;
    assert_eq!(client.read_reply().await.status, 403);
}

#[tokio::test]
async fn frames_sent_right_behind_the_handshake_are_delivered() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let mut client = Peer::connect(proxy.address).await;
    let mut bytes = Request::upgrade("/").encode().into_bytes();
    bytes.extend(client.encode(&Frame::text("early")));
    client.write(bytes).await;
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::text("early")).await;
}

#[tokio::test]
async fn a_request_a_frame_and_the_end_at_once_are_served() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    for pieces in [1, 2] {
        let mut client = Peer::connect(proxy.address).await;
        let mut bytes = Request::upgrade("/").encode().into_bytes();
        bytes.extend(client.encode(&Frame::text("all that I have")));
        bytes.extend(client.encode(&Frame::close(1000, "")));
        for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
            client.write(piece).await;
        }
        client.shut_down().await;
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[]).await;
        upstream.expect(Frame::text("all that I have")).await;
        upstream.expect_close(1000).await;
        upstream.send(Frame::close(1000, "")).await;
        assert_eq!(client.read_reply().await.status, 101);
        client.expect_close(1000).await;
    }
}

#[tokio::test]
async fn a_target_with_a_fragment_gets_400() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    assert_eq!(proxy.answer(&Request::upgrade("/ws#top")).await.status, 400);
    let mut client = Peer::connect(proxy.address).await;
    assert_eq!(client.exchange(&Request::new("GET", "/ws")).await.status, 426);
    let reply = client.exchange(&Request::upgrade("/ws?a#b")).await;
    assert_eq!(reply.status, 400);
    assert!(reply.body.contains("fragment"), "{reply:?}");
    let mut client = Peer::connect(proxy.address).await;
    let pipelined = [Request::new("GET", "/a").with("X-Number", "#1"), Request::upgrade("/b#c")];
    client.write(pipelined.map(|request| request.encode()).concat()).await;
    assert_eq!([client.read_reply().await.status, client.read_reply().await.status], [426, 400]);
    backend.open_with(proxy.address, &Request::upgrade("/ws").with("X-Number", "#1"), &[]).await;
}

#[tokio::test]
async fn subprotocols_go_up_without_empty_elements() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let request = Request::upgrade("/").with("Sec-WebSocket-Protocol", ",chat,, superchat ,");
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &["Sec-WebSocket-Protocol: superchat"]).await;
        head
    };
    let ((_, reply), head) = tokio::join!(Peer::handshake(proxy.address, &request), upstream);
    assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (101, "superchat"));
    assert_eq!(head.joined("sec-websocket-protocol"), "chat, superchat");
}

#[tokio::test]
async fn a_connection_may_try_again_after_a_refusal() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "path = \"/ws\"")).await;
    let (mut client, reply) = Peer::handshake(proxy.address, &Request::new("GET", "/nothing")).await;
    assert_eq!(reply.status, 404);
    let request = Request::upgrade("/ws");
    let (reply, mut upstream) = tokio::join!(client.exchange(&request), backend.accept());
    assert_eq!(reply.status, 101);
    client.send(Frame::text("at last")).await;
    upstream.expect(Frame::text("at last")).await;
}

#[tokio::test]
async fn a_client_that_leaves_during_its_handshake_takes_the_upstream_connection_with_it() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::upgrade("/").encode()).await;
    let (mut upstream, _) = backend.request().await;
    drop(client);
    upstream.expect_end().await;
    proxy.until("tidegate_handshakes_total", &[("route", "main"), ("outcome", "client_gone")], 1).await;
}

#[tokio::test]
async fn a_foreign_origin_gets_403() {
    let backend = Backend::bind().await;
    let config = route(&[&backend.address()], "allowed_origins = [\"https://chat.example.com\"]");
    let proxy = Proxy::start(&config).await;
    let foreign = Request::upgrade("/").with("Origin", "https://evil.example.com");
    assert_eq!(proxy.answer(&foreign).await.status, 403);
    let own = Request::upgrade("/").with("Origin", "https://chat.example.com");
    let ((_, reply), _upstream) = tokio::join!(Peer::handshake(proxy.address, &own), backend.accept());
    assert_eq!(reply.status, 101);
}

#[tokio::test]
async fn a_denied_field_is_denied_in_spellings_that_back_ends_take_for_it() {
    let rules = "filters = [{ component = 'access', config = { deny = [{ header = 'x-bad' }] } }]";
    let proxy = Proxy::start(&route(&[&refused_address()], rules)).await;
    for (name, status) in [("X-Bad", 403), ("X_Bad", 403), ("x.bad", 403), ("X-Good", 502)] {
        assert_eq!(proxy.answer(&Request::upgrade("/").with(name, "1")).await.status, status, "{name}");
    }
}
