//! Methods, paths, bodies, bounds, and what web pages may not do.

use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::Level;

use super::super::Operations;
use super::{Fake, Server};

#[tokio::test]
async fn an_unknown_path_is_a_404() {
    let server = Server::start(Fake::default()).await;
    for path in ["/metrics/", "/api/v1", "/api/v2/routes", "/../metrics", "*"] {
        assert_eq!(server.get(path).await.status(), 404, "{path}");
    }
}

#[tokio::test]
async fn another_method_is_a_405_that_says_which_is_allowed() {
    let server = Server::start(Fake::default()).await;
    for (method, path, allow) in [
        ("POST", "/metrics", "GET, HEAD"),
        ("POST", "/api/v1/connections", "GET, HEAD, DELETE"),
        ("DELETE", "/api/v1/routes", "GET, HEAD"),
        ("PUT", "/api/v1/reload", "GET, HEAD, POST"),
        ("PUT", "/api/v1/drain", "POST"),
        ("POST", "/api/v1/log", "GET, HEAD, PUT"),
    ] {
        let answer = server.request(method, path, "").await;
        assert_eq!((answer.status(), answer.header("allow")), (405, Some(allow)), "{method} {path}");
    }
    assert_eq!(server.operations.drains.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn head_gives_the_headers_of_get_without_a_body() {
    let server = Server::start(Fake::default()).await;

    let get = server.get("/api/v1/routes").await;
    let head = server.request("HEAD", "/api/v1/routes", "").await;

    assert_eq!(head.status(), 200);
    assert_eq!(head.body(), "");
    assert_eq!(head.header("content-length"), get.header("content-length"));
    assert_eq!(head.header("content-type"), get.header("content-type"));
}

#[tokio::test]
async fn a_body_is_ignored_whatever_its_length() {
    let server = Server::start(Fake::default()).await;

    let small = server.request("POST", "/api/v1/drain", "Content-Length: 2\r\n\r\n{}").await;
    let endless = server.request("POST", "/api/v1/drain", "Content-Length: 1000000000000\r\n").await;

    assert_eq!((small.status(), endless.status()), (202, 409));
}

#[tokio::test]
async fn what_becomes_of_a_message_for_a_client_is_told() {
    let server = Server::start(Fake::default()).await;
    for (connection, body, status) in [
        ("open", "hello", 202),
        ("open", "more than sixteen", 413),
        ("gone", "hello", 404),
        ("other", "hello", 403),
        ("full", "hello", 503),
        ("silent", "hello", 503),
    ] {
        let path = format!("/api/v1/connections/{connection}/messages");
        let message = format!("Content-Length: {}\r\n\r\n{body}", body.len());
        let answer = server.request("POST", &path, &message).await;
        let retry = (status == 503).then_some("1");
        assert_eq!((answer.status(), answer.header("retry-after")), (status, retry), "{connection}");
    }
    let answer = server.request("POST", "/api/v1/connections/open/messages", "X-Tidegate-Close: soon\r\n").await;
    assert_eq!(answer.status(), 400);
}

#[tokio::test]
async fn a_web_page_of_another_origin_cannot_reload() {
    let server = Server::start(Fake::default()).await;

    let foreign = server.request("POST", "/api/v1/drain", "Origin: https://evil.example\r\n").await;
    let own = server.request("POST", "/api/v1/drain", &format!("Origin: http://{}\r\n", server.address)).await;

    assert_eq!((foreign.status(), own.status()), (403, 202));
    assert_eq!(server.operations.drains.load(Ordering::Relaxed), 1);
    let put = server.request("PUT", "/api/v1/log?level=trace", "Origin: https://evil.example\r\n").await;
    assert_eq!(put.status(), 403);
    assert_eq!(server.operations.log_level(), Level::INFO);
    let delete = server.request("DELETE", "/api/v1/connections?route=chat", "Origin: https://evil.example\r\n").await;
    assert_eq!(delete.status(), 403);
}

#[tokio::test]
async fn a_host_name_rebound_to_this_address_sees_nothing() {
    let server = Server::start(Fake::default()).await;

    let rebound = server.get_as("evil.example:9900", "/metrics").await;

    assert_eq!(rebound.status(), 421);
    assert!(rebound.json()["error"].is_string());
}

#[tokio::test]
async fn a_host_name_that_the_operator_has_named_is_answered() {
    let server = Server::start(Fake::default()).await;
    for (host, status) in [("metrics.example.com:9900", 200), ("METRICS.example.com", 200), ("example.com", 421)] {
        assert_eq!(server.get_as(host, "/metrics").await.status(), status, "{host}");
    }
}

#[tokio::test]
async fn a_server_that_stops_answers_what_it_has_been_asked_and_leaves_its_idle_connections() {
    let mut server = Server::start(Fake::default()).await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    idle.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 1];
    idle.read_exact(&mut first).await.unwrap();

    server.stop.send(()).unwrap();
    server.task.join_next().await.unwrap().unwrap();

    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"ok\n"), "{rest:?}");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_server_that_stops_answers_who_has_come_and_not_asked_yet() {
    let mut server = Server::start(Fake::default()).await;
    let mut silent = TcpStream::connect(server.address).await.unwrap();
    // It was accepted before one that is answered.
    assert_eq!(server.get("/healthz").await.status(), 200);
    server.stop.send(()).unwrap();
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", server.address);
    // Nobody listens any more when it has been told to stop.
    while TcpStream::connect(server.address).await.is_ok() {}
    silent.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    silent.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok\n"), "{answer}");
    server.task.join_next().await.unwrap().unwrap();
}
