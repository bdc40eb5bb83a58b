//! Plain requests over HTTP/2 to an upstream that speaks HTTP/1.1. What nobody may smuggle is proven by what it has read.

use bytes::Bytes;
use http::Request as Http;
use tidegate_tests::config::route;
use tidegate_tests::{Backend, Http2, Peer, Proxy, Request, within};

async fn start() -> (Proxy, Backend) {
    let backend = Backend::bind().await;
    let listener = "[[listeners]]\nlisten = \"127.0.0.1:0\"\nhttp2 = \"prior-knowledge\"\n";
    let proxy = Proxy::start(&format!("{}{listener}", route(&[&backend.address()], "http = true"))).await;
    (proxy, backend)
}

fn asked(method: &str, path: &str) -> http::request::Builder {
    Http::builder().method(method).uri(format!("http://proxy.test{path}"))
}

#[tokio::test]
async fn requests_of_one_connection_go_up_over_http_1_and_their_answers_come_down() {
    let (proxy, backend) = start().await;
    let mut client = Http2::connect(proxy.address).await;
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\nX-A: 1\r\n\r\nhello").await;
        let second = upstream.read_request().await;
        upstream.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n").await;
        (head, second)
    };
    let client = async {
        let first = client.ask(asked("GET", "/1?q").header("accept", "*/*").body(()).unwrap()).await;
        (first, client.ask(asked("DELETE", "/2").body(()).unwrap()).await)
    };
    let ((first, second), (head, other)) = tokio::join!(client, upstream);
    assert_eq!((head.line.as_str(), head.header("host")), ("GET /1?q HTTP/1.1", Some("proxy.test")));
    assert_eq!((head.header("accept"), head.header("transfer-encoding")), (Some("*/*"), None));
    assert_eq!((&*other.line, &*other.joined("via")), ("DELETE /2 HTTP/1.1", "2 tidegate"));
    assert_eq!(
        (first.status().as_u16(), &first.headers()["content-length"], &**first.body()),
        (200, &"5".parse().unwrap(), &b"hello"[..])
    );
    assert!(first.headers().contains_key("x-a") && !first.headers().contains_key("connection"));
    assert_eq!((&**second.body(), second.headers().contains_key("transfer-encoding")), (&b"yes"[..], false));
    proxy.until("tidegate_requests_total", &[("status", "200")], 2).await;
}

#[tokio::test]
async fn a_body_goes_up_as_it_comes_with_the_length_that_was_announced_or_in_chunks() {
    let (proxy, backend) = start().await;
    let mut client = Http2::connect(proxy.address).await;
    for (length, framing, whole) in [
        (Some("10"), "content-length: 10", "helloworld"),
        (None, "transfer-encoding: chunked", "5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n"),
    ] {
        let mut request = asked("POST", "/");
        if let Some(length) = length {
            request = request.header("content-length", length);
        }
        let (answer, mut send) = client.begin(request.body(()).unwrap()).await;
        let mut upstream = backend.connection().await;
        let head = upstream.read_through("\r\n\r\n").await.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\n{framing}\r\n")), "{head}");
        send.send_data(Bytes::from_static(b"hello"), false).unwrap();
        let mut read = upstream.read_through("hello").await;
        send.send_data(Bytes::from_static(b"world"), true).unwrap();
        while read.len() < whole.len() {
            read += &String::from_utf8(upstream.read_exactly(1).await).unwrap();
        }
        assert_eq!(read, whole);
        upstream.write("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        assert_eq!(within("an answer", answer).await.unwrap().status(), 204);
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a request, with fields as literals (RFC 7541 section 6.2.2).
fn head(fields: &[(&str, &str)], is_last: bool) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let block: Vec<u8> = fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect();
    frame(1, 4 | u8::from(is_last), 1, &block)
}

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "proxy.test"), (":path", "/seen")];
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";

/// The same with one of the first four replaced.
fn with(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    POST.iter().map(|(known, own)| (*known, if *known == name { value } else { *own })).collect()
}

/// The same with a further field.
fn and(name: &'static str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    POST.iter().copied().chain([(name, value)]).collect()
}

#[tokio::test]
async fn no_head_of_http_2_becomes_two_of_http_1() {
    let (proxy, backend) = start().await;
    for (case, fields) in [
        ("a line in a value", and("x", "y\r\nTransfer-Encoding: chunked")),
        ("a request in a value", and("x", "y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")),
        ("a line feed alone", and("x", "y\nZ: 1")),
        ("a zero", and("x", "y\0")),
        ("a line in a name", and("x: y\r\nz", "1")),
        ("a colon in a name", and("x:", "1")),
        ("a blank in a name", and("x y", "1")),
        ("an upper-case name", and("X-Y", "1")),
        ("transfer-encoding", and("transfer-encoding", "chunked")),
        ("connection", and("connection", "transfer-encoding")),
        ("keep-alive", and("keep-alive", "timeout=5")),
        ("upgrade", and("upgrade", "h2c")),
        ("te of something else", and("te", "gzip")),
        ("a line in the method", with(":method", "GET /smuggled HTTP/1.1\r\nX")),
        ("a blank in the method", with(":method", "GET /smuggled")),
        ("a line in the path", with(":path", "/ HTTP/1.1\r\n\r\nGET /smuggled")),
        ("a blank in the path", with(":path", "/a /smuggled")),
        ("no path", with(":path", "")),
        ("a line in the authority", with(":authority", "h\r\nX: y")),
        ("a scheme that is none", with(":scheme", "http://h/smuggled?")),
        ("a second path", and(":path", "/smuggled")),
        ("a pseudo-field behind the others", [and("x", "y"), vec![(":path", "/smuggled")]].concat()),
        ("one of an answer", and(":status", "200")),
        ("one of nobody's", and(":smuggled", "1")),
        ("another host", and("host", "other.test")),
        ("two lengths", [and("content-length", "0"), vec![("content-length", "5")]].concat()),
        ("a length that is none", and("content-length", "0x5")),
    ] {
        let mut client = Peer::connect(proxy.address).await;
        client.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.write(frame(4, 0, 0, b"")).await;
        client.write_while_open(head(&fields, true)).await;
        // Whatever the proxy does about it, it has done by its end.
        client.write_while_open(frame(7, 0, 0, &[0; 8])).await;
        let end = async {
            client.drain().await;
            proxy.answer(&Request::new("GET", "/end")).await
        };
        let upstream = async {
            let (mut upstream, head) = backend.request().await;
            upstream.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
            head.line
        };
        let (reply, line) = tokio::join!(end, upstream);
        assert_eq!((reply.status, line.as_str()), (200, "GET /end HTTP/1.1"), "{case}");
    }
}

#[tokio::test]
async fn a_body_of_another_length_than_was_announced_is_no_whole_request() {
    let (proxy, backend) = start().await;
    for (length, body) in [("3", format!("abc{SMUGGLED}")), ("99", SMUGGLED.to_owned())] {
        let mut client = Peer::connect(proxy.address).await;
        client.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client.write(frame(4, 0, 0, b"")).await;
        let fields: Vec<_> = POST.iter().copied().chain([("content-length", length)]).collect();
        client.write(head(&fields, false)).await;
        let mut upstream = backend.connection().await;
        let head = upstream.read_through("\r\n\r\n").await.to_ascii_lowercase();
        assert!(head.contains(&format!("\r\ncontent-length: {length}\r\n")), "{head}");
        client.write_while_open(frame(0, 1, 1, body.as_bytes())).await;
        let read = upstream.read_to_end().await;
        assert!(read.len() < length.parse().unwrap(), "{length}: {read:?}");
    }
}
