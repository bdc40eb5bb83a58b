//! Plain requests that become messages on a WebSocket, and messages that become their answers.

use futures_util::future::{Either, select};
use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Head, Peer, Proxy, Reply, Request, refused_address, within};
use tokio::task::JoinHandle;

/// A proxy with a bridge to a back end, with these keys.
async fn start(bridge: &str, rest: &str) -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&config(&backend.address(), bridge, rest)).await;
    (proxy, backend)
}

fn config(address: &str, bridge: &str, rest: &str) -> String {
    route(&[address], &format!("path = \"/events/in\"\nbridge = {{ {bridge} }}\n{rest}"))
}

fn post(body: &str) -> String {
    posted("text/plain", body)
}

fn posted(kind: &str, body: &str) -> String {
    let length = body.len().to_string();
    let head = Request::new("POST", "/events/in").with("Content-Type", kind).with("Content-Length", &length).encode();
    head + body
}

/// Sends a request of its own connection, and waits for its answer.
fn send(proxy: &Proxy, request: String) -> JoinHandle<Reply> {
    let address = proxy.address;
    tokio::spawn(async move {
        let mut client = Peer::connect(address).await;
        client.write(request).await;
        client.read_reply().await
    })
}

async fn answer(sent: JoinHandle<Reply>) -> Reply {
    within("an answer", sent).await.unwrap()
}

#[tokio::test]
async fn bodies_become_messages_over_one_connection_that_stays_and_answers_pings() {
    let (proxy, backend) = start("connections = 1", "").await;
    let sent = send(&proxy, post("one"));
    let (mut upstream, head) = backend.request().await;
    assert_eq!((head.line.as_str(), head.header("host")), ("GET /events/in HTTP/1.1", Some("localhost")));
    for name in ["content-length", "content-type", "sec-websocket-extensions", "x-forwarded-for"] {
        assert_eq!(head.header(name), None, "{head:?}");
    }
    upstream.accept(&head, &[]).await;
    upstream.expect(Frame::text("one")).await;
    let reply = answer(sent).await;
    assert_eq!((reply.status, reply.body.as_str()), (202, ""), "{reply:?}");
    // What the upstream says goes nowhere, and its pings are answered.
    upstream.send_all(&[Frame::text("thanks"), Frame::ping("alive")]).await;
    upstream.expect(Frame::pong("alive")).await;
    let sent = send(&proxy, posted("application/octet-stream", "two"));
    upstream.expect(Frame::binary("two")).await;
    assert_eq!(answer(sent).await.status, 202);
    let sent = send(&proxy, Request::new("POST", "/events/in").with("Content-Length", "0").encode());
    upstream.expect(Frame::text("")).await;
    assert_eq!(answer(sent).await.status, 202);
    let labels = [("route", "main"), ("method", "POST"), ("status", "202")];
    let metrics = proxy.until("tidegate_requests_total", &labels, 3).await;
    assert_eq!(metrics.value("tidegate_connections_active", &[("route", "main")]), 1.0);
    assert_eq!(metrics.count("tidegate_messages_total", &[("route", "main"), ("from", "client")]), 3);
}

#[tokio::test]
async fn filters_see_messages_both_ways_and_websockets_are_served_as_ever() {
    let backend = Backend::bind().await;
    let filters = "filters = [{ component = \"script\", config = { tag = \"!\" } }]";
    let text = config(&backend.address(), "reply = \"next\"", filters) + &guest("script");
    let proxy = Proxy::start(&text).await;
    let sent = send(&proxy, post("question"));
    let mut upstream = backend.accept().await;
    let question = upstream.frame().await.as_text();
    upstream.send(Frame::text("answer")).await;
    let reply = answer(sent).await;
    assert_eq!((reply.status, reply.header("content-type")), (200, "text/plain; charset=utf-8"), "{reply:?}");
    let (mut client, mut other) = backend.open(proxy.address, "/events/in").await;
    client.send(Frame::text("question")).await;
    other.expect(Frame::text(&question)).await;
    other.send(Frame::text("answer")).await;
    client.expect(Frame::text(&reply.body)).await;
    assert_ne!(question, "question", "the filter has seen it");
}

#[tokio::test]
async fn each_request_gets_the_answer_to_its_own_message_and_who_waits_in_vain_gets_504() {
    let (proxy, backend) = start("reply = \"next\", timeout = \"1s\", connections = 1", "").await;
    let serving = async {
        let mut upstream = backend.accept().await;
        for _ in 0..5 {
            let asked = upstream.frame().await.as_text();
            upstream.send(Frame::text(format!("{asked}!"))).await;
        }
        upstream
    };
    let asking = async {
        let sent: Vec<_> = (0..5).map(|number| send(&proxy, post(&number.to_string()))).collect();
        for (number, sent) in sent.into_iter().enumerate() {
            let reply = answer(sent).await;
            assert_eq!((reply.status, reply.body), (200, format!("{number}!")));
        }
    };
    let (mut upstream, ()) = tokio::join!(serving, asking);
    let sent = send(&proxy, post("silence"));
    upstream.expect(Frame::text("silence")).await;
    let reply = answer(sent).await;
    assert_eq!(reply.status, 504, "{reply:?}");
    assert!(reply.body.contains("may have been delivered, or not"), "{reply:?}");
    // A late answer would be taken for the next one's.
    assert!(upstream.frame().await.close_code().is_none_or(|code| code < 1002));
    let sent = send(&proxy, posted("application/octet-stream", "again"));
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::binary("again")).await;
    upstream.send(Frame::binary("bytes")).await;
    let reply = answer(sent).await;
    assert_eq!((reply.header("content-type"), reply.body.as_str()), ("application/octet-stream", "bytes"));
}

#[tokio::test]
async fn who_finds_the_queue_full_or_nobody_there_is_told_that_nothing_was_sent() {
    let (proxy, backend) = start("reply = \"next\", connections = 1, queue = 1", "").await;
    let first = send(&proxy, post("first"));
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::text("first")).await;
    let reply = answer(send(&proxy, post("second"))).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"), "{reply:?}");
    assert!(reply.body.contains("was not sent"), "{reply:?}");
    upstream.send(Frame::text("done")).await;
    assert_eq!(answer(first).await.status, 200);

    let proxy = Proxy::start(&config(&refused_address(), "", "")).await;
    let reply = answer(send(&proxy, post("nobody"))).await;
    assert_eq!(reply.status, 502, "{reply:?}");
    let line = proxy.access_line().await;
    assert_eq!((&line["outcome"], &line["method"]), (&"upstream_failed".into(), &"POST".into()), "{line}");
    assert_eq!(line["tried"].as_array().map(Vec::len), Some(2), "{line}");
}

#[tokio::test]
async fn bodies_that_wait_take_no_more_memory_than_messages_may() {
    let backend = Backend::bind().await;
    let top = "assembly_memory = \"1MiB\"\n".to_owned();
    let proxy = Proxy::start(&(top + &config(&backend.address(), "reply = \"next\", connections = 1", ""))).await;
    let first = send(&proxy, post("first"));
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::text("first")).await;
    let large = "x".repeat(800 << 10);
    // Who is refused may be so before all is sent.
    let send_large = || {
        let (address, request) = (proxy.address, post(&large));
        tokio::spawn(async move {
            let mut client = Peer::connect(address).await;
            client.write_while_open(request).await;
            client.read_reply().await
        })
    };
    let (one, other) = (send_large(), send_large());
    // Whose turn would have come first, and has not: there is room for one of them.
    let (refused, waiting) = match within("one that is refused", select(one, other)).await {
        Either::Left((refused, waiting)) | Either::Right((refused, waiting)) => (refused.unwrap(), waiting),
    };
    assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "{refused:?}");
    assert!(refused.body.contains("no room") && refused.body.contains("was not sent"), "{refused:?}");
    upstream.send(Frame::text("done")).await;
    assert_eq!(answer(first).await.body, "done");
    upstream.expect(Frame::text(large)).await;
    upstream.send(Frame::text("done, too")).await;
    assert_eq!(answer(waiting).await.body, "done, too");
}

#[tokio::test]
async fn a_message_whose_connection_ends_is_not_said_to_be_sent_and_is_not_sent_again() {
    let (proxy, backend) = start("reply = \"next\", connections = 1", "").await;
    let sent = send(&proxy, post("one"));
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::text("one")).await;
    upstream.reset();
    let reply = answer(sent).await;
    assert_eq!(reply.status, 502, "{reply:?}");
    let sent = send(&proxy, post("two"));
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::text("two")).await;
    upstream.send(Frame::text("answer")).await;
    assert_eq!(answer(sent).await.status, 200);
}

#[tokio::test]
async fn a_request_that_is_no_message_is_refused() {
    let (proxy, _backend) = start("", "max_message_size = 1000").await;
    for (request, status, told) in [
        (Request::new("PUT", "/events/in").encode(), 405, "POST"),
        (Request::new("GET", "/events/in").with("Accept", "text/event-stream").encode(), 405, "POST"),
        (post(&"x".repeat(1001)), 413, ""),
    ] {
        let reply = answer(send(&proxy, request)).await;
        assert_eq!((reply.status, reply.header("allow")), (status, told), "{reply:?}");
    }
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("POST", "/events/in").with("Content-Length", "1").encode()).await;
    client.write([0xff]).await;
    let reply = client.read_reply().await;
    assert_eq!(reply.status, 400, "{reply:?}");
    assert!(reply.body.contains("application/octet-stream"), "{reply:?}");
}

#[tokio::test]
async fn networks_tokens_and_limits_hold_for_each_request() {
    let (proxy, _backend) = start("", "deny = [\"127.0.0.1\"]").await;
    assert_eq!(answer(send(&proxy, post("no"))).await.status, 403);
    let (proxy, backend) = start("", "handshakes_per_second = 1").await;
    let sent = send(&proxy, post("one"));
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::text("one")).await;
    assert_eq!(answer(sent).await.status, 202);
    // Its connection was none of them. More than come in twenty seconds are not let in at once.
    let sent: Vec<_> = (0..20).map(|_| send(&proxy, post("more"))).collect();
    let mut is_limited = false;
    for sent in sent {
        is_limited |= answer(sent).await.status == 429;
    }
    assert!(is_limited);
}

/// Opens a stream of events, and reads its head.
async fn listen(proxy: &Proxy, request: String, backend: &Backend) -> (Peer, Head, Peer) {
    let listening = async {
        let mut client = Peer::connect(proxy.address).await;
        client.write(request).await;
        let head = client.read_through("\r\n\r\n").await;
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        let head = head.to_lowercase();
        assert!(head.contains("\r\ncontent-type: text/event-stream\r\n"), "{head}");
        assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
        client
    };
    let accepting = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &["Set-Cookie: a=b"]).await;
        (upstream, head)
    };
    let (client, (upstream, head)) = tokio::join!(listening, accepting);
    (client, head, upstream)
}

#[tokio::test]
async fn what_an_upstream_says_is_a_stream_of_events_until_either_side_ends_it() {
    let (proxy, backend) = start("reply = \"stream\"", "").await;
    let get = Request::new("GET", "/events/in?since=7").with("Accept", "text/event-stream").encode();
    let (mut client, head, mut upstream) = listen(&proxy, get, &backend).await;
    assert_eq!(head.target(), "/events/in?since=7");
    upstream.send_all(&[Frame::text("one\ntwo"), Frame::binary([0, 1])]).await;
    client.read_through("data: one\ndata: two\n\n").await;
    client.read_through("event: binary\ndata: AAE=\n\n").await;
    upstream.send(Frame::close(1000, "")).await;
    client.read_through("0\r\n\r\n").await;

    let ask = async {
        let (mut upstream, head) = backend.request().await;
        assert_eq!((head.header("content-length"), head.header("content-type")), (None, None), "{head:?}");
        upstream.accept(&head, &[]).await;
        upstream.expect(Frame::text("subscribe")).await;
        upstream.send(Frame::text("first")).await;
        upstream
    };
    client.write(post("subscribe")).await;
    let mut upstream = within("the second request of the connection", ask).await;
    client.read_through("data: first\n\n").await;
    drop(client);
    assert!(upstream.frame().await.close_code().is_none_or(|code| code <= 1001));
}

#[tokio::test]
async fn a_stream_whose_message_is_lost_is_refused_as_any_other_request() {
    let rules = "response_headers = { set = { x-frame-options = \"DENY\" } }";
    let (proxy, backend) = start("reply = \"stream\"", rules).await;
    // More than any socket takes ahead.
    let sent = send(&proxy, post(&"x".repeat(15 << 20)));
    let (mut upstream, head) = within("the handshake", backend.request()).await;
    upstream.accept(&head, &[]).await;
    upstream.reset();
    let reply = answer(sent).await;
    assert_eq!((reply.status, reply.header("x-frame-options")), (502, "DENY"), "{reply:?}");
    let line = proxy.access_line().await;
    assert_eq!(line["connection"], reply.header("x-request-id"), "{line}");
}

#[tokio::test]
async fn a_drain_ends_events_and_shared_connections() {
    let (proxy, backend) = start("reply = \"stream\"", "").await;
    let get = Request::new("GET", "/events/in").with("Accept", "text/event-stream").encode();
    let (mut client, _, mut upstream) = listen(&proxy, get, &backend).await;
    let drained = proxy.admin("POST", "/api/v1/drain?route=main&over=0s").await;
    assert_eq!(drained.status, 202, "{drained:?}");
    upstream.expect_close(1012).await;
    upstream.send(Frame::close(1012, "")).await;
    client.read_through("0\r\n\r\n").await;
}

#[tokio::test]
async fn a_bridge_that_changes_closes_its_connections_and_opens_others() {
    let (proxy, backend) = start("connections = 1", "").await;
    let sent = send(&proxy, post("one"));
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::text("one")).await;
    assert_eq!(answer(sent).await.status, 202);
    proxy.rewrite(&config(&backend.address(), "connections = 1, reply = \"next\"", ""));
    assert_eq!(proxy.reload().await.status, 200);
    assert!(upstream.frame().await.close_code().is_none_or(|code| code <= 1001));
    let sent = send(&proxy, post("two"));
    let mut upstream = backend.accept().await;
    upstream.expect(Frame::text("two")).await;
    upstream.send(Frame::text("answer")).await;
    assert_eq!(answer(sent).await.body, "answer");
}
