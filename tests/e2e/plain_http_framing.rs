//! What nobody may smuggle: the proof is always what the upstream has read.

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Peer, Proxy};

/// A request that must not be seen by any upstream.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// Sends this and leaves; all that any connection to the upstream has read, each answered as often as it asks.
async fn read_by_upstream(proxy: &Proxy, backend: &Backend, sent: &str) -> (Vec<u8>, String) {
    let mut client = Peer::connect(proxy.address).await;
    client.write_while_open(sent).await;
    let upstream = async {
        let mut read = String::new();
        loop {
            let mut connection = backend.connection().await;
            let head = connection.read_through("\r\n\r\n").await;
            if head.starts_with("GET /end ") {
                connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
                return read;
            }
            read += &head;
            connection.write_while_open("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok").await;
            read += &String::from_utf8_lossy(&connection.read_to_end().await);
        }
    };
    let end = async {
        let answers = client.read_to_end().await;
        // Only now it is certain that nothing more comes up.
        let mut last = Peer::connect(proxy.address).await;
        last.write("GET /end HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").await;
        last.read_to_end().await;
        answers
    };
    tokio::join!(end, upstream)
}

#[tokio::test]
async fn no_request_is_hidden_in_another() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "http = true")).await;
    let post =
        |fields: &str, body: &str| format!("POST /seen HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n{body}");
    let hidden = format!("0\r\n\r\n{SMUGGLED}");
    let chunk = format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
    let length = format!("Content-Length: {}\r\n", hidden.len());
    for (sent, status) in [
        // Both framings, in both orders, and disguised.
        (post(&format!("{length}Transfer-Encoding: chunked\r\n"), &hidden), "400"),
        (post(&format!("Transfer-Encoding: chunked\r\n{length}"), &hidden), "400"),
        (post(&format!("{length}Transfer-Encoding: xchunked\r\n"), &hidden), "400"),
        (post(&format!("{length}Transfer-Encoding: chunked, identity\r\n"), &hidden), "400"),
        (post(&format!("{length}Transfer-Encoding: identity\r\n"), &hidden), "400"),
        (post(&format!("{length}Transfer-Encoding:\tchunked\r\n"), &hidden), "400"),
        (post(&format!("{length}Transfer-Encoding : chunked\r\n"), &hidden), "400"),
        (post(&format!("{length} Transfer-Encoding: chunked\r\n"), &hidden), "400"),
        (post(&format!("{length}X: y\r\n Transfer-Encoding: chunked\r\n"), &hidden), "400"),
        (post(&format!("{length}Transfer-Encoding: \x0bchunked\r\n"), &hidden), "400"),
        (post(&format!("{length}X: y\rTransfer-Encoding: chunked\r\n"), &hidden), "400"),
        (post(&format!("{length}Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"), &hidden), "400"),
        // Codings that would have to be undone.
        (post("Transfer-Encoding: gzip, chunked\r\n", &chunk), "501"),
        (post("Transfer-Encoding: chunked, chunked\r\n", &chunk), "400"),
        // Lengths that are none, or two.
        (post("Content-Length: 0\r\nContent-Length: 40\r\n", SMUGGLED), "400"),
        (post("Content-Length: 0, 40\r\n", SMUGGLED), "400"),
        (post("Content-Length: +0\r\n", SMUGGLED), "400"),
        (post("Content-Length: -1\r\n", SMUGGLED), "400"),
        (post("Content-Length: 0x28\r\n", SMUGGLED), "400"),
        (post("Content-Length: 18446744073709551616\r\n", SMUGGLED), "400"),
        (post("Content-Length: 1 0\r\n", SMUGGLED), "400"),
        (post("Content-Length:\r\n", SMUGGLED), "400"),
        // Requests that have ended, and what follows is not asked for on a connection that was to be closed.
        (post("Content-Length: 0\r\n", SMUGGLED), "200"),
        (post("", SMUGGLED), "200"),
        // Targets and lines.
        (format!("GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n{SMUGGLED}"), "400"),
        (format!("GET /a\r\n\r\n{SMUGGLED}"), "400"),
        (format!("GET /a b HTTP/1.1\r\nHost: h\r\n\r\n{SMUGGLED}"), "400"),
        (format!("GET  /a HTTP/1.1\r\nHost: h\r\n\r\n{SMUGGLED}"), "400"),
        (format!("GET /a HTTP/1.1\r\nHost: h\r\nX\0: y\r\n\r\n{SMUGGLED}"), "400"),
        (format!("CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n{SMUGGLED}"), "400"),
        (format!("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n{SMUGGLED}"), "501"),
        (format!("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"), "400"),
    ] {
        let (answers, read) = read_by_upstream(&proxy, &backend, &sent).await;
        let answers = String::from_utf8_lossy(&answers);
        assert!(!read.contains("/smuggled"), "{sent:?} brought the upstream {read:?}");
        assert!(answers.starts_with(&format!("HTTP/1.1 {status} ")), "{sent:?} was answered {answers:?}");
        assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{sent:?} was answered {answers:?}");
        assert_eq!(status != "200", read.is_empty(), "{sent:?} brought the upstream {read:?}");
    }
}

#[tokio::test]
async fn a_body_that_looks_like_a_request_is_a_body() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "http = true")).await;
    for (fields, body) in [
        (format!("Content-Length: {}\r\n", SMUGGLED.len()), SMUGGLED.to_owned()),
        (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{:x};a=\"b\"\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
        ),
    ] {
        let sent = format!("POST /seen HTTP/1.1\r\nHost: h\r\nConnection: close\r\n{fields}\r\n{body}");
        let (answers, read) = read_by_upstream(&proxy, &backend, &sent).await;
        assert!(answers.starts_with(b"HTTP/1.1 200 "));
        // It stands behind the one head, framed as the proxy has read it, without what stood beside a chunk's size.
        let (head, rest) = read.split_once("\r\n\r\n").unwrap();
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        let framed = format!("{:X}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len());
        assert_eq!(rest, if is_chunked { framed.as_str() } else { SMUGGLED });
        assert_eq!(head.matches("HTTP/1.1").count(), 1, "{head}");
    }
}

#[tokio::test]
async fn chunks_that_are_none_end_the_request_and_the_upstreams_connection() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "http = true")).await;
    for body in
        ["g\r\nx\r\n0\r\n\r\n", "-1\r\nx\r\n", "1\r\nxy\r\n0\r\n\r\n", "10000000000000000\r\nx", "1;\0\r\nx\r\n"]
    {
        let sent = format!("POST /seen HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}{SMUGGLED}");
        let mut client = Peer::connect(proxy.address).await;
        client.write(&sent).await;
        let mut upstream = backend.connection().await;
        let read = String::from_utf8_lossy(&upstream.read_to_end().await).into_owned();
        assert!(!read.contains("/smuggled") && !read.ends_with("0\r\n\r\n"), "{body:?} brought {read:?}");
        client.drain().await;
    }
}

#[tokio::test]
async fn answers_of_an_upstream_that_are_framed_in_two_ways_are_framed_in_one() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "http = true")).await;
    for (answer, body) in [
        (
            "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            Some("5\r\nhello\r\n0\r\n\r\n"),
        ),
        ("Content-Length: 5, 5\r\n\r\nhello", Some("hello")),
        ("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", Some("hello")),
        ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello", None),
        ("Content-Length: five\r\n\r\nhello", None),
    ] {
        let mut client = Peer::connect(proxy.address).await;
        client.write("POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 0\r\n\r\n").await;
        let (mut upstream, _) = backend.request().await;
        upstream.write(format!("HTTP/1.1 200 OK\r\nConnection: close\r\n{answer}")).await;
        drop(upstream);
        let told = String::from_utf8_lossy(&client.read_to_end().await).into_owned();
        let (head, rest) = told.split_once("\r\n\r\n").unwrap();
        let head = head.to_ascii_lowercase();
        match body {
            None => assert!(head.starts_with("http/1.1 502 "), "{answer:?}: {told:?}"),
            Some(body) => {
                assert_eq!(rest, body, "{answer:?}");
                let framings = head.matches("content-length").count() + head.matches("transfer-encoding").count();
                assert_eq!(framings, 1, "{head}");
            }
        }
    }
}

#[tokio::test]
async fn what_stands_behind_an_answer_is_nobodys_answer() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "http = true")).await;
    let mut client = Peer::connect(proxy.address).await;
    let large = "x".repeat(100_000);
    for body in ["ok", "", &large] {
        for is_at_once in [true, false] {
            client.write("GET /first HTTP/1.1\r\nHost: h\r\n\r\n").await;
            let (mut upstream, _) = backend.request().await;
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
            if is_at_once {
                upstream.write(answer + EVIL).await;
                assert_eq!(client.read_reply().await.body, body);
            } else {
                upstream.write(answer).await;
                assert_eq!(client.read_reply().await.body, body);
                upstream.write_while_open(EVIL).await;
            }
            // Which ends, because nothing can be asked over it any more.
            upstream.drain().await;
        }
    }
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_one_after_the_other() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "http = true")).await;
    let mut client = Peer::connect(proxy.address).await;
    let request = |number: usize| format!("GET /{number} HTTP/1.1\r\nHost: h\r\n\r\n");
    // One alone, one that comes while the first is answered, and two at once.
    client.write(request(0)).await;
    let (mut upstream, head) = backend.request().await;
    assert_eq!(head.target(), "/0");
    client.write(request(1) + &request(2)).await;
    for number in 0..3 {
        if number > 0 {
            assert_eq!(upstream.read_request().await.target(), format!("/{number}"));
        }
        upstream.write(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}")).await;
        assert_eq!(client.read_reply().await.body, number.to_string());
    }
}
