//! What somebody may send to have TLS cost more than it should: each comes to its end, and whoever is honest gets in.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tidegate_tests::config::route;
use tidegate_tests::{Authority, Backend, Peer, Proxy, Request, Trust, within};

/// A listener whose clients have all time there is for their handshakes, so that nothing ends by the clock.
async fn start(authority: &Authority, backend: &Backend) -> Proxy {
    let issued = authority.issue("a", &["a.example"]);
    let route = route(&[&backend.address()], "");
    let text = format!(
        "{route}[[listeners]]\nlisten = \"127.0.0.1:0\"\nhandshake_timeout = \"10m\"\n[listeners.tls]\ncertificates = [{}]\n",
        issued.toml()
    );
    Proxy::start(&text).await
}

async fn comes_in(trust: &Trust, backend: &Backend, proxy: &Proxy) {
    let request = Request::upgrade("/");
    let ((_client, reply), _upstream) =
        tokio::join!(trust.handshake(proxy.address, "a.example", &request), backend.accept());
    assert_eq!(reply.status, 101, "{reply:?}");
}

#[tokio::test]
async fn what_is_no_handshake_ends_a_connection_however_often_it_comes() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let proxy = start(&authority, &backend).await;
    let message_without_end = [&[22, 3, 1, 64, 0, 1, 255, 255, 255][..], &[0; 16_380]].concat();
    for (count, (what, piece)) in [
        ("records of the handshake without content", &[22, 3, 1, 0, 0][..]),
        ("changes of the cipher", &[20, 3, 3, 0, 1, 1]),
        ("warnings", &[21, 3, 1, 0, 2, 1, 90]),
        ("content before the handshake", &[23, 3, 3, 0, 1, 0]),
        ("a record that is too long", &[22, 3, 1, 255, 255]),
        ("a version that there is not", &[22, 9, 9, 0, 1, 0]),
        ("a greeting of SSL 2", &[128, 46, 1, 3, 1, 0, 21, 0, 0, 0, 16]),
        ("a message without end", &message_without_end),
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Peer::connect(proxy.address).await;
        client.write_while_open(piece.repeat(2_000)).await;
        client.drain().await;
        let failed = [("outcome", "failed"), ("version", "")];
        proxy.until("tidegate_tls_handshakes_total", &failed, count as u64 + 1).await;
        comes_in(&authority.trust(), &backend, &proxy).await;
        assert_eq!(proxy.log().iter().filter(|line| line["level"] == "ERROR").count(), 0, "{what}");
    }
}

#[tokio::test]
async fn a_greeting_that_comes_byte_by_byte_is_understood() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let proxy = start(&authority, &backend).await;
    let (address, trust) = (proxy.address, authority.trust());
    let talk = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        let mut tls = ClientConnection::new(trust.0, ServerName::try_from("a.example").unwrap()).unwrap();
        let mut greeting = Vec::new();
        tls.write_tls(&mut greeting).unwrap();
        // Each byte of the message in a record of its own, and each byte of these in a segment of its own.
        for byte in &greeting[5..] {
            for part in [22, 3, 1, 0, 1, *byte] {
                socket.write_all(&[part]).unwrap();
            }
        }
        tls.complete_io(&mut socket).unwrap();
        assert!(!tls.is_handshaking());
    });
    within("a handshake", talk).await.unwrap();
}

#[tokio::test]
async fn keys_that_are_changed_again_and_again_end_a_connection() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let proxy = start(&authority, &backend).await;
    let (address, trust) = (proxy.address, authority.trust());
    let flood = tokio::task::spawn_blocking(move || {
        let socket = TcpStream::connect(address).unwrap();
        let tls = ClientConnection::new(trust.0, ServerName::try_from("a.example").unwrap()).unwrap();
        let mut stream = StreamOwned::new(tls, socket);
        stream.write_all(Request::upgrade("/").encode().as_bytes()).unwrap();
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 101");
        // Every one asks for an answer, and none is read.
        let ended = (0..1_000_000).find(|_| {
            stream.conn.refresh_traffic_keys().unwrap();
            stream.conn.write_tls(&mut stream.sock).is_err()
        });
        assert!(ended.is_some());
    });
    let _upstream = backend.accept().await;
    within("the end of the connection", flood).await.unwrap();
    comes_in(&authority.trust(), &backend, &proxy).await;
}
