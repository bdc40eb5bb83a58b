//! What the client gets when the upstream does anything but agree, all of it before a 101.

use tidegate_tests::config::{route, upstream};
use tidegate_tests::{Backend, Frame, Peer, Proxy, Reply, Request, accept_key, refused_address};
use tokio::net::{TcpSocket, TcpStream};

/// What a client gets from a back end that answers every handshake with these bytes.
async fn relayed(answer: &str) -> Reply {
    let address = Backend::bind().await.always_answer(answer);
    let proxy = Proxy::start(&route(&[&address], "")).await;
    proxy.answer(&Request::upgrade("/")).await
}

/// What a client gets when the back end answers its handshake with a 101 made from the request's right accept value.
async fn switched(answer: impl FnOnce(&str) -> String) -> Reply {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let request = Request::upgrade("/");
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.write(answer(&accept_key(head.header("sec-websocket-key").unwrap()))).await;
        upstream
    };
    let (reply, _upstream) = tokio::join!(proxy.answer(&request), upstream);
    reply
}

#[tokio::test]
async fn a_401_is_relayed_with_its_headers_and_body() {
    let reply = relayed(
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"x\"\r\nContent-Length: 9\r\n\r\nwho's it?",
    )
    .await;
    assert_eq!((reply.status, reply.body.as_str()), (401, "who's it?"));
    assert_eq!(reply.header("www-authenticate"), "Bearer realm=\"x\"");
}

#[tokio::test]
async fn a_302_is_relayed_with_its_location() {
    let reply = relayed("HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!((reply.status, reply.header("location")), (302, "/login"));
}

#[tokio::test]
async fn a_503_that_may_not_be_retried_is_relayed_with_its_body() {
    let reply = relayed("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nfull").await;
    assert_eq!((reply.status, reply.body.as_str()), (503, "full"));
}

#[tokio::test]
async fn a_200_is_relayed_although_it_is_a_success() {
    let reply = relayed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
}

#[tokio::test]
async fn a_chunked_body_is_relayed_whole() {
    let reply =
        relayed("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n")
            .await;
    assert_eq!((reply.status, reply.body.as_str()), (403, "hello, world"));
}

#[tokio::test]
async fn a_body_that_ends_with_the_connection_is_relayed_whole() {
    let reply = relayed("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\nno more").await;
    assert_eq!((reply.status, reply.body.as_str()), (403, "no more"));
}

#[tokio::test]
async fn a_connection_whose_answer_was_relayed_is_not_used_again() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::upgrade("/").encode()).await;
    let (mut upstream, _) = backend.request().await;
    upstream.write("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n").await;
    assert_eq!(client.read_reply().await.status, 401);
    upstream.expect_end().await;
}

#[tokio::test]
async fn an_unreachable_upstream_gets_the_client_502() {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 502);
    let labels = [("route", "main"), ("outcome", "upstream_failed")];
    proxy.until("tidegate_handshakes_total", &labels, 1).await;
}

#[tokio::test]
async fn an_upstream_whose_endpoints_are_all_disabled_gets_the_client_503() {
    let proxy = Proxy::start(
        r#"
        [upstreams.back]
        endpoints = [{ url = "ws://127.0.0.1:9", enabled = false }]
        [[routes]]
        name = "main"
        upstream = "back"
        "#,
    )
    .await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    proxy.until("tidegate_handshakes_total", &[("route", "main"), ("outcome", "no_endpoint")], 1).await;
}

#[tokio::test]
async fn an_upstream_that_never_answers_gets_the_client_504() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "handshake_timeout = \"200ms\"")).await;
    let request = Request::upgrade("/");
    let (reply, (mut upstream, _)) = tokio::join!(proxy.answer(&request), backend.request());
    assert_eq!(reply.status, 504);
    upstream.expect_end().await;
    proxy.until("tidegate_handshakes_total", &[("route", "main"), ("outcome", "upstream_timeout")], 1).await;
}

#[tokio::test]
async fn an_upstream_that_does_not_take_the_connection_gets_the_client_504() {
    // A full accept queue makes the kernel ignore further connection attempts.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _filling = TcpStream::connect(address).await.unwrap();
    let config = format!(
        "{}[[routes]]\nname = \"main\"\nupstream = \"back\"\n",
        upstream("back", &[&address.to_string()], "connect_timeout = \"200ms\"\nretries = 0")
    );
    let proxy = Proxy::start(&config).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 504);
    proxy.until("tidegate_upstream_connects_total", &[("upstream", "back"), ("outcome", "connect_timeout")], 1).await;
}

#[tokio::test]
async fn an_upstream_that_closes_without_an_answer_gets_the_client_502() {
    assert_eq!(relayed("").await.status, 502);
}

#[tokio::test]
async fn an_answer_that_is_not_http_gets_the_client_502() {
    assert_eq!(relayed("SSH-2.0-OpenSSH_9.6\r\n\r\n").await.status, 502);
}

#[tokio::test]
async fn a_wrong_accept_value_gets_the_client_502() {
    let reply = relayed(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )
    .await;
    assert_eq!(reply.status, 502);
}

#[tokio::test]
async fn a_101_without_an_accept_value_gets_the_client_502() {
    let reply =
        switched(|_| "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n".into())
            .await;
    assert_eq!(reply.status, 502);
}

#[tokio::test]
async fn a_101_to_another_protocol_gets_the_client_502() {
    let reply = switched(|accept| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
    })
    .await;
    assert_eq!(reply.status, 502);
}

#[tokio::test]
async fn a_101_without_connection_upgrade_gets_the_client_502() {
    let reply = switched(|accept| {
        format!("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n")
    })
    .await;
    assert_eq!(reply.status, 502);
}

#[tokio::test]
async fn frames_that_follow_the_101_at_once_are_delivered() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let greet = async {
        let (mut upstream, head) = backend.request().await;
        let accept = accept_key(head.header("sec-websocket-key").unwrap());
        let mut bytes = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n\r\n"
        )
        .into_bytes();
        bytes.extend(upstream.encode(&Frame::text("welcome")));
        upstream.write(bytes).await;
        upstream
    };
    let (mut client, _upstream) = tokio::join!(proxy.open("/"), greet);
    client.expect(Frame::text("welcome")).await;
}

#[tokio::test]
async fn a_426_is_relayed_with_what_the_upstream_would_speak() {
    let reply = relayed(
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 8, 7\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    assert_eq!((reply.status, reply.header("upgrade")), (426, "websocket"));
    assert!(reply.header("connection").to_ascii_lowercase().contains("upgrade"), "{reply:?}");
    assert_eq!(reply.header("sec-websocket-version"), "8, 7");
}

#[tokio::test]
async fn an_answer_with_hundreds_of_fields_is_relayed() {
    let fields: String = (0..300).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let reply = relayed(&format!("HTTP/1.1 403 Forbidden\r\n{fields}Content-Length: 2\r\n\r\nno")).await;
    assert_eq!((reply.status, reply.header("x-299"), reply.body.as_str()), (403, "299", "no"));
    let reply = switched(|accept| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {accept}\r\n{fields}\r\n"
        )
    })
    .await;
    assert_eq!((reply.status, reply.header("x-299")), (101, "299"));
}

#[tokio::test]
async fn a_chunked_body_is_relayed_whole_whatever_length_is_said_beside_it() {
    let reply = relayed(
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n",
    )
    .await;
    assert_eq!((reply.status, reply.body.as_str()), (403, "hello, world"));
}
