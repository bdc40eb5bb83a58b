//! WebSockets over HTTP/2 (RFC 8441): many on one connection, each as if it had a connection of its own.

use std::time::Duration;

use h2::Reason;
use h2::client::Builder;
use h2::ext::Protocol;
use http::Request;
use tidegate_tests::config::{guest, route, upstream};
use tidegate_tests::{Authority, Backend, Frame, Http2, Opened, Peer, Proxy, Signal, websocket, within};

/// A listener in clear text where HTTP/2 is spoken.
fn listener(rest: &str) -> String {
    format!("[[listeners]]\nlisten = \"127.0.0.1:0\"\nhttp2 = \"prior-knowledge\"\n{rest}\n")
}

async fn start(backend: &Backend, rest: &str) -> Proxy {
    Proxy::start(&format!("{}{}", route(&[&backend.address()], rest), listener(""))).await
}

async fn open(client: &mut Http2, backend: &Backend, path: &str) -> (Opened, Peer) {
    tokio::join!(client.open(path), backend.accept())
}

async fn echo(client: &mut Peer, upstream: &mut Peer, text: &str) {
    client.send(Frame::text(text)).await;
    upstream.expect(Frame::text(text)).await;
    upstream.send(Frame::text(text)).await;
    client.expect(Frame::text(text)).await;
}

#[tokio::test]
async fn many_websockets_on_one_connection_end_each_by_itself() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "").await;
    let mut client = Http2::connect(proxy.address).await;
    assert!(client.knows_extended_connect());
    let mut open_ones = Vec::new();
    for place in 0..10 {
        let (mut opened, mut upstream) = open(&mut client, &backend, &format!("/{place}")).await;
        echo(&mut opened.peer, &mut upstream, &format!("first of {place}")).await;
        open_ones.push((opened, upstream));
    }
    let samples = proxy.until("tidegate_connections_active", &[], 10).await;
    assert_eq!(samples.count("tidegate_http2_connections_active", &[]), 1);
    assert_eq!(samples.count("tidegate_http2_streams_total", &[]), 10);
    let (mut first, mut its_upstream) = open_ones.remove(0);
    first.peer.send(Frame::close(1000, "bye")).await;
    its_upstream.expect(Frame::close(1000, "bye")).await;
    its_upstream.send(Frame::close(1000, "bye")).await;
    first.peer.expect(Frame::close(1000, "bye")).await;
    drop(its_upstream);
    first.peer.expect_end().await;
    assert_eq!(within("the end", first.ended).await.unwrap(), None, "an orderly end is no reset");
    let line = proxy.access_line().await;
    assert_eq!((&line["status"], &line["path"], &line["code"]), (&200.into(), &"/0".into(), &1000.into()), "{line}");
    for (opened, upstream) in &mut open_ones {
        echo(&mut opened.peer, upstream, "still here").await;
    }
}

#[tokio::test]
async fn messages_of_any_size_pass_both_ways_at_once() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "").await;
    let mut client = Http2::connect(proxy.address).await;
    let (Opened { mut peer, .. }, mut upstream) = open(&mut client, &backend, "/").await;
    for size in [0, 1, 125, 126, 16_384, 65_535, 65_536, 1 << 20, 5_000_000] {
        let frame = Frame::binary(vec![7; size]);
        let ((), came) = tokio::join!(peer.send(frame.clone()), upstream.frame());
        assert!(came == frame, "{size}");
        let ((), came) = tokio::join!(upstream.send(frame.clone()), peer.frame());
        assert!(came == frame, "{size}");
    }
}

#[tokio::test]
async fn the_upstream_is_asked_over_http_1_1_with_a_key_of_the_proxys() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "").await;
    let mut client = Http2::connect(proxy.address).await;
    let request = Request::builder().method("CONNECT").uri("http://proxy.test:81/a/b?c=d");
    let request = request.extension(Protocol::from_static("websocket")).header("sec-websocket-version", "13");
    let request =
        request.header("sec-websocket-protocol", "chat, other").header("cookie", "a=b").header("cookie", "c=d");
    let request = request.header("origin", "http://proxy.test").body(()).unwrap();
    let accepting = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &["Sec-WebSocket-Protocol: other", "X-Own: 1", "Keep-Alive: 5"]).await;
        (upstream, head)
    };
    let (opened, (_upstream, head)) = tokio::join!(client.open_by(request), accepting);
    assert_eq!(head.target(), "/a/b?c=d");
    assert_eq!(head.header("host"), Some("proxy.test:81"));
    assert_eq!(head.header("cookie"), Some("a=b; c=d"));
    assert_eq!(head.header("sec-websocket-protocol"), Some("chat, other"));
    assert_eq!(head.header("x-forwarded-host"), Some("proxy.test:81"));
    let fields = opened.answer.headers();
    assert_eq!(
        (&fields["sec-websocket-protocol"], &fields["x-own"]),
        (&"other".parse().unwrap(), &"1".parse().unwrap())
    );
    for name in ["sec-websocket-accept", "upgrade", "connection", "keep-alive"] {
        assert!(!fields.contains_key(name), "{fields:?}");
    }
}

#[tokio::test]
async fn a_filter_sees_the_messages_of_each_stream() {
    let backend = Backend::bind().await;
    let rest = format!("filters = [\"replacer\"]\n{}", guest("replacer"));
    let proxy = start(&backend, &rest).await;
    let mut client = Http2::connect(proxy.address).await;
    let (mut one, mut its_upstream) = open(&mut client, &backend, "/").await;
    let (mut other, mut others_upstream) = open(&mut client, &backend, "/").await;
    one.peer.send(Frame::text("one")).await;
    other.peer.send(Frame::text("other")).await;
    its_upstream.expect(Frame::text("one")).await;
    others_upstream.expect(Frame::text("other")).await;
    let labels = [("component", "replacer"), ("verdict", "replace")];
    proxy.until("tidegate_component_calls_total", &labels, 2).await;
}

#[tokio::test]
async fn a_reset_is_a_client_that_has_vanished() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "").await;
    let mut client = Http2::connect(proxy.address).await;
    let ((_, mut send, _receive), mut upstream) = tokio::join!(client.stream(websocket("/gone")), backend.accept());
    send.send_reset(Reason::CANCEL);
    upstream.expect_close(1001).await;
    let line = proxy.access_line().await;
    assert_eq!((&line["by"], &line["code"]), (&"client".into(), &1006.into()), "{line}");
    // The connection goes on.
    let (mut opened, mut upstream) = open(&mut client, &backend, "/").await;
    echo(&mut opened.peer, &mut upstream, "up").await;
}

#[tokio::test]
async fn a_client_that_vanishes_takes_all_its_streams_with_it() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "").await;
    let mut client = Http2::connect(proxy.address).await;
    let mut upstreams = Vec::new();
    for _ in 0..3 {
        let (opened, upstream) = open(&mut client, &backend, "/").await;
        upstreams.push((opened, upstream));
    }
    client.abandon().await;
    for (_opened, upstream) in &mut upstreams {
        upstream.expect_close(1001).await;
    }
    drop(upstreams);
    assert_eq!(proxy.access_lines(3).await.len(), 3);
    proxy.until("tidegate_http2_connections_total", &[("end", "client")], 1).await;
}

#[tokio::test]
async fn an_upstream_that_vanishes_closes_its_stream_with_1014_and_in_order() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "").await;
    let mut client = Http2::connect(proxy.address).await;
    let (mut opened, upstream) = open(&mut client, &backend, "/").await;
    drop(upstream);
    opened.peer.expect_close(1014).await;
    opened.peer.send(Frame::close(1014, "")).await;
    opened.peer.expect_end().await;
    assert_eq!(within("the end", opened.ended).await.unwrap(), None);
}

#[tokio::test]
async fn requests_that_are_no_websocket_get_the_same_refusals_in_terms_of_http_2() {
    let backend = Backend::bind().await;
    let config = format!(
        "{}[[routes]]\nname = \"ws\"\npath = \"/ws\"\nupstream = \"back\"\n{}",
        upstream("back", &[&backend.address()], ""),
        listener("")
    );
    let proxy = Proxy::start(&config).await;
    let mut client = Http2::connect(proxy.address).await;
    let plain = |method: &str, path: &str| {
        Request::builder().method(method).uri(format!("http://proxy.test{path}")).body(()).unwrap()
    };
    let version = |version: &str| {
        let mut request = websocket("/ws");
        request.headers_mut().insert("sec-websocket-version", version.parse().unwrap());
        request
    };
    let mut other = websocket("/ws");
    other.extensions_mut().insert(Protocol::from_static("connect-udp"));
    let mut contrary = websocket("/ws");
    contrary.headers_mut().insert("host", "other.test".parse().unwrap());
    for (request, status, fields) in [
        (plain("GET", "/none"), 404, &[][..]),
        (plain("GET", "/ws"), 405, &[("allow", "CONNECT"), ("sec-websocket-version", "13")]),
        (plain("POST", "/ws"), 405, &[("allow", "CONNECT")]),
        (version("12"), 400, &[("sec-websocket-version", "13")]),
        (other, 501, &[]),
        (contrary, 400, &[]),
        (websocket("/none"), 404, &[]),
    ] {
        let asked = format!("{request:?}");
        let answer = client.ask(request).await;
        assert_eq!(answer.status(), status, "{asked}: {answer:?}");
        for (name, value) in fields {
            assert_eq!(answer.headers()[*name], *value, "{asked}");
        }
        for name in ["connection", "upgrade", "transfer-encoding"] {
            assert!(!answer.headers().contains_key(name), "{asked}: {answer:?}");
        }
        let length: usize = answer.headers()["content-length"].to_str().unwrap().parse().unwrap();
        assert_eq!(answer.body().len(), length, "{asked}");
    }
    let head = client.ask(plain("HEAD", "/none")).await;
    assert_eq!((head.status().as_u16(), head.body().len()), (404, 0));
    // None of them has cost the connection.
    let (mut opened, mut upstream) = open(&mut client, &backend, "/ws").await;
    echo(&mut opened.peer, &mut upstream, "up").await;
}

#[tokio::test]
async fn what_the_upstream_answers_instead_is_relayed() {
    let body = "x".repeat(200_000);
    let answer = format!("HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let address = Backend::bind().await.always_answer(answer);
    let proxy = Proxy::start(&format!("{}{}", route(&[&address], ""), listener(""))).await;
    let mut client = Http2::connect(proxy.address).await;
    let answer = client.ask(websocket("/")).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-why"]), (403, &"because".parse().unwrap()));
    assert!(answer.body() == body.as_bytes(), "{} bytes", answer.body().len());
}

#[tokio::test]
async fn a_head_beyond_the_limits_of_the_listener_is_refused_on_its_stream_alone() {
    let backend = Backend::bind().await;
    let limits = "max_header_bytes = \"1KiB\"\nmax_header_fields = 10";
    let proxy = Proxy::start(&format!("{}{}", route(&[&backend.address()], ""), listener(limits))).await;
    let mut client = Http2::connect(proxy.address).await;
    let mut large = websocket("/");
    large.headers_mut().insert("x-large", "x".repeat(1000).parse().unwrap());
    let mut many = websocket("/");
    for _ in 0..10 {
        many.headers_mut().append("x", "1".parse().unwrap());
    }
    let mut ids = Vec::new();
    for request in [large, many] {
        let answer = client.ask(request).await;
        assert_eq!(answer.status(), 431);
        ids.push(answer.headers()["x-request-id"].to_str().unwrap().to_owned());
    }
    let (mut opened, mut upstream) = open(&mut client, &backend, "/").await;
    echo(&mut opened.peer, &mut upstream, "up").await;
    for (line, id) in proxy.access_lines(2).await.into_iter().zip(ids) {
        assert_eq!((&line["outcome"], &line["status"]), (&"malformed".into(), &431.into()), "{line}");
        assert_eq!(line["connection"], id, "{line}");
    }
}

#[tokio::test]
async fn a_client_of_http_1_1_is_served_on_the_same_port() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "").await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    echo(&mut client, &mut upstream, "up").await;
    // It may take its time, too.
    let mut slow = Peer::connect(proxy.address).await;
    slow.write("GET /slow HTTP/1.1\r\nhost: h\r\n").await;
    slow.write("\r\n").await;
    assert_eq!(slow.read_reply().await.status, 426);
}

#[tokio::test]
async fn who_does_not_speak_in_time_is_sent_away() {
    let backend = Backend::bind().await;
    let limits = "handshake_timeout = \"100ms\"";
    let proxy = Proxy::start(&format!("{}{}", route(&[&backend.address()], ""), listener(limits))).await;
    for begun in ["", "PRI * HTTP/2.0\r\n\r\n"] {
        let mut client = Peer::connect(proxy.address).await;
        client.write(begun).await;
        client.drain().await;
    }
    for line in proxy.access_lines(2).await {
        assert_eq!(line["outcome"], "client_timeout", "{line}");
    }
}

#[tokio::test]
async fn a_connection_without_a_stream_ends_after_its_time_and_one_with_a_stream_does_not() {
    let backend = Backend::bind().await;
    let idle = "http2_idle_timeout = \"1500ms\"";
    let proxy = Proxy::start(&format!("{}{}", route(&[&backend.address()], ""), listener(idle))).await;
    let mut busy = Http2::connect(proxy.address).await;
    let (mut opened, mut upstream) = open(&mut busy, &backend, "/").await;
    assert!(Http2::connect(proxy.address).await.ended().await.is_ok());
    echo(&mut opened.peer, &mut upstream, "up").await;
    drop((opened, upstream));
    assert!(busy.ended().await.is_ok());
}

#[tokio::test]
async fn a_drain_takes_no_further_stream_and_ends_the_connection_with_its_last_one() {
    let backend = Backend::bind().await;
    let config = format!("drain_time = \"100ms\"\n{}{}", route(&[&backend.address()], ""), listener(""));
    let mut proxy = Proxy::with_workers(2, &config).await;
    let mut client = Http2::connect(proxy.address).await;
    let idle = Http2::connect(proxy.address).await;
    let mut open_ones = Vec::new();
    for _ in 0..3 {
        open_ones.push(open(&mut client, &backend, "/").await);
    }
    proxy.signal(Signal::TERM);
    assert!(idle.ended().await.is_ok());
    for (mut opened, mut upstream) in open_ones {
        opened.peer.expect_close(1012).await;
        opened.peer.send(Frame::close(1012, "")).await;
        upstream.expect_close(1012).await;
        upstream.send(Frame::close(1012, "")).await;
        drop(upstream);
        opened.peer.expect_end().await;
    }
    assert!(client.ended().await.is_ok());
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn a_route_counts_each_stream_as_a_connection() {
    let backend = Backend::bind().await;
    let proxy = start(&backend, "max_connections = 2").await;
    let mut client = Http2::connect(proxy.address).await;
    let _first = open(&mut client, &backend, "/").await;
    let second = open(&mut client, &backend, "/").await;
    assert_eq!(client.ask(websocket("/")).await.status(), 503);
    drop(second);
    proxy.until("tidegate_connections_active", &[], 1).await;
    open(&mut client, &backend, "/").await;
}

#[tokio::test]
async fn over_tls_http_2_is_agreed_on_unless_it_is_off_and_never_forced() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let config = |rest: &str| {
        format!(
            "{}[[listeners]]\nlisten = \"127.0.0.1:0\"\n{rest}\ntls = {{ certificates = [{}] }}\n",
            route(&[&backend.address()], ""),
            issued.toml()
        )
    };
    let (on, off) = (Proxy::start(&config("")).await, Proxy::start(&config("http2 = \"off\"")).await);
    for (proxy, offered, agreed) in [
        (&on, &["h2", "http/1.1"][..], Some("h2")),
        (&on, &["http/1.1"], Some("http/1.1")),
        (&on, &[], None),
        (&off, &["h2", "http/1.1"], Some("http/1.1")),
    ] {
        let trust = authority.trust().offering(offered);
        let client = trust.connect(proxy.address, "a.example").await.unwrap();
        let spoken = client.agreed().unwrap().alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap());
        assert_eq!(spoken.as_deref(), agreed, "{offered:?}");
        if agreed == Some("h2") {
            let mut client = Http2::over(client, &Builder::new()).await;
            let accepting = async {
                let (mut upstream, head) = backend.request().await;
                assert_eq!(head.header("x-forwarded-proto"), Some("https"));
                upstream.accept(&head, &[]).await;
                upstream
            };
            let (mut opened, mut upstream) = tokio::join!(client.open("/"), accepting);
            echo(&mut opened.peer, &mut upstream, "up").await;
            let large = Frame::binary(vec![1; 1 << 20]);
            let ((), came) = tokio::join!(opened.peer.send(large.clone()), upstream.frame());
            assert!(came == large);
        }
    }
}

#[tokio::test]
async fn a_stream_whose_upstream_reads_nothing_holds_no_other_up() {
    let backend = Backend::bind().await.with_small_buffers();
    let proxy = start(&backend, "").await;
    let mut client = Http2::connect(proxy.address).await;
    let (mut stalled, stalled_upstream) = open(&mut client, &backend, "/stalled").await;
    let endless = stalled.peer.encode(&Frame::binary(vec![0; 16 << 20]));
    let written = stalled.peer.write_until_stuck(&endless, Duration::from_millis(300)).await;
    assert!((64 << 10..16 << 20).contains(&written), "{written}");
    let (mut opened, mut upstream) = open(&mut client, &backend, "/").await;
    for _ in 0..10 {
        let large = Frame::binary(vec![1; 100_000]);
        let ((), came) = tokio::join!(opened.peer.send(large.clone()), upstream.frame());
        assert!(came == large);
    }
    drop(stalled_upstream);
}
