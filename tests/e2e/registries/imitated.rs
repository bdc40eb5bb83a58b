//! What a real registry does too seldom for a test: these are imitated, byte by byte.

use serde_json::Value;
use tidegate_tests::{Backend, Peer, Proxy};

use super::{route, until_used};

/// Answers with a value in JSON.
async fn answer(peer: &mut Peer, body: &str) {
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n";
    peer.write(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
}

/// Answers with one that goes on, a piece at a time.
async fn begin(peer: &mut Peer) {
    peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
}

async fn go_on(peer: &mut Peer, piece: &str) {
    peer.write(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes()).await;
}

/// An etcd in which `h:1` is at first, and `h:2` once its watch has been told that changes are forgotten.
#[tokio::test]
async fn an_imitated_etcd_that_has_forgotten_the_changes_is_asked_for_everything() {
    let etcd = Backend::bind().await;
    let discover = format!("etcd = \"http://{}\", prefix = \"/x/\"", etcd.address());
    let start = tokio::spawn(async move { Proxy::start(&route(&discover)).await });

    let (mut first, head) = etcd.request().await;
    assert_eq!(head.target(), "/v3/kv/range");
    answer(&mut first, r#"{"header":{"revision":"41"},"kvs":[{"key":"L3gvMQ==","value":"aDox"}],"count":"1"}"#).await;
    let proxy = start.await.unwrap();
    until_used(&proxy, vec!["ws://h:1".to_owned()], "imitated etcd").await;
    let (mut watch, head) = etcd.request().await;
    assert_eq!(head.target(), "/v3/watch");
    begin(&mut watch).await;
    go_on(&mut watch, "{\"result\":{\"header\":{\"revision\":\"41\"},\"created\":true}}\n").await;
    // In two pieces, in the middle of a line.
    go_on(&mut watch, "{\"result\":{\"header\":{\"revision\":\"41\"},\"canceled\":true,\"comp").await;
    go_on(&mut watch, "act_revision\":\"99\"}}\n").await;

    let (mut second, head) = etcd.request().await;
    assert_eq!(head.target(), "/v3/kv/range");
    answer(&mut second, r#"{"header":{"revision":"99"},"kvs":[{"key":"L3gvMg==","value":"aDoy"}],"count":"1"}"#).await;
    until_used(&proxy, vec!["ws://h:2".to_owned()], "imitated etcd, after a compaction").await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.count("tidegate_discovery_failures_total", &[]), 0);
}

/// A Consul whose index goes back, as that of a server that was made anew does.
#[tokio::test]
async fn an_imitated_consul_whose_index_goes_back_is_asked_from_the_beginning() {
    let consul = Backend::bind().await;
    let discover = format!("consul = \"http://{}\", service = \"a b\"", consul.address());
    let start = tokio::spawn(async move { Proxy::start(&route(&discover)).await });
    let instances = |port: u16| {
        let service =
            serde_json::json!({ "ID": "1", "Address": "", "Port": port, "Weights": { "Passing": 2, "Warning": 1 } });
        Value::from(vec![serde_json::json!({ "Node": { "Node": "n", "Address": "10.0.0.7" }, "Service": service })])
            .to_string()
    };
    let mut proxy = None;
    let mut start = Some(start);
    let asked = "/v1/health/service/a%20b?passing=true&wait=60s";
    for (index, port, target, is_news) in [
        (7, 1, asked.to_owned(), true),
        (9, 2, format!("{asked}&index=7"), true),
        (3, 3, format!("{asked}&index=9"), false),
        (3, 3, asked.to_owned(), true),
    ] {
        let (mut peer, head) = consul.request().await;
        assert_eq!(head.target(), target);
        let body = instances(port);
        let length = body.len();
        let head = format!(
            "HTTP/1.1 200 OK\r\nX-Consul-Index: {index}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        );
        peer.write(format!("{head}{body}").as_bytes()).await;
        if let Some(start) = start.take() {
            proxy = Some(start.await.unwrap());
        }
        if is_news && let Some(proxy) = &proxy {
            until_used(proxy, vec![format!("ws://10.0.0.7:{port}")], "imitated Consul").await;
        }
    }
}
