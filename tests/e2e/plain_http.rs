//! Plain requests on a route with `http = true`: where they go, and what both ends see.

use tidegate_tests::config::{guest, route, upstream};
use tidegate_tests::{Backend, Frame, Peer, Proxy, Reply, Request};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

async fn start(rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], &format!("http = true\n{rest}"))).await;
    (proxy, backend)
}

#[tokio::test]
async fn a_request_goes_up_and_its_answer_comes_down_without_what_ends_at_the_hop() {
    let (proxy, backend) = start("").await;
    let request = Request::new("GET", "/a/b?c=d")
        .with("Accept", "text/html")
        .with("Connection", "keep-alive, X-Hop")
        .with("X-Hop", "1")
        .with("TE", "gzip")
        .with("X-Forwarded-For", "203.0.113.9");
    let answering = async {
        let (mut upstream, head) = backend.request().await;
        upstream.write("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: X-Own\r\nX-Own: 1\r\n").await;
        upstream
            .write("Keep-Alive: timeout=5\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nContent-Length: 5\r\n\r\nhello")
            .await;
        (upstream, head)
    };
    let ((_client, reply), (_upstream, head)) = tokio::join!(Peer::handshake(proxy.address, &request), answering);
    assert_eq!(head.line, "GET /a/b?c=d HTTP/1.1");
    assert_eq!(head.headers[0], ("host".to_owned(), "proxy.test".to_owned()));
    assert_eq!((head.header("accept"), head.header("x-forwarded-for")), (Some("text/html"), Some("127.0.0.1")));
    for name in ["connection", "x-hop", "te", "content-length", "transfer-encoding", "x-group-id"] {
        assert_eq!(head.header(name), None, "{head:?}");
    }
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
    assert_eq!(reply.head.joined("set-cookie"), "a=b, c=d");
    for name in ["connection", "x-own", "keep-alive"] {
        assert_eq!(reply.header(name), "", "{reply:?}");
    }
    let line = proxy.access_line().await;
    assert_eq!((&line["method"], &line["outcome"], &line["status"]), (&"GET".into(), &"answered".into(), &200.into()));
    assert_eq!((&line["upstream_bytes"], &line["client_messages"]), (&5.into(), &serde_json::Value::Null));
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.count("tidegate_requests_total", &[("route", "main"), ("method", "GET"), ("status", "200")]), 1);
    assert_eq!(metrics.count("tidegate_request_duration_seconds_count", &[("route", "main")]), 1);
    assert_eq!(metrics.count("tidegate_handshakes_total", &[("route", "main")]), 0);
}

#[tokio::test]
async fn a_request_tells_its_hops_and_ends_where_they_are_bounded() {
    let (proxy, backend) = start("").await;
    let mut client = Peer::connect(proxy.address).await;
    let last = client.exchange(&Request::new("OPTIONS", "/").with("Max-Forwards", "0")).await;
    assert_eq!((last.status, last.header("content-length"), last.header("via")), (200, "0", ""), "{last:?}");
    assert!(last.header("allow").contains("OPTIONS"), "{last:?}");
    client.write(Request::new("OPTIONS", "/").with("Max-Forwards", "1").with("Via", "1.0 front").encode()).await;
    let (_upstream, head) = backend.request().await;
    assert_eq!((&*head.joined("via"), &*head.joined("max-forwards")), ("1.0 front, 1.1 tidegate", "0"), "{head:?}");

    let (proxy, backend) = start("request_headers = { remove = [\"via\"] }").await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/").with("Via", "1.0 front").encode()).await;
    assert_eq!(backend.request().await.1.header("via"), None);
}

#[tokio::test]
async fn both_connections_are_kept_and_the_clients_may_become_a_websocket() {
    let (proxy, backend) = start("").await;
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/1").encode()).await;
    let (mut upstream, head) = backend.request().await;
    assert_eq!(head.target(), "/1");
    upstream.write(OK).await;
    assert_eq!(client.read_reply().await.body, "hello");
    client.write(Request::new("POST", "/2").encode()).await;
    let head = upstream.read_request().await;
    assert_eq!((head.line.as_str(), head.header("content-length")), ("POST /2 HTTP/1.1", Some("0")));
    upstream.write(OK).await;
    assert_eq!(client.read_reply().await.body, "hello");
    client.write(Request::upgrade("/3").encode()).await;
    let mut socket = backend.accept().await;
    assert_eq!(client.read_reply().await.status, 101);
    client.send(Frame::text("up")).await;
    socket.expect(Frame::text("up")).await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.count("tidegate_upstream_connects_total", &[("outcome", "connected")]), 2);
    assert_eq!(metrics.count("tidegate_requests_total", &[]), 2);
    assert_eq!(metrics.count("tidegate_handshakes_total", &[("outcome", "upgraded")]), 1);
}

#[tokio::test]
async fn a_plain_request_takes_the_first_route_that_serves_such() {
    let (sockets, pages) = (Backend::bind().await, Backend::bind().await);
    let config = format!(
        "{}{}[[routes]]\nname = \"sockets\"\npath_prefix = \"/app\"\nupstream = \"sockets\"\n\
         [[routes]]\nname = \"both\"\nupstream = \"sockets\"\nhttp = true\nhttp_upstream = \"pages\"\n",
        upstream("sockets", &[&sockets.address()], ""),
        upstream("pages", &[&pages.address()], "")
    );
    let proxy = Proxy::start(&config).await;
    let page = async {
        let (mut upstream, head) = pages.request().await;
        upstream.write(OK).await;
        (head.target().to_owned(), upstream)
    };
    let request = Request::new("GET", "/app/page");
    let (reply, (target, _upstream)) = tokio::join!(proxy.answer(&request), page);
    assert_eq!((reply.status, target.as_str()), (200, "/app/page"));
    sockets.open(proxy.address, "/app/socket").await;
    sockets.open(proxy.address, "/other").await;
}

#[tokio::test]
async fn a_route_without_it_answers_426_as_ever() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let reply = proxy.answer(&Request::new("GET", "/")).await;
    assert_eq!((reply.status, reply.header("upgrade")), (426, "websocket"));
    proxy.until("tidegate_handshakes_total", &[("outcome", "upgrade_required")], 1).await;
}

#[tokio::test]
async fn answers_without_a_body_have_none_and_keep_what_they_say_of_it() {
    let (proxy, backend) = start("").await;
    let mut client = Peer::connect(proxy.address).await;
    let mut upstream = None;
    for (method, answer, line, length) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", "HTTP/1.1 200 OK", Some("1234")),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK", None),
        ("GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n", "HTTP/1.1 304 Not Modified", None),
        ("DELETE", "HTTP/1.1 204 No Content\r\n\r\n", "HTTP/1.1 204 No Content", None),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 200 OK", Some("0")),
    ] {
        client.write(Request::new(method, "/").encode()).await;
        let peer = match &mut upstream {
            None => upstream.insert(backend.connection().await),
            Some(peer) => peer,
        };
        assert!(peer.read_request().await.line.starts_with(method));
        peer.write(answer).await;
        let head = client.read_request().await;
        assert_eq!((head.line.as_str(), head.header("content-length")), (line, length), "{answer:?}");
    }
}

#[tokio::test]
async fn ranges_and_conditions_are_the_upstreams_business() {
    let (proxy, backend) = start("").await;
    let request = Request::new("GET", "/file").with("Range", "bytes=2-3").with("If-None-Match", "\"x\"");
    let answering = async {
        let (mut upstream, head) = backend.request().await;
        upstream
            .write("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-3/9\r\nContent-Length: 2\r\n\r\nll")
            .await;
        (upstream, head)
    };
    let (reply, (_upstream, head)) = tokio::join!(proxy.answer(&request), answering);
    assert_eq!((head.header("range"), head.header("if-none-match")), (Some("bytes=2-3"), Some("\"x\"")));
    assert_eq!((reply.status, reply.header("content-range"), reply.body.as_str()), (206, "bytes 2-3/9", "ll"));
}

#[tokio::test]
async fn a_filter_sees_the_request_edits_its_fields_and_may_refuse_it() {
    let use_of_script = "{ component = \"script\", config = { tag = \"a\" } }";
    let (proxy, backend) = start(&format!("filters = [{use_of_script}]\n{}", guest("script"))).await;
    let answering = async {
        let (mut upstream, head) = backend.request().await;
        upstream.write(OK).await;
        (upstream, head)
    };
    let request = Request::new("GET", "/");
    let (reply, (_upstream, _)) = tokio::join!(proxy.answer(&request), answering);
    assert_eq!((reply.status, reply.body.as_str()), (200, "hello"));
}

#[tokio::test]
async fn limits_of_the_route_count_requests_in_progress() {
    let (proxy, backend) = start("max_connections = 1").await;
    let mut first = Peer::connect(proxy.address).await;
    first.write(Request::new("GET", "/slow").encode()).await;
    let (mut upstream, _) = backend.request().await;
    let Reply { status, .. } = proxy.answer(&Request::new("GET", "/")).await;
    assert_eq!(status, 503);
    assert_eq!(proxy.metrics().await.count("tidegate_requests_active", &[("route", "main")]), 1);
    upstream.write(OK).await;
    assert_eq!(first.read_reply().await.status, 200);
    proxy.until("tidegate_requests_active", &[("route", "main")], 0).await;
    proxy.until("tidegate_requests_total", &[("status", "503")], 1).await;
}
