use std::cell::Cell;
use std::pin::pin;
use std::time::Duration;

use http::StatusCode;
use http_body_util::BodyExt;
use tokio::io::{DuplexStream, duplex};
use tokio::time::{sleep, timeout};

use super::super::refused::{Refused, relayed, text};
use super::*;
use crate::http::{Host, UpstreamRequest, UpstreamTarget};
use crate::upstream::{Address, DialError, Timeouts, upgrade as upgrade_upstream};

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
    assert!(head.contains("Upgrade: websocket\r\n") && head.contains("Connection: Upgrade\r\n"), "{head}");
    let head = head.to_ascii_lowercase();
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
async fn an_answer_of_known_length_is_written_as_the_client_takes_it() {
    for length in [0, 1, 5000, 100_000] {
        let (mut client, mut requests) = connection(64);
        let server = async {
            for _ in 0..2 {
                requests.next().await.unwrap().unwrap();
                let mut response = text(StatusCode::OK, "x".repeat(length));
                response.headers_mut().insert("x-etag", "y".parse().unwrap());
                requests.answer(response).await.unwrap();
            }
        };
        let peer = async {
            for _ in 0..2 {
                client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
                let head = head(&mut client).await;
                assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"), "{head}");
                assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", length + 1)), "{head}");
                assert!(head.contains("\r\nX-ETag: y\r\n") && head.contains("\r\nDate: "), "{head}");
                let mut body = vec![0; length + 1];
                client.read_exact(&mut body).await.unwrap();
            }
        };
        tokio::join!(server, peer);
    }
}

#[tokio::test]
async fn requests_that_come_while_one_is_answered_are_not_lost() {
    let (mut client, mut requests) = connection(4096);
    let request = |number: usize| format!("GET /{number} HTTP/1.1\r\nhost: h\r\n\r\n").into_bytes();
    client.write_all(&request(0)).await.unwrap();
    assert_eq!(requests.next().await.unwrap().unwrap().uri, "/0");
    client.write_all(&request(1)).await.unwrap();
    client.write_all(&request(2)).await.unwrap();
    let looked = pin!(tokio::task::yield_now());
    requests.during(looked).await.unwrap();
    requests.answer(text(StatusCode::OK, "0")).await.unwrap();
    for number in 1..3 {
        assert_eq!(requests.next().await.unwrap().unwrap().uri, format!("/{number}").as_str());
        requests.answer(text(StatusCode::OK, "")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
    let (mut client, mut requests) = connection(64);
    client.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    requests.next().await.unwrap().unwrap();
    assert!(matches!(requests.answer(text(StatusCode::OK, "x".repeat(5000))).await, Err(WriteError::Stalled)));
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

/// What a client is told whose request could not be read, and the error.
async fn rejection(mut client: DuplexStream, mut requests: Requests<DuplexStream>) -> (String, ReadError) {
    let error = requests.next().await.unwrap_err();
    let told = async {
        let mut told = String::new();
        client.read_to_string(&mut told).await.unwrap();
        drop(client);
        told
    };
    let (told, ()) = tokio::join!(told, requests.reject(&error, "7"));
    assert!(told.contains("\r\nX-Request-Id: 7\r\n"), "{told}");
    (told, error)
}

fn small(client: &str) -> (DuplexStream, Requests<DuplexStream>, Vec<u8>) {
    let (side, server) = duplex(64 << 10);
    let limits = HeadLimits { max_header_bytes: 1000, max_header_fields: 10, ..HeadLimits::default() };
    (side, Requests::new(server, &limits), client.as_bytes().to_vec())
}

#[tokio::test]
async fn a_head_that_exceeds_a_limit_is_answered_with_431_that_names_it() {
    let fields: String = (0..11).map(|index| format!("x-{index}: 1\r\n")).collect();
    for (text, limit) in [
        (format!("GET / HTTP/1.1\r\nhost: h\r\nx-long: {}\r\n\r\n", "x".repeat(1000)), "more than 1000 bytes"),
        (format!("GET /{}", "x".repeat(20_000)), "more than 1000 bytes"),
        (format!("GET / HTTP/1.1\r\n{fields}\r\n"), "more than 10 header fields"),
        (format!("GET / HTTP/1.1\r\n{fields}\r\n{}", "x".repeat(5000)), "more than 10 header fields"),
    ] {
        let (mut client, requests, bytes) = small(&text);
        client.write_all(&bytes).await.unwrap();
        let (told, error) = rejection(client, requests).await;
        assert!(told.starts_with("HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"), "{told}");
        assert!(told.contains(limit) && error.to_string().contains(limit), "{told}: {error}");
    }
}

#[tokio::test]
async fn a_target_that_no_target_may_be_as_long_as_is_answered_with_414() {
    let (mut client, server) = duplex(256 << 10);
    let requests = Requests::new(server, &HeadLimits { max_header_bytes: 128 << 10, ..HeadLimits::default() });
    let text = format!("GET /{} HTTP/1.1\r\nhost: h\r\n\r\n", "x".repeat(66_000));
    client.write_all(text.as_bytes()).await.unwrap();
    let (told, _) = rejection(client, requests).await;
    assert!(told.starts_with("HTTP/1.1 414 URI Too Long\r\n") && told.contains("65534"), "{told}");
}

#[tokio::test]
async fn what_is_no_http_is_answered_with_400() {
    let (mut client, requests) = connection(4096);
    client.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n").await.unwrap();
    let (told, error) = rejection(client, requests).await;
    assert!(matches!(error, ReadError::Malformed(_)));
    assert!(told.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{told}");
}

#[tokio::test]
async fn a_client_that_ends_after_messages_of_its_own_has_not_left() {
    let (mut client, mut requests) = connection(4096);
    client.write_all(&[HANDSHAKE, b"early"].concat()).await.unwrap();
    client.shutdown().await.unwrap();
    requests.next().await.unwrap().unwrap();
    let patient = pin!(tokio::task::yield_now());
    assert_eq!(requests.during(patient).await, Ok(()));
    let (_, leftover) = requests.switch(upgrade()).await.unwrap();
    assert_eq!(leftover, "early");
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
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_for_continue_gets_it_when_its_body_is_asked_for() {
    let (mut client, mut requests) = connection(4096);
    let server = async move {
        requests.next().await.unwrap().unwrap();
        let body = pin!(requests.body().collect());
        let body = requests.during(body).await.unwrap().unwrap().to_bytes();
        requests.answer(text(StatusCode::OK, "taken")).await.unwrap();
        body
    };
    let peer = async {
        let waiting = b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
        client.write_all(waiting).await.unwrap();
        let interim = head(&mut client).await;
        client.write_all(b"12345").await.unwrap();
        (interim, head(&mut client).await)
    };
    let (body, (interim, answer)) = tokio::join!(server, peer);
    assert_eq!((&*body, interim.as_str()), (&b"12345"[..], "HTTP/1.1 100 Continue\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain"), "{answer}");
}

#[tokio::test]
async fn a_client_that_waits_for_continue_and_is_refused_gets_the_refusal_alone() {
    let (mut client, mut requests) = connection(4096);
    let waiting = b"POST / HTTP/1.1\r\nhost: h\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n";
    client.write_all(waiting).await.unwrap();
    requests.next().await.unwrap().unwrap();
    let _body = requests.body();
    requests.answer(Refused::NoRoute.response()).await.unwrap();
    assert!(head(&mut client).await.starts_with("HTTP/1.1 404 "));
    assert!(requests.is_cut());
}

#[tokio::test]
async fn a_body_goes_up_beside_an_answer_that_comes_down() {
    let (client, mut requests) = connection(64);
    let server = async move {
        requests.next().await.unwrap().unwrap();
        let body = requests.body();
        let taken = Cell::new(0);
        let beside = async {
            let mut body = pin!(body);
            while let Some(Ok(frame)) = body.frame().await {
                taken.set(taken.get() + frame.data_ref().map_or(0, Bytes::len));
            }
        };
        requests.answer_beside(text(StatusCode::OK, "y".repeat(5000)), pin!(beside)).await.unwrap();
        (taken.get(), requests.is_cut())
    };
    let (mut read, mut write) = tokio::io::split(client);
    let sending = async {
        write.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 4000\r\n\r\n").await.unwrap();
        write.write_all(&[b'x'; 4000]).await.unwrap();
    };
    let reading = async {
        let mut answer = Vec::new();
        while answer.iter().filter(|byte| **byte == b'y').count() < 5000 {
            assert!(read.read_buf(&mut answer).await.unwrap() > 0);
        }
    };
    let ((taken, is_cut), (), ()) = tokio::join!(server, sending, reading);
    assert_eq!((taken, is_cut), (4000, false));
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
            introduction: None,
            target: UpstreamTarget::new("/ws".parse().unwrap(), 0),
            headers: HeaderMap::new(),
            client_host: None,
            host: Host::default(),
            protocols: None,
            extensions: None,
        };
        let (address, timeouts) = (Address::parse("endpoint").unwrap(), Timeouts::default());
        let dialled = requests.during(pin!(upgrade_upstream(stream, &address, &request, &timeouts))).await.unwrap();
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
        assert!(answer.contains("\r\nWWW-Authenticate: Bearer\r\n") && answer.contains("please wait"), "{answer}");
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
