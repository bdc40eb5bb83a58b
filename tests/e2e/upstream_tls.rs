//! TLS towards upstreams: whom the proxy believes, what it shows, and what it says of those that it does not believe.

use tidegate_tests::{Authority, Backend, Frame, Issued, Peer, Proxy, Request, Role, within};
use tokio_rustls::TlsAcceptor;

/// A route to a back end by its `wss://` url at a host, with keys of `[upstreams.back.tls]`.
fn config(host: &str, backend: &Backend, tls: &str) -> String {
    let (_, port) = backend.address().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    format!(
        "[upstreams.back]\nendpoints = [{{ url = \"wss://{host}:{port}\" }}]\nretries = 0\n{tls}\n\
         [[routes]]\nname = \"main\"\nupstream = \"back\"\n"
    )
}

fn trusting(authority: &Authority, more: &str) -> String {
    format!("[upstreams.back.tls]\nca = {:?}\n{more}", authority.file())
}

/// The next connection to a back end that speaks TLS.
async fn secured(backend: &Backend, acceptor: &TlsAcceptor) -> std::io::Result<Peer> {
    let stream = backend.connection().await.into_stream();
    let stream = within("a TLS handshake of the proxy", acceptor.accept(stream)).await?;
    Ok(Peer::secured(stream.into(), Role::Upstream))
}

async fn accepted(backend: &Backend, acceptor: &TlsAcceptor) -> Peer {
    let mut upstream = secured(backend, acceptor).await.unwrap();
    let head = upstream.read_request().await;
    upstream.accept(&head, &[]).await;
    upstream
}

#[tokio::test]
async fn messages_of_any_size_pass_to_an_endpoint_over_tls() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let acceptor = authority.issue("a", &["localhost"]).acceptor();
    let proxy = Proxy::start(&config("localhost", &backend, &trusting(&authority, ""))).await;
    let (mut client, mut upstream) = tokio::join!(Peer::open(proxy.address, "/"), accepted(&backend, &acceptor));
    for size in [0, 125, 16_384, 65_536, 3_000_000] {
        let frame = Frame::binary(vec![7; size]);
        let ((), came) = tokio::join!(client.send(frame.clone()), upstream.frame());
        assert!(came == frame, "{size}");
        let ((), came) = tokio::join!(upstream.send(frame.clone()), client.frame());
        assert!(came == frame, "{size}");
    }
    upstream.send(Frame::close(1000, "bye")).await;
    client.expect(Frame::close(1000, "bye")).await;
    client.send(Frame::close(1000, "bye")).await;
    upstream.expect(Frame::close(1000, "bye")).await;
    upstream.expect_end().await;
}

#[tokio::test]
async fn sessions_with_an_endpoint_are_resumed_and_the_proxy_shows_its_certificate() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let (server, own) = (authority.issue("a", &["127.0.0.1"]), authority.issue("proxy", &["proxy.example"]));
    let acceptor = server.acceptor_of_clients(&authority);
    let more = format!("certificate = {}", own.toml());
    let proxy = Proxy::start(&config("127.0.0.1", &backend, &trusting(&authority, &more))).await;
    for is_resumed in [false, true, true] {
        let (mut client, mut upstream) = tokio::join!(Peer::open(proxy.address, "/"), accepted(&backend, &acceptor));
        upstream.send(Frame::text("hello")).await;
        client.expect(Frame::text("hello")).await;
        let agreed = upstream.agreed().unwrap();
        assert_eq!(agreed.handshake_kind() == Some(rustls::HandshakeKind::Resumed), is_resumed);
        assert_eq!(agreed.peer_certificates().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn an_endpoint_that_is_not_who_it_has_to_be_is_refused_with_the_reason_in_words() {
    let (authority, others) = (Authority::new(), Authority::new());
    let right = |file: &str| authority.issue(file, &["127.0.0.1"]);
    let cases: [(Issued, String, &str); 5] = [
        (others.issue("foreign", &["127.0.0.1"]), String::new(), "unknown issuer"),
        (authority.issue("named", &["b.example"]), String::new(), "is for b.example, and not for 127.0.0.1"),
        (authority.issue_until("old", &["127.0.0.1"], 2020), String::new(), "has expired, on 2020-01-01"),
        (right("right"), "server_name = \"c.example\"".to_owned(), "is for 127.0.0.1, and not for c.example"),
        (right("fine"), String::new(), ""),
    ];
    for (issued, more, complaint) in cases {
        let backend = Backend::bind().await;
        let acceptor = issued.acceptor();
        let proxy = Proxy::start(&config("127.0.0.1", &backend, &trusting(&authority, &more))).await;
        let asking = async {
            let mut peer = Peer::connect(proxy.address).await;
            peer.exchange(&Request::upgrade("/")).await
        };
        if complaint.is_empty() {
            let (reply, _upstream) = tokio::join!(asking, accepted(&backend, &acceptor));
            assert_eq!(reply.status, 101);
            continue;
        }
        let (reply, secured) = tokio::join!(asking, secured(&backend, &acceptor));
        assert!(secured.is_err() || reply.status == 502, "{complaint}");
        assert_eq!(reply.status, 502, "{complaint}: {reply:?}");
        let line = proxy.access_line().await;
        assert!(line["tried"][0]["error"].as_str().unwrap().contains(complaint), "{complaint}: {line}");
        assert_eq!(line["tried"][0]["outcome"], "tls_failed", "{line}");
        proxy.until("tidegate_upstream_connects_total", &[("outcome", "tls_failed")], 1).await;
    }
}

#[tokio::test]
async fn whoever_is_to_be_believed_blindly_is_and_each_start_warns_of_it() {
    let backend = Backend::bind().await;
    let acceptor = Authority::new().issue("anybody", &["x.example"]).acceptor();
    let proxy = Proxy::start(&config("127.0.0.1", &backend, "[upstreams.back.tls]\ninsecure = true")).await;
    let (mut client, mut upstream) = tokio::join!(Peer::open(proxy.address, "/"), accepted(&backend, &acceptor));
    client.send(Frame::text("believed")).await;
    upstream.expect(Frame::text("believed")).await;
    proxy.wait_for_log(&["no certificate is verified"]).await;
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_tls_or_not_at_all_is_refused_in_time() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let text = config("127.0.0.1", &backend, &trusting(&authority, "")) + "handshake_timeout = \"300ms\"\n";
    let proxy = Proxy::start(&text).await;
    let asking = || async {
        let mut peer = Peer::connect(proxy.address).await;
        peer.exchange(&Request::upgrade("/")).await.status
    };
    let speaking = async {
        let mut upstream = backend.connection().await;
        upstream.write("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        upstream.drain().await;
    };
    assert_eq!(tokio::join!(asking(), speaking).0, 502);
    assert_eq!(tokio::join!(asking(), backend.connection()).0, 504);
}
