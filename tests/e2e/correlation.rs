//! What a request is known by: its id goes to the upstream, to components, to the answer and to the access log, and its
//! place in a trace to whoever comes behind.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Head, Peer, Proxy, Reply, Request, refused_address};

const TRUST: &str = "trusted_proxies = [\"127.0.0.1\"]\n";
const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// Opens a WebSocket: the client's end, what the back end was asked, and what the client was answered.
async fn opened(proxy: &Proxy, backend: &Backend, request: &Request, headers: &[&str]) -> (Peer, Head, Reply) {
    let accepting = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, headers).await;
        head
    };
    let ((client, reply), head) = tokio::join!(Peer::handshake(proxy.address, request), accepting);
    assert_eq!(reply.status, 101, "{reply:?}");
    (client, head, reply)
}

#[tokio::test]
async fn a_request_without_a_trusted_id_is_known_by_that_of_its_connection() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "path_prefix = \"/ws\"")).await;
    let request = Request::upgrade("/ws").with("X-Request-Id", "chosen").with("X_Request_Id", "chosen");
    let (client, head, reply) = opened(&proxy, &backend, &request, &["X-Request-Id: upstream"]).await;
    drop(client);
    let id = reply.head.joined("x-request-id");
    assert_eq!((head.joined("x-request-id"), head.header("x_request_id")), (id.clone(), None), "{head:?}");
    let line = proxy.access_line().await;
    assert_eq!((&line["connection"], line.get("request_id")), (&id.into(), None), "{line}");

    // Each request on a connection has its own.
    let mut client = Peer::connect(proxy.address).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let reply = client.exchange(&Request::new("GET", "/else")).await;
        assert_eq!(reply.status, 404);
        ids.push(reply.head.joined("x-request-id"));
    }
    let lines = proxy.access_lines(3).await;
    assert_eq!(lines[1..].iter().map(|line| line["connection"].clone()).collect::<Vec<_>>(), ids);
}

#[tokio::test]
async fn the_id_of_a_trusted_proxy_goes_everywhere() {
    let backend = Backend::bind().await;
    let when = "when = [{ component = \"conditions\", config = { all = [{ header = \"x-request-id\", op = \"=\", value = \"f47ac10b\" }] } }]";
    let proxy = Proxy::start(&(TRUST.to_owned() + &route(&[&backend.address()], when))).await;
    let request = Request::upgrade("/").with("X-Request-Id", "f47ac10b");
    let (client, head, reply) = opened(&proxy, &backend, &request, &[]).await;
    assert_eq!((&*head.joined("x-request-id"), &*reply.head.joined("x-request-id")), ("f47ac10b", "f47ac10b"));
    drop(client);
    let line = proxy.access_line().await;
    assert_eq!((&line["request_id"], &line["outcome"]), (&"f47ac10b".into(), &"upgraded".into()), "{line}");
    assert_ne!(line["connection"], "f47ac10b");
    let trace = head.joined("traceparent");
    assert_eq!((line["trace_id"].as_str(), &line["protocol"]), (trace.get(3..35), &"HTTP/1.1".into()), "{line}");

    // What is no id, or too long for one, is nobody's.
    for given in ["", "a b", "a,b", "caf\u{e9}", &"x".repeat(129)] {
        let reply = proxy.answer(&Request::upgrade("/").with("X-Request-Id", given)).await;
        assert_eq!(reply.status, 404, "{reply:?}");
        assert!(!reply.head.joined("x-request-id").is_empty() && reply.head.joined("x-request-id") != given);
    }
    let lines = proxy.access_lines(6).await;
    assert!(lines[1..].iter().all(|line| line.get("request_id").is_none()), "{lines:?}");
}

#[tokio::test]
async fn a_trace_goes_on_and_begins_unsampled_where_there_is_none() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "")).await;
    let traced = Request::upgrade("/").with("Traceparent", TRACE).with("Tracestate", "a=1").with("Tracestate", "b=2");
    let (_client, head, _) = opened(&proxy, &backend, &traced, &[]).await;
    assert_eq!((&*head.joined("traceparent"), &*head.joined("tracestate")), (TRACE, "a=1, b=2"));
    let mut seen = Vec::new();
    for request in [Request::upgrade("/"), traced.replacing("Traceparent", "00-xyz")] {
        let (_client, head, _) = opened(&proxy, &backend, &request, &[]).await;
        let trace = head.joined("traceparent");
        assert!(trace.len() == 55 && trace.starts_with("00-") && trace.ends_with("-00"), "{trace}");
        assert_eq!(head.header("tracestate"), None, "{head:?}");
        seen.push(trace);
    }
    assert_ne!(seen[0], seen[1]);
}

#[tokio::test]
async fn an_operator_may_keep_ids_and_traces_to_himself() {
    let backend = Backend::bind().await;
    let rules = "request_headers = { remove = [\"traceparent\"], set = { x-correlation-id = \"{connection}\" } }\n\
                 response_headers = { remove = [\"x-request-id\"] }";
    let proxy = Proxy::start(&route(&[&backend.address()], rules)).await;
    let (_client, head, reply) = opened(&proxy, &backend, &Request::upgrade("/"), &[]).await;
    assert_eq!((head.header("traceparent"), reply.head.header("x-request-id")), (None, None));
    assert_eq!(head.joined("x-correlation-id"), head.joined("x-request-id"));
}

#[tokio::test]
async fn every_refusal_tells_the_id_that_the_log_has() {
    let filter = "filters = [{ component = \"script\", config = { refuse = 402 } }]";
    let config = [
        route(&[&refused_address()], ""),
        format!("[[routes]]\nname = \"refused\"\npath = \"/refused\"\nupstream = \"back\"\n{filter}\n"),
        "[[routes]]\nname = \"own\"\npath = \"/own\"\nanswer = {}\n".to_owned(),
        guest("script"),
    ];
    let proxy = Proxy::start(&config.concat()).await;
    for (index, (request, status)) in [
        (Request::upgrade("/"), 502),
        (Request::new("GET", "/"), 426),
        (Request::upgrade("/%zz"), 400),
        (Request::upgrade("/refused"), 402),
        (Request::upgrade("/own"), 200),
    ]
    .into_iter()
    .enumerate()
    {
        let reply = proxy.answer(&request).await;
        let line = proxy.access_lines(index + 1).await[index].clone();
        assert_eq!((reply.status, reply.head.joined("x-request-id").into()), (status, line["connection"].clone()));
    }
}
