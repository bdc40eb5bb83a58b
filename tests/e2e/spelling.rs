//! Names of header fields leave in the spelling of the RFCs, for peers that compare case.

use std::net::SocketAddr;

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Echo, Proxy, accept_key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// The names in a head, as they are spelled.
fn names(head: &str) -> Vec<&str> {
    head.lines().skip(1).filter_map(|line| line.split_once(':')).map(|(name, _)| name).collect()
}

async fn head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    String::from_utf8(head).expect("text")
}

/// Sends a request in pieces and gives the head of the answer.
async fn answer(proxy: SocketAddr, pieces: &[&str]) -> String {
    let mut client = TcpStream::connect(proxy).await.unwrap();
    client.set_nodelay(true).unwrap();
    for piece in pieces {
        client.write_all(piece.as_bytes()).await.unwrap();
        // The proxy has seen the piece alone when the kernel has nothing left of it.
        tokio::task::yield_now().await;
    }
    head(&mut client).await
}

#[tokio::test]
async fn the_upstream_and_the_client_get_names_as_the_rfcs_spell_them() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(&route(&[&listener.local_addr().unwrap().to_string()], "")).await;
    let handshake = format!(
        "GET / HTTP/1.1\r\nhost: chat.example.com\r\nUPGRADE: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: {KEY}\r\nsec-websocket-protocol: chat\r\nx-tag: one\r\n\r\n"
    );
    let upstream = async {
        let (mut upstream, _) = listener.accept().await.unwrap();
        let request = head(&mut upstream).await;
        let key = request.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).expect("a key");
        let accept = accept_key(key);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
             sec-websocket-accept: {accept}\r\nsec-websocket-protocol: chat\r\nset-cookie: a=b\r\n\r\n"
        );
        upstream.write_all(answer.as_bytes()).await.unwrap();
        request
    };
    let pieces = [handshake.as_str()];
    let (request, answer) = tokio::join!(upstream, answer(proxy.address, &pieces));
    let expected = [
        "Host",
        "X-Tag",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "Forwarded",
        "Connection",
        "Upgrade",
        "Sec-WebSocket-Version",
        "Sec-WebSocket-Key",
        "Sec-WebSocket-Protocol",
    ];
    for name in expected {
        assert!(names(&request).contains(&name), "{name} in {request}");
    }
    assert_eq!(names(&request)[0], "Host");
    for name in ["Connection", "Upgrade", "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol", "Set-Cookie"] {
        assert!(names(&answer).contains(&name), "{name} in {answer}");
    }
}

#[tokio::test]
async fn so_are_those_of_an_answer_that_goes_the_long_way() {
    let echo = Echo::start().await;
    let proxy = Proxy::start(&route(&[echo.address()], "path = \"/ws\"")).await;
    let rest = format!(
        "Host: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: {KEY}\r\nContent-Length: 0\r\n\r\n"
    );
    // A length is unusual enough for hyper to read the request.
    let switched = answer(proxy.address, &["GET /ws HTTP/1.1\r\n", &rest]).await;
    assert!(switched.starts_with("HTTP/1.1 101"), "{switched}");
    assert!(names(&switched).contains(&"Sec-WebSocket-Accept"), "{switched}");
    let plain = answer(proxy.address, &["GET /ws HTTP/1.1\r\nHost: h\r\n\r\n"]).await;
    assert!(plain.starts_with("HTTP/1.1 426"), "{plain}");
    for name in ["Upgrade", "Connection", "Sec-WebSocket-Version", "Content-Type", "Content-Length"] {
        assert!(names(&plain).contains(&name), "{name} in {plain}");
    }
    let malformed = answer(proxy.address, &["nonsense\r\n\r\n"]).await;
    assert!(malformed.starts_with("HTTP/1.1 400"), "{malformed}");
    assert!(names(&malformed).iter().all(|name| name.starts_with(char::is_uppercase)), "{malformed}");
}

#[tokio::test]
async fn each_answer_on_a_connection_that_is_kept_is_spelled_and_no_body_is() {
    let backend = Backend::bind().await;
    let body = "content-type: this is a body\r\nset-cookie: too\r\n\r\n";
    let length = body.len();
    let address = backend.always_answer(format!(
        "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer\r\nContent-Length: {length}\r\n\r\n{body}"
    ));
    let proxy = Proxy::start(&route(&[&address], "")).await;
    let mut client = TcpStream::connect(proxy.address).await.unwrap();
    for _ in 0..3 {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = head(&mut client).await;
        assert!(names(&answer).contains(&"WWW-Authenticate"), "{answer}");
        let mut came = vec![0; length];
        client.read_exact(&mut came).await.unwrap();
        assert_eq!(String::from_utf8(came).unwrap(), body);
    }
}
