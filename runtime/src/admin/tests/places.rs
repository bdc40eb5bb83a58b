//! Clients that take all places, and those that come after them.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::super::Bounds;
use super::super::places::LISTS;
use super::{Fake, Server};

const FEW: Bounds = Bounds { max_connections: 4, send_timeout: Duration::from_secs(30) };

/// A connection on which this was sent, and whose answer, where one is due, has begun.
async fn connected(server: &Server, sent: &str, is_answered: bool) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(sent.replace("HOST", &server.address.to_string()).as_bytes()).await.unwrap();
    if is_answered {
        stream.read_exact(&mut [0; 12]).await.unwrap();
    }
    stream
}

#[tokio::test]
async fn who_asks_for_nothing_makes_room_for_who_asks() {
    for sent in ["", "GET /metrics HTTP/1.1\r\nHost: HO", "GET /healthz HTTP/1.1\r\nHost: HOST\r\n\r\n"] {
        let server = Server::bounded(Fake::default(), FEW).await;
        let mut idle = Vec::new();
        for _ in 0..40 {
            idle.push(connected(&server, sent, sent.ends_with("\r\n\r\n")).await);
        }
        assert_eq!(server.get("/api/v1/routes").await.status(), 200, "{sent}");
        // Those that came last are still there.
        let mut last = idle.pop().unwrap();
        let request = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.address);
        last.write_all(request.as_bytes()).await.unwrap();
        let mut first = idle.swap_remove(0);
        let mut rest = Vec::new();
        let _ = first.read_to_end(&mut rest).await;
        assert!(!rest.ends_with(b"ready\n"), "{sent}");
    }
}

/// A server all of whose places are taken by reloads that go on until it is notified.
async fn full() -> (Server, Arc<Notify>, Vec<TcpStream>) {
    let finish = Arc::new(Notify::new());
    let fake = Fake { pending: Some(finish.clone()), ..Fake::default() };
    let server = Server::bounded(fake, FEW).await;
    let mut busy = Vec::new();
    for _ in 0..FEW.max_connections {
        busy.push(connected(&server, "POST /api/v1/reload HTTP/1.1\r\nHost: HOST\r\n\r\n", false).await);
        server.operations.begun.notified().await;
    }
    (server, finish, busy)
}

#[tokio::test]
async fn while_all_places_are_taken_probes_are_answered_and_others_are_told_to_come_again() {
    let (server, finish, busy) = full().await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(connected(&server, "GET /heal", false).await);
    }
    assert_eq!(server.get("/healthz").await.status(), 200);
    assert_eq!(server.get("/readyz").await.body(), "ready\n");
    let refused = server.get("/metrics").await;
    assert_eq!((refused.status(), refused.header("retry-after")), (503, Some("1")));
    assert!(refused.body().contains("4 connections of the admin API are being answered (max_connections)"));

    finish.notify_waiters();
    for mut stream in busy {
        stream.read_exact(&mut [0; 12]).await.unwrap();
    }
    let counted = server.get("/metrics").await;
    assert!(counted.body().contains("tidegate_admin_refusals_total{reason=\"max_connections\"} 1\n"));
}

#[tokio::test]
async fn who_does_not_read_an_answer_is_cut_off() {
    let bounds = Bounds { send_timeout: Duration::from_millis(50), ..FEW };
    let server = Server::bounded(Fake { routes: 50_000, ..Fake::default() }, bounds).await;
    let mut stream = connected(&server, "GET /api/v1/routes HTTP/1.1\r\nHost: HOST\r\n\r\n", true).await;
    let cut_off = "tidegate_admin_refusals_total{reason=\"send_timeout\"} 1\n";
    let seen = async { while !server.get("/metrics").await.body().contains(cut_off) {} };
    tokio::time::timeout(Duration::from_secs(20), seen).await.unwrap();
    let mut rest = Vec::new();
    let ended = stream.read_to_end(&mut rest).await;
    assert!(ended.is_err() || !rest.ends_with(b"]\n"), "{ended:?} {}", rest.len());
}

#[tokio::test]
async fn of_lists_that_nobody_reads_only_a_few_are_in_memory() {
    // Those who do not read are not cut off, however slowly the lists are made.
    let bounds = Bounds { max_connections: 64, send_timeout: Duration::from_secs(24 * 3600) };
    let server = Server::bounded(Fake { routes: 50_000, ..Fake::default() }, bounds).await;
    let mut slow = Vec::new();
    for _ in 0..LISTS {
        slow.push(connected(&server, "GET /api/v1/routes HTTP/1.1\r\nHost: HOST\r\n\r\n", true).await);
    }
    let mut next = connected(&server, "GET /api/v1/routes HTTP/1.1\r\nHost: HOST\r\n\r\n", false).await;
    let mut status = [0; 12];
    tokio::select! {
        biased;
        _ = next.read_exact(&mut status) => panic!("a list more"),
        health = server.get("/healthz") => assert_eq!(health.status(), 200),
    }
    drop(slow.pop());
    next.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}
