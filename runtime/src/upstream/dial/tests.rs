use http_body_util::BodyExt;
use rustix::io::Errno;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;

use super::*;
use crate::http::{Host, UpstreamTarget};
use crate::reactor;

fn request() -> UpstreamRequest {
    UpstreamRequest {
        introduction: None,
        target: UpstreamTarget::new(PathAndQuery::from_static("/ws/chat?a=b"), 3),
        headers: HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("a=b"))]),
        client_host: Some(HeaderValue::from_static("chat.example.com")),
        host: Host::Client,
        protocols: Some(HeaderValue::from_static("chat, superchat")),
        extensions: Some(HeaderValue::from_static("permessage-deflate")),
    }
}

fn address() -> Address {
    Address::parse("ws://endpoint.example:9001/v2").unwrap()
}

async fn head(stream: &mut DuplexStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Asks an upstream that reads the handshake and then says this; `{accept}` stands for the right answer to the key. The
/// upstream leaves when it has spoken.
async fn asked(answer: &str) -> (Result<Upgraded<DuplexStream>, DialError>, String) {
    let (stream, mut upstream) = duplex(4096);
    let upstream = async move {
        let head = head(&mut upstream).await;
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let answer = answer.replace("{accept}", &derive_accept_key(key.as_bytes()));
        // Who has read enough of it may leave.
        let _ = upstream.write_all(answer.as_bytes()).await;
        head
    };
    let (address, request, timeouts) = (address(), request(), Timeouts::default());
    tokio::join!(upgrade(stream, &address, &request, &timeouts), upstream)
}

const ACCEPTED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: superchat\r\nX-Node: 1\r\n\r\n";

#[tokio::test]
async fn the_handshake_is_made_anew_for_the_endpoint() {
    let (_, head) = asked(ACCEPTED).await;
    assert!(head.starts_with("GET /v2/chat?a=b HTTP/1.1\r\nHost: chat.example.com\r\n"), "{head}");
    for line in [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Protocol: chat, superchat",
        "Sec-WebSocket-Extensions: permessage-deflate",
        "Cookie: a=b",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} in {head}");
    }
    let head = head.to_ascii_lowercase();
    assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{head}");
}

#[tokio::test]
async fn each_attempt_has_a_key_of_its_own() {
    let key = |head: String| head.lines().find(|line| line.starts_with("Sec-WebSocket-Key: ")).unwrap().to_owned();
    assert_ne!(key(asked(ACCEPTED).await.1), key(asked(ACCEPTED).await.1));
}

#[tokio::test]
async fn an_upgrade_gives_the_socket_back_with_what_came_after_the_answer() {
    let upgraded = asked(&format!("{ACCEPTED}early frames")).await.0.unwrap();
    assert_eq!(upgraded.leftover, "early frames");
    assert_eq!(upgraded.accepted.protocol.unwrap(), "superchat");
    assert_eq!(upgraded.accepted.headers.len(), 1);
    let upgraded = asked(ACCEPTED).await.0.unwrap();
    assert!(upgraded.leftover.is_empty());
}

#[tokio::test]
async fn a_101_that_is_none_is_an_invalid_answer_and_not_retried() {
    for answer in [
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        &ACCEPTED.replace("{accept}", "AAAA"),
        &ACCEPTED.replace("superchat", "other"),
        &ACCEPTED.replace("X-Node: 1", "Sec-WebSocket-Extensions: x-other"),
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
    ] {
        let error = asked(answer).await.0.unwrap_err();
        assert!(matches!(error, DialError::InvalidAnswer(_)), "{answer}: {error}");
        assert!(!error.is_retryable());
        assert_eq!(error.status(), StatusCode::BAD_GATEWAY);
    }
}

#[tokio::test]
async fn an_upstream_that_leaves_without_an_answer_is_retried() {
    for answer in ["", "HTTP/1.1 101 Sw"] {
        let error = asked(answer).await.0.unwrap_err();
        assert!(matches!(error, DialError::Cut(_)), "{error:?}");
        assert!(error.is_retryable() && error.was_sent());
        assert_eq!((error.status(), error.outcome()), (StatusCode::BAD_GATEWAY, ConnectOutcome::Refused));
    }
}

#[tokio::test]
async fn another_answer_comes_with_its_fields_and_its_body() {
    for framing in [
        "Content-Length: 11\r\n\r\nplease wait",
        "Transfer-Encoding: chunked\r\n\r\nb\r\nplease wait\r\n0\r\n\r\n",
        "\r\nplease wait",
    ] {
        let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Bearer\r\nConnection: X-Hop\r\nX-Hop: 1\r\n";
        let error = asked(&format!("{head}{framing}")).await.0.unwrap_err();
        assert!(!error.is_retryable());
        assert_eq!(error.status(), StatusCode::UNAUTHORIZED);
        let DialError::Answered(answer) = error else { panic!("{error}") };
        assert_eq!(answer.head.headers["www-authenticate"], "Bearer");
        for gone in ["connection", "x-hop", "transfer-encoding"] {
            assert!(!answer.head.headers.contains_key(gone), "{gone}");
        }
        assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "please wait", "{framing:?}");
    }
}

#[tokio::test]
async fn answers_of_gateways_are_retried_and_others_are_not() {
    for (status, retryable) in
        [(502, true), (503, true), (504, true), (500, false), (404, false), (302, false), (200, false)]
    {
        let error = asked(&format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")).await.0.unwrap_err();
        assert_eq!(error.is_retryable(), retryable, "{status}");
        assert_eq!(error.outcome(), ConnectOutcome::Answered);
    }
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_an_error() {
    let error = asked("HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\npart").await.0.unwrap_err();
    let DialError::Answered(answer) = error else { panic!("{error}") };
    assert!(matches!(answer.body.collect().await, Err(crate::http::RelayError::Upstream(_))));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_given_up() {
    let (stream, mut upstream) = duplex(4096);
    let (address, request, timeouts) = (address(), request(), Timeouts::default());
    let answer = async {
        head(&mut upstream).await;
        upstream.write_all(b"HTTP/1.1 500 X\r\nContent-Length: 99\r\n\r\npart").await.unwrap();
    };
    let (upgraded, ()) = tokio::join!(upgrade(stream, &address, &request, &timeouts), answer);
    let error = upgraded.unwrap_err();
    let DialError::Answered(answer) = error else { panic!("{error}") };
    assert!(matches!(answer.body.collect().await, Err(crate::http::RelayError::Timeout)));
}

#[tokio::test(start_paused = true)]
async fn a_silent_upstream_runs_into_the_handshake_timeout() {
    let (stream, _upstream) = duplex(4096);
    let start = tokio::time::Instant::now();
    let error = upgrade(stream, &address(), &request(), &Timeouts::default()).await.unwrap_err();
    assert!(matches!(error, DialError::HandshakeTimeout) && error.is_retryable());
    assert_eq!(error.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(start.elapsed().as_secs(), 10);
}

#[test]
fn a_connect_timeout_is_retried_and_told_as_504() {
    assert!(DialError::ConnectTimeout.is_retryable());
    assert_eq!(DialError::ConnectTimeout.status(), StatusCode::GATEWAY_TIMEOUT);
}

#[tokio::test(start_paused = true)]
async fn no_limit_really_is_none() {
    let start = tokio::time::Instant::now();
    let hour = Duration::from_secs(3600);
    assert_eq!(within(None, pin!(tokio::time::sleep(hour))).await, Some(()));
    assert_eq!(start.elapsed(), hour);
    assert_eq!(within(Some(hour), pin!(std::future::pending::<()>())).await, None);
}

#[test]
fn a_port_that_nobody_listens_on_refuses() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::parse(&socket.local_addr().unwrap().to_string()).unwrap();
    drop(socket);
    let dialling = async move { dial(&address, &request(), &Timeouts::default(), &Resolver::new().0, None).await };
    let error = reactor::run(dialling).unwrap().unwrap_err();
    assert!(matches!(error, DialError::Refused(_)) && error.is_retryable());
    assert_eq!(error.outcome(), ConnectOutcome::Refused);
}

#[tokio::test]
async fn dialling_a_name_tries_its_addresses_and_sends_without_delay() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::parse(&format!("localhost:{}", listener.local_addr().unwrap().port())).unwrap();
    let upstream = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4096];
        let count = stream.read(&mut bytes).await.unwrap();
        let head = String::from_utf8(bytes[..count].to_vec()).unwrap();
        let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
        let answer = ACCEPTED.replace("{accept}", &derive_accept_key(key.as_bytes()));
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream
    };
    let timeouts = Timeouts::default();
    let (resolver, lookups) = Resolver::new();
    let lookups = tokio::spawn(lookups.serve());
    let dialling = move || async move {
        let upgraded = dial(&address, &request(), &timeouts, &resolver, None).await.unwrap();
        let Transport::Socket(stream) = &upgraded.socket else { panic!("another transport") };
        let socket = SockRef::from(stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), Liveness::default().user_timeout);
    };
    let dialling = tokio::task::spawn_blocking(|| reactor::run(dialling()).unwrap());
    let (dialled, _stream) = tokio::join!(dialling, upstream);
    dialled.unwrap();
    lookups.abort();
}

#[test]
fn what_somebody_has_to_read_is_offered_no_other_extension_than_deflate() {
    let offer = |text: &'static str| {
        let mut request = UpstreamRequest { extensions: Some(HeaderValue::from_static(text)), ..request() };
        request.offer_only_deflate();
        request.extensions
    };
    assert_eq!(
        offer("x-a, permessage-deflate; client_max_window_bits, x-b").unwrap(),
        "permessage-deflate; client_max_window_bits"
    );
    assert_eq!(
        offer("permessage-deflate; server_max_window_bits=9, permessage-deflate")
            .unwrap()
            .to_str()
            .unwrap()
            .matches("permessage")
            .count(),
        2
    );
    assert!(offer("x-a").is_none());
}

#[tokio::test]
async fn an_answer_in_pieces_and_after_hints_is_read_like_one_that_comes_whole() {
    let whole = ACCEPTED.to_owned() + "frames";
    let hints = format!("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n{whole}");
    for (answer, step) in [(&whole, 7), (&whole, 4096), (&hints, 4096), (&hints, 11)] {
        let (stream, mut upstream) = duplex(4096);
        let (address, request, timeouts) = (address(), request(), Timeouts::default());
        let answering = async {
            let head = head(&mut upstream).await;
            let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
            let answer = answer.replace("{accept}", &derive_accept_key(key.as_bytes()));
            for piece in answer.as_bytes().chunks(step) {
                upstream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            upstream
        };
        let (upgraded, mut upstream) = tokio::join!(upgrade(stream, &address, &request, &timeouts), answering);
        let mut upgraded = upgraded.unwrap();
        assert_eq!(upgraded.accepted.headers["x-node"], "1");
        // The request went out once.
        upgraded.socket.write_all(b"x").await.unwrap();
        assert_eq!(upstream.read_u8().await.unwrap(), b'x');
        drop(upstream);
        let mut frames = upgraded.leftover.to_vec();
        upgraded.socket.read_to_end(&mut frames).await.unwrap();
        assert_eq!(frames, b"frames");
    }
}

#[tokio::test]
async fn a_426_says_which_protocols_and_versions_the_upstream_speaks() {
    let head = "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket, h2c\r\nConnection: Upgrade, X-Hop\r\nX-Hop: 1\r\n";
    let head = format!("{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Version: 8\r\nContent-Length: 0\r\n\r\n");
    let DialError::Answered(answer) = asked(&head).await.0.unwrap_err() else { panic!("no answer") };
    let headers = answer.head.headers;
    assert_eq!(headers["upgrade"], "websocket, h2c");
    assert_eq!(headers["connection"], "Upgrade");
    assert_eq!(headers["sec-websocket-version"], "13, 8");
    assert!(!headers.contains_key("x-hop"));
}

#[tokio::test]
async fn other_answers_keep_the_versions_and_lose_what_is_for_the_hop() {
    let head = "HTTP/1.1 400 Bad Request\r\nUpgrade: h2c\r\nConnection: close\r\nSec-WebSocket-Version: 8\r\n";
    let error = asked(&format!("{head}Content-Length: 0\r\n\r\n")).await.0.unwrap_err();
    let DialError::Answered(answer) = error else { panic!("{error}") };
    assert_eq!(answer.head.headers["sec-websocket-version"], "8");
    assert!(!answer.head.headers.contains_key("upgrade") && !answer.head.headers.contains_key("connection"));
}

#[tokio::test]
async fn an_answer_may_have_as_many_fields_as_fit_into_its_head() {
    let fields: String = (0..2_000).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let error = asked(&format!("HTTP/1.1 403 X\r\n{fields}Content-Length: 2\r\n\r\nno")).await.0.unwrap_err();
    let DialError::Answered(answer) = error else { panic!("{error}") };
    assert_eq!(answer.head.headers["x-1999"], "1999");
    assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "no");
    let upgraded = asked(&ACCEPTED.replace("X-Node: 1\r\n", &fields)).await.0.unwrap();
    assert_eq!(upgraded.accepted.headers.len(), 2_000);
}

#[tokio::test]
async fn a_head_over_its_limit_is_told_with_the_limit() {
    let fields: String = (0..80).map(|number| format!("X-{number}: {}\r\n", "x".repeat(1_000))).collect();
    let error = asked(&format!("HTTP/1.1 403 X\r\n{fields}\r\n")).await.0.unwrap_err();
    assert!(matches!(error, DialError::InvalidAnswer(_)), "{error}");
    assert!(error.to_string().contains("64 KiB"), "{error}");
}

#[tokio::test]
async fn a_body_in_chunks_is_not_cut_at_a_content_length_beside_them() {
    let head = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
    let error = asked(&format!("{head}5\r\nhello\r\n7\r\n, world\r\n0\r\n\r\n")).await.0.unwrap_err();
    let DialError::Answered(answer) = error else { panic!("{error}") };
    assert!(!answer.head.headers.contains_key("content-length"));
    assert_eq!(answer.body.collect().await.unwrap().to_bytes(), "hello, world");
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_looks_up_in_time_is_told_apart_from_an_address_that_takes_no_connection() {
    let (resolver, _lookups) = Resolver::new();
    let error = dial(&address(), &request(), &Timeouts::default(), &resolver, None).await.unwrap_err();
    assert!(matches!(error, DialError::ResolveTimeout), "{error}");
    assert_eq!((error.status(), error.outcome()), (StatusCode::GATEWAY_TIMEOUT, ConnectOutcome::Unresolved));
    assert!(error.is_retryable() && !error.was_sent());
}

#[test]
fn a_shortage_of_ours_is_told_from_a_failure_of_the_upstream() {
    let told = |error: DialError| (error.outcome(), error.status().as_u16(), error.fault());
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::ADDRNOTAVAIL] {
        for error in [DialError::Refused(errno.into()), DialError::Cut(errno.into())] {
            assert_eq!(told(error), (ConnectOutcome::Shortage, 503, Fault::None), "{errno:?}");
        }
    }
    let refused = DialError::Refused(Errno::CONNREFUSED.into());
    assert_eq!(told(refused), (ConnectOutcome::Refused, 502, Fault::Certain));
}
