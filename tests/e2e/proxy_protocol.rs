//! The PROXY protocol: from proxies in front, and to upstreams.

use tidegate_tests::config::{route, upstream};
use tidegate_tests::{Authority, Backend, Frame, Head, Peer, Proxy, Request, within};
use tokio::io::AsyncReadExt;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1: &str = "PROXY TCP4 192.0.2.7 198.51.100.1 54321 443\r\n";

/// A header of version 2 about a TCP connection from 192.0.2.7:54321 to 198.51.100.1:443, with further fields.
fn v2(fields: &[u8]) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0xd4, 0x31, 0x01, 0xbb];
    let length = u16::try_from(addresses.len() + fields.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[0x21, 0x11], &length, &addresses, fields].concat()
}

fn introduced(top: &str, back: &str, rest: &str) -> String {
    let listener = "[[listeners]]\nlisten = \"127.0.0.1:0\"\nproxy_protocol = \"required\"\n";
    format!("trusted_proxies = [\"127.0.0.1\"]\n{top}\n{}{listener}{rest}\n", route(&[back], ""))
}

/// Opens a WebSocket behind a header; what arrives at the upstream, and both ends.
async fn open(proxy: &Proxy, backend: &Backend, header: &[u8], request: &Request) -> (Head, Peer, Peer) {
    let client = async {
        let mut client = Peer::connect(proxy.address).await;
        client.write([header, request.encode().as_bytes()].concat()).await;
        let reply = client.read_reply().await;
        assert_eq!(reply.status, 101, "{reply:?}");
        client
    };
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[]).await;
        (upstream, head)
    };
    let (client, (upstream, head)) = tokio::join!(client, upstream);
    (head, client, upstream)
}

#[tokio::test]
async fn the_client_is_whom_the_proxy_in_front_tells() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&introduced("", &backend.address(), "")).await;
    for header in [V1.as_bytes().to_vec(), v2(&[]), v2(&[4, 0, 2, 0, 0])] {
        // What the client says of itself is not believed: it is no trusted proxy.
        let request = Request::upgrade("/").with("X-Forwarded-For", "203.0.113.9").with("X-Real-IP", "203.0.113.9");
        let (head, mut client, mut upstream) = open(&proxy, &backend, &header, &request).await;
        assert_eq!((head.joined("x-forwarded-for"), head.header("x-real-ip")), ("192.0.2.7".to_owned(), None));
        assert_eq!(head.joined("x-forwarded-proto"), "http");
        client.send(Frame::text("through")).await;
        upstream.expect(Frame::text("through")).await;
    }
    let lines = proxy.access_lines(3).await;
    assert!(lines.iter().all(|line| line["client"] == "192.0.2.7:54321"), "{lines:?}");
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_before_tls() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let tls = format!("tls = {{ certificates = [{}] }}", issued.toml());
    let proxy = Proxy::start(&introduced("", &backend.address(), &tls)).await;
    for header in [V1.as_bytes().to_vec(), v2(&[])] {
        let mut client = Peer::connect(proxy.address).await;
        for byte in header {
            client.write([byte]).await;
        }
        let mut client = authority.trust().over(client, "a.example").await.unwrap();
        client.write(Request::upgrade("/").encode()).await;
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[]).await;
        assert_eq!(client.read_reply().await.status, 101);
        assert_eq!(head.joined("x-forwarded-for"), "192.0.2.7");
        assert_eq!(head.joined("x-forwarded-proto"), "https");
    }
}

#[tokio::test]
async fn what_a_proxy_tells_of_tls_reaches_components_and_the_log() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&introduced("", &backend.address(), "")).await;
    // PP2_TYPE_AUTHORITY, and PP2_TYPE_SSL: over TLS, with a certificate that was verified, TLSv1.3, CN=alice.
    let authority = b"\x02\x00\x10chat.example.com";
    let tls = b"\x20\x00\x17\x03\x00\x00\x00\x00\x21\x00\x07TLSv1.3\x22\x00\x05alice";
    let (head, ..) = open(&proxy, &backend, &v2(&[&authority[..], tls].concat()), &Request::upgrade("/")).await;
    assert_eq!(head.joined("x-forwarded-proto"), "https");
    let line = proxy.access_line().await;
    assert_eq!(line["attributes"]["tls.client-subject"], "CN=alice", "{line}");
    assert_eq!(line["attributes"]["proxy.authority"], "chat.example.com", "{line}");
}

#[tokio::test]
async fn a_proxy_that_speaks_for_itself_is_the_client() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&introduced("", &backend.address(), "")).await;
    let local = [SIGNATURE, &[0x20, 0, 0, 0]].concat();
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), local] {
        let (head, ..) = open(&proxy, &backend, &header, &Request::upgrade("/")).await;
        assert_eq!(head.joined("x-forwarded-for"), "127.0.0.1");
    }
}

#[tokio::test]
async fn who_is_no_trusted_proxy_and_who_tells_nothing_is_closed() {
    let backend = Backend::bind().await;
    let text = introduced("", &backend.address(), "handshake_timeout = \"100ms\"");
    let stranger = Proxy::start(&text.replace("[\"127.0.0.1\"]", "[\"192.0.2.0/24\"]")).await;
    let mut client = Peer::connect(stranger.address).await;
    client.write_while_open(V1).await;
    client.drain().await;
    stranger.until("tidegate_connections_refused_total", &[("reason", "untrusted_proxy")], 1).await;

    let proxy = Proxy::start(&text).await;
    let handshake = Request::upgrade("/").encode();
    // No header, one of datagrams, one that is longer than any, a part of one, nothing at all.
    let datagrams = [SIGNATURE, &[0x21, 0x12, 0, 12], &[0; 12]].concat();
    let long = [SIGNATURE, &[0x21, 0x11, 0xff, 0xff]].concat();
    let beginnings = [handshake.as_bytes(), &datagrams, &long, &V1.as_bytes()[..20], b""];
    for (count, beginning) in (1..).zip(beginnings) {
        let mut client = Peer::connect(proxy.address).await;
        client.write_while_open(beginning).await;
        client.drain().await;
        proxy.until("tidegate_connections_refused_total", &[("reason", "proxy_protocol")], count).await;
    }
}

#[tokio::test]
async fn limits_of_a_listener_are_for_the_clients_that_are_told() {
    let backend = Backend::bind().await;
    let text = introduced("", &backend.address(), "max_connections_per_client = 1\ndeny = [\"203.0.113.0/24\"]");
    let proxy = Proxy::with_workers(2, &text).await;
    let header = |client: &str| format!("PROXY TCP4 {client} 198.51.100.1 1 443\r\n");
    let _open = open(&proxy, &backend, header("192.0.2.1").as_bytes(), &Request::upgrade("/")).await;
    let _other = open(&proxy, &backend, header("192.0.2.2").as_bytes(), &Request::upgrade("/")).await;
    for (client, status) in [("192.0.2.1", 429), ("203.0.113.1", 403)] {
        let mut peer = Peer::connect(proxy.address).await;
        peer.write(header(client) + &Request::upgrade("/").encode()).await;
        assert_eq!(peer.read_reply().await.status, status, "{client}");
    }
}

#[tokio::test]
async fn an_upstream_is_told_who_the_client_is_before_anything_else() {
    let backend = Backend::bind().await;
    let text = route(&[], "").replace(
        "endpoints = []",
        &format!("endpoints = [{{ url = \"ws://{}\" }}]\nproxy_protocol = \"v2\"", backend.address()),
    );
    let proxy = Proxy::start(&("trusted_proxies = [\"127.0.0.1\"]\n".to_owned() + &text)).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::upgrade("/").encode()).await;
    let mut upstream = backend.connection().await;
    let port = |address: std::net::SocketAddr| address.port().to_be_bytes();
    let told = [&[127, 0, 0, 1, 127, 0, 0, 1][..], &port(client.local_address()), &port(proxy.address)].concat();
    assert_eq!(upstream.read_exactly(28).await, [SIGNATURE, &[0x21, 0x11, 0, 12], &told].concat());
    let head = upstream.read_request().await;
    upstream.accept(&head, &[]).await;
    assert_eq!(client.read_reply().await.status, 101);
    client.send(Frame::text("through")).await;
    upstream.expect(Frame::text("through")).await;

    // A client that a trusted proxy tells of, in IPv6.
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::upgrade("/").with("X-Forwarded-For", "2001:db8::7").encode()).await;
    let mut upstream = backend.connection().await;
    let mapped = [&[0; 10][..], &[0xff, 0xff, 127, 0, 0, 1]].concat();
    let client = [&[0x20, 0x01, 0x0d, 0xb8][..], &[0; 11], &[7]].concat();
    let expected = [SIGNATURE, &[0x21, 0x21, 0, 36], &client, &mapped, &[0, 0], &port(proxy.address)].concat();
    assert_eq!(upstream.read_exactly(52).await, expected);
}

#[tokio::test]
async fn what_a_proxy_in_front_has_told_is_told_on_also_before_tls() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("back", &["127.0.0.1"]);
    let back = format!(
        "[upstreams.back]\nendpoints = [{{ url = \"wss://{}\" }}]\nproxy_protocol = \"v2\"\ntls = {{ ca = {:?} }}\n",
        backend.address(),
        authority.file()
    );
    let text = introduced("", "unused", "").replace(&upstream("back", &["unused"], ""), &back);
    let proxy = Proxy::start(&text).await;
    // Over TLS without a certificate of the client.
    let tls = b"\x20\x00\x0f\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.2";
    let name = b"\x02\x00\x10chat.example.com";
    let header = v2(&[&tls[..], name].concat());
    let mut client = Peer::connect(proxy.address).await;
    client.write([&header[..], Request::upgrade("/").encode().as_bytes()].concat()).await;
    // What stands behind the header may come with it, and is not this reader's.
    let mut upstream = backend.connection().await.into_stream();
    let mut told = vec![0; header.len()];
    within("the header", upstream.read_exact(&mut told)).await.unwrap();
    assert_eq!(told, header);
    let acceptor = issued.acceptor();
    let secured = within("a TLS handshake", acceptor.accept(upstream)).await.unwrap();
    let mut upstream = Peer::secured(secured.into(), tidegate_tests::Role::Upstream);
    let head = upstream.read_request().await;
    upstream.accept(&head, &[]).await;
    assert_eq!(client.read_reply().await.status, 101);
}
