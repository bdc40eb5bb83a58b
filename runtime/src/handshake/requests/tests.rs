use std::pin::pin;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{DuplexStream, duplex};
use tokio::time::{sleep, timeout};

use super::super::refused::{Refused, relayed, text};
use super::*;
use crate::upstream::{Address, DialError, Timeouts, UpstreamRequest, upgrade as upgrade_upstream};

fn connection(buffer: usize) -> (DuplexStream, Requests<DuplexStream>) {
    let (client, server) = duplex(buffer);
    (client, Requests::new(server, &HeadLimits::default()))
}

const HANDSHAKE: &[u8] = b"GET /ws?x=1 HTTP/1.1\r\nhost: h\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";

fn upgrade() -> HeaderMap {
    [(http::header::CONNECTION, "Upgrade"), (http::header::UPGRADE, "websocket")]
        .map(|(name, value)| (name, value.parse().unwrap()))
        .into_iter()
        .collect()
}

async fn head(client: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(client.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

#[tokio::test]
async fn a_switch_gives_the_socket_back_with_what_came_after_the_request() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(HANDSHAKE).await.unwrap();
    client.write_all(b"early frames").await.unwrap();
    let request = requests.next().await.unwrap().unwrap();
    assert_eq!(request.uri, "/ws?x=1");
    assert!(request.extensions.is_empty());

    let (mut stream, leftover) = requests.switch(upgrade()).await.unwrap();
    assert_eq!(leftover, "early frames");
    let head = head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n") && head.contains("connection: Upgrade\r\n"), "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
    client.write_all(b"frame").await.unwrap();
    let mut frame = [0; 5];
    stream.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"frame");
}

#[tokio::test]
async fn a_switch_returns_only_when_the_101_is_written() {
    let (mut client, mut requests) = connection(16);
    let server = async move {
        requests.next().await.unwrap().unwrap();
        requests.switch(upgrade()).await.unwrap()
    };
    let peer = async {
        client.write_all(HANDSHAKE).await.unwrap();
        head(&mut client).await
    };
    let ((mut stream, leftover), _) = tokio::join!(server, peer);
    assert!(leftover.is_empty());
    stream.write_all(b"frame").await.unwrap();
    let mut frame = [0; 5];
    client.read_exact(&mut frame).await.unwrap();
    assert_eq!(&frame, b"frame");
}

#[tokio::test]
async fn an_answered_request_leaves_the_connection_for_the_next() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    requests.next().await.unwrap().unwrap();
    requests.answer(Refused::NoRoute.response()).await.unwrap();
    let first = head(&mut client).await;
    assert!(first.starts_with("HTTP/1.1 404 Not Found\r\n"), "{first}");
    let mut body = [0; 32];
    client.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"no route for this host and path\n");

    client.write_all(HANDSHAKE).await.unwrap();
    assert_eq!(requests.next().await.unwrap().unwrap().uri, "/ws?x=1");
    requests.switch(upgrade()).await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 101 "));
}

#[tokio::test]
async fn a_client_that_leaves_between_requests_is_no_error() {
    let (client, mut requests) = connection(4096);
    drop(client);
    assert!(requests.next().await.unwrap().is_none());
}

#[tokio::test]
async fn a_client_that_leaves_within_a_request_is_an_error() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    drop(client);
    assert!(matches!(requests.next().await, Err(ReadError::Broken(_) | ReadError::Malformed(_))));
}

#[tokio::test]
async fn an_over_long_head_is_answered_with_431() {
    let (mut client, server) = duplex(64 << 10);
    let mut requests = Requests::new(server, &HeadLimits { max_header_bytes: 1000, ..HeadLimits::default() });
    let long = format!("GET / HTTP/1.1\r\nhost: h\r\nx-long: {}\r\n\r\n", "x".repeat(1000));
    client.write_all(long.as_bytes()).await.unwrap();
    assert!(matches!(requests.next().await, Err(ReadError::TooLarge)));
    assert!(head(&mut client).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn an_endless_head_is_answered_with_431_too() {
    let (mut client, server) = duplex(64 << 10);
    let mut requests = Requests::new(server, &HeadLimits { max_header_bytes: 1000, ..HeadLimits::default() });
    client.write_all(format!("GET /{}", "x".repeat(20_000)).as_bytes()).await.unwrap();
    let error = requests.next().await;
    assert!(matches!(error, Err(ReadError::TooLarge | ReadError::Malformed(_))), "{error:?}");
    let head = head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 431 ") || head.starts_with("HTTP/1.1 414 "), "{head}");
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_400() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n").await.unwrap();
    assert!(matches!(requests.next().await, Err(ReadError::Malformed(_))));
    assert!(head(&mut client).await.starts_with("HTTP/1.1 400 "));
}

#[tokio::test]
async fn during_notices_that_the_client_has_left() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(HANDSHAKE).await.unwrap();
    requests.next().await.unwrap().unwrap();
    drop(client);
    assert_eq!(requests.during(pin!(std::future::pending::<()>())).await, Err(ClientGone));
    assert!(matches!(requests.answer(text(StatusCode::BAD_GATEWAY, "late")).await, Err(WriteError::Closed)));
    assert!(matches!(requests.switch(upgrade()).await, Err(WriteError::Closed)));
}

#[tokio::test(start_paused = true)]
async fn during_runs_its_future_and_keeps_what_the_client_sends_meanwhile() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(HANDSHAKE).await.unwrap();
    requests.next().await.unwrap().unwrap();
    client.write_all(b"early").await.unwrap();
    let later = pin!(async {
        sleep(Duration::from_secs(1)).await;
        7
    });
    assert_eq!(requests.during(later).await, Ok(7));
    assert_eq!(requests.switch(upgrade()).await.unwrap().1, "early");
}

#[tokio::test(start_paused = true)]
async fn next_may_be_cancelled_without_loss() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(&HANDSHAKE[..20]).await.unwrap();
    assert!(timeout(Duration::from_secs(1), requests.next()).await.is_err());
    client.write_all(&HANDSHAKE[20..]).await.unwrap();
    assert_eq!(requests.next().await.unwrap().unwrap().uri, "/ws?x=1");
}

#[tokio::test]
async fn an_answer_that_ends_the_connection_is_read_in_full() {
    let (mut client, mut requests) = connection(64);
    let server = async move {
        requests.next().await.unwrap().unwrap();
        requests.answer(Refused::Malformed("a mistake").response()).await.unwrap();
        requests.close().await;
    };
    let peer = async {
        client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\ncontent-length: 100000\r\n\r\n").await.unwrap();
        client.write_all(&[b'x'; 50]).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let ((), answer) = tokio::join!(server, peer);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("a mistake\n"), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
}

/// What a client gets, and how its answer ends, when the upstream answers the handshake with this and then leaves.
async fn relayed_to_client(answer: &'static str) -> (String, Result<(), WriteError>) {
    let (mut client, mut requests) = connection(64);
    let (stream, mut upstream) = duplex(4096);
    let upstream = async move {
        head(&mut upstream).await;
        upstream.write_all(answer.as_bytes()).await.unwrap();
    };
    let proxy = async move {
        requests.next().await.unwrap().unwrap();
        let request = UpstreamRequest {
            target: crate::upstream::Target::new("/ws".parse().unwrap(), 0),
            headers: HeaderMap::new(),
            protocols: None,
            extensions: None,
        };
        let (address, timeouts) = (Address::parse("endpoint").unwrap(), Timeouts::default());
        let dialled = requests.during(pin!(upgrade_upstream(stream, &address, request, &timeouts))).await.unwrap();
        let Err(DialError::Answered(answer)) = dialled else { panic!("{dialled:?}") };
        requests.answer(relayed(*answer)).await
    };
    let peer = async {
        client.write_all(HANDSHAKE).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let ((), written, answer) = tokio::join!(upstream, proxy, peer);
    (answer, written)
}

#[tokio::test]
async fn an_upstreams_refusal_reaches_the_client_with_its_fields_and_body() {
    for answer in [
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nContent-Length: 11\r\n\r\nplease wait",
        "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\n\r\nplease wait",
    ] {
        let (answer, written) = relayed_to_client(answer).await;
        written.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{answer}");
        assert!(answer.contains("\r\nwww-authenticate: Bearer\r\n") && answer.contains("please wait"), "{answer}");
    }
}

#[tokio::test]
async fn a_refusal_that_breaks_off_breaks_off_for_the_client_too() {
    let (answer, written) = relayed_to_client("HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\npart").await;
    assert!(matches!(written, Err(WriteError::Body(_))), "{written:?}");
    assert!(!answer.ends_with("\r\n0\r\n\r\n") && answer.len() < 99, "{answer}");
}

#[tokio::test]
async fn a_refused_handshake_leaves_the_connection_for_one_that_succeeds() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(HANDSHAKE).await.unwrap();
    requests.next().await.unwrap().unwrap();
    let (answered, refusal) = tokio::join!(requests.answer(text(StatusCode::FORBIDDEN, "not here")), head(&mut client));
    answered.unwrap();
    assert!(refusal.starts_with("HTTP/1.1 403 "), "{refusal}");
    let mut body = [0; 9];
    client.read_exact(&mut body).await.unwrap();
    client.write_all(HANDSHAKE).await.unwrap();
    client.write_all(b"early").await.unwrap();
    assert_eq!(requests.next().await.unwrap().unwrap().uri, "/ws?x=1");
    let (_, leftover) = requests.switch(upgrade()).await.unwrap();
    assert_eq!(leftover, "early");
}

#[tokio::test]
async fn frames_behind_a_handshake_are_not_lost_when_it_comes_in_pieces() {
    for split in 1..HANDSHAKE.len() + 4 {
        let (mut client, mut requests) = connection(4096);
        let all = [HANDSHAKE, b"early"].concat();
        client.write_all(&all[..split]).await.unwrap();
        let feed = async {
            tokio::task::yield_now().await;
            client.write_all(&all[split..]).await.unwrap();
        };
        let (next, ()) = tokio::join!(requests.next(), feed);
        assert_eq!(next.unwrap().unwrap().uri, "/ws?x=1");
        let (mut stream, leftover) = requests.switch(upgrade()).await.unwrap();
        drop(client);
        let mut early = leftover.to_vec();
        stream.read_to_end(&mut early).await.unwrap();
        assert_eq!(early, b"early", "split at {split}");
    }
}
