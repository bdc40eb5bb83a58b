//! HTTP/2 towards upstreams: few connections with many WebSockets on each, and HTTP/1.1 where an endpoint does without.

use http::Response;
use tidegate_tests::{Authority, Backend, Frame, Http2Backend, Peer, Proxy, Request, Role};

/// A route to an upstream at this url that is asked over HTTP/2.
fn config(url: &str, rest: &str) -> String {
    format!(
        "[upstreams.back]\nendpoints = [{{ url = \"{url}\" }}]\nhttp2 = true\n{rest}\n[[routes]]\nname = \"chat\"\nupstream = \"back\"\n"
    )
}

async fn start(backend: &Http2Backend) -> Proxy {
    Proxy::start(&config(&format!("ws://{}", backend.address()), "")).await
}

async fn echo(client: &mut Peer, upstream: &mut Peer, text: &str) {
    client.send(Frame::text(text)).await;
    upstream.expect(Frame::text(text)).await;
    upstream.send(Frame::text(text)).await;
    client.expect(Frame::text(text)).await;
}

#[tokio::test]
async fn many_clients_share_a_connection_to_their_upstream_and_end_each_by_itself() {
    let backend = Http2Backend::bind().await;
    let proxy = start(&backend).await;
    let (first, connection) = tokio::join!(tokio::spawn(Peer::open(proxy.address, "/first")), async {
        let mut connection = backend.connection().await;
        let (upstream, request) = connection.accept(Response::new(())).await;
        assert_eq!((request.method().as_str(), request.uri().path()), ("CONNECT", "/first"));
        assert_eq!(request.headers()["sec-websocket-version"], "13");
        for name in ["sec-websocket-key", "upgrade", "connection", "host"] {
            assert!(!request.headers().contains_key(name), "{request:?}");
        }
        (connection, upstream)
    });
    let (mut connection, its_upstream) = connection;
    let mut open = vec![(first.unwrap(), its_upstream)];
    for place in 0..9 {
        let path = format!("/{place}");
        let accepting = connection.accept(Response::new(()));
        let (client, (upstream, _)) = tokio::join!(Peer::open(proxy.address, &path), accepting);
        open.push((client, upstream));
    }
    for (place, (client, upstream)) in open.iter_mut().enumerate() {
        echo(client, upstream, &format!("message {place}")).await;
    }
    let large = Frame::binary(vec![7; 1 << 20]);
    let (mut client, mut upstream) = open.pop().unwrap();
    let ((), came) = tokio::join!(client.send(large.clone()), upstream.frame());
    assert!(came == large);
    let ((), came) = tokio::join!(upstream.send(large.clone()), client.frame());
    assert!(came == large);
    client.send(Frame::close(1000, "bye")).await;
    upstream.expect(Frame::close(1000, "bye")).await;
    upstream.send(Frame::close(1000, "bye")).await;
    client.expect(Frame::close(1000, "bye")).await;
    upstream.expect_end().await;
    for (client, upstream) in &mut open {
        echo(client, upstream, "still here").await;
    }
    let samples = proxy.until("tidegate_upstream_connections_active", &[], 9).await;
    assert_eq!(samples.count("tidegate_upstream_connects_total", &[("outcome", "connected")]), 10);
}

#[tokio::test]
async fn a_connection_has_no_more_streams_than_the_upstream_may_have_and_stays_no_longer() {
    let backend = Http2Backend::bind().await;
    let limits = "http2_max_streams = 1\nhttp2_idle_timeout = \"50ms\"\nhttp2_stream_window = \"16KiB\"";
    let proxy = Proxy::start(&config(&format!("ws://{}", backend.address()), limits)).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let (client, kept) = tokio::join!(tokio::spawn(Peer::open(proxy.address, "/")), async {
            let mut connection = backend.connection().await;
            let (upstream, _) = connection.accept(Response::new(())).await;
            (connection, upstream)
        });
        open.push((client.unwrap(), kept));
    }
    for (mut client, (connection, mut upstream)) in open {
        // More than the window, which what is taken opens again.
        let large = Frame::binary(vec![7; 256 << 10]);
        let ((), came) = tokio::join!(upstream.send(large.clone()), client.frame());
        assert!(came == large);
        drop((client, upstream));
        connection.ended().await;
    }
}

#[tokio::test]
async fn a_connection_without_room_is_given_a_second_one() {
    let backend = Http2Backend::bind().await.with_streams(1);
    let proxy = start(&backend).await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let (client, kept) = tokio::join!(tokio::spawn(Peer::open(proxy.address, "/")), async {
            let mut connection = backend.connection().await;
            let (upstream, _) = connection.accept(Response::new(())).await;
            (connection, upstream)
        });
        open.push((client.unwrap(), kept));
    }
    for (client, (_, upstream)) in &mut open {
        echo(client, upstream, "up").await;
    }
}

#[tokio::test]
async fn an_upstream_that_vanishes_takes_its_streams_with_it_and_the_next_client_gets_a_new_connection() {
    let backend = Http2Backend::bind().await;
    let proxy = start(&backend).await;
    for _ in 0..2 {
        let (client, (connection, upstream)) = tokio::join!(tokio::spawn(Peer::open(proxy.address, "/")), async {
            let mut connection = backend.connection().await;
            let (upstream, _) = connection.accept(Response::new(())).await;
            (connection, upstream)
        });
        let mut client = client.unwrap();
        connection.abandon().await;
        client.expect_close(1014).await;
        drop(upstream);
    }
}

#[tokio::test]
async fn what_it_answers_instead_is_relayed() {
    let backend = Http2Backend::bind().await;
    let proxy = start(&backend).await;
    let request = Request::upgrade("/");
    let (answer, _connection) = tokio::join!(proxy.answer(&request), async {
        let mut connection = backend.connection().await;
        let (_request, mut respond) = connection.request().await;
        let answer = Response::builder().status(403).header("x-why", "because").body(()).unwrap();
        respond.send_response(answer, false).unwrap().send_data("no entry".into(), true).unwrap();
        connection
    });
    assert_eq!((answer.status, answer.header("x-why"), answer.body.as_str()), (403, "because", "no entry"));
}

#[tokio::test]
async fn an_endpoint_that_does_not_know_websockets_over_http_2_is_asked_over_http_1_1() {
    // It speaks HTTP/2, and that is all.
    let backend = Http2Backend::without_websockets().await;
    let proxy = start(&backend).await;
    let accepting = async {
        let _http2 = backend.connection().await;
        let mut upstream = backend.plain_connection().await;
        let head = upstream.read_request().await;
        upstream.accept(&head, &[]).await;
        upstream
    };
    let (mut client, mut upstream) = tokio::join!(Peer::open(proxy.address, "/"), accepting);
    echo(&mut client, &mut upstream, "up").await;
}

#[tokio::test]
async fn an_endpoint_that_speaks_no_http_2_is_asked_over_http_1_1_from_then_on() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&format!("ws://{}", backend.address()), "")).await;
    let accepting = async {
        let (mut stranger, head) = backend.request().await;
        assert_eq!(head.line, "PRI * HTTP/2.0");
        stranger.write("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        drop(stranger);
        backend.accept().await
    };
    let (mut client, mut upstream) = tokio::join!(Peer::open(proxy.address, "/"), accepting);
    echo(&mut client, &mut upstream, "up").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    echo(&mut client, &mut upstream, "up").await;
}

#[tokio::test]
async fn over_tls_http_2_is_agreed_on_by_alpn_and_else_the_same_connection_goes_on_over_http_1_1() {
    let authority = Authority::new();
    let issued = authority.issue("back", &["127.0.0.1"]);
    let tls = format!("tls = {{ ca = {:?} }}", authority.file());
    let backend = Http2Backend::bind().await.secured(issued.acceptor_offering(&["h2"]));
    let proxy = Proxy::start(&config(&format!("wss://{}", backend.address()), &tls)).await;
    let (client, (_connection, mut upstream)) = tokio::join!(tokio::spawn(Peer::open(proxy.address, "/")), async {
        let mut connection = backend.connection().await;
        let (upstream, _) = connection.accept(Response::new(())).await;
        (connection, upstream)
    });
    echo(&mut client.unwrap(), &mut upstream, "up").await;
    // One that agrees on nothing else.
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&format!("wss://{}", backend.address()), &tls)).await;
    let accepting = async {
        let stream = backend.connection().await.into_stream();
        let secured = issued.acceptor_offering(&["http/1.1"]).accept(stream).await.unwrap();
        let mut upstream = Peer::secured(secured.into(), Role::Upstream);
        let head = upstream.read_request().await;
        upstream.accept(&head, &[]).await;
        upstream
    };
    let (mut client, mut upstream) = tokio::join!(Peer::open(proxy.address, "/"), accepting);
    echo(&mut client, &mut upstream, "up").await;
}
