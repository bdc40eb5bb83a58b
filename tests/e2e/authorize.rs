//! Another server that is asked whether a client may come in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_tests::config::upstream;
use tidegate_tests::{Authority, Backend, Head, Http2, Peer, Proxy, Request, Role, refused_address, within};
use tokio::net::TcpListener;

/// A server whose answers the test gives.
struct Asked {
    listener: TcpListener,
}

impl Asked {
    async fn bind() -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap() }
    }

    fn url(&self) -> String {
        format!("http://{}/verify?for=chat", self.listener.local_addr().unwrap())
    }

    async fn connection(&self) -> Peer {
        let (stream, _) = within("a question", self.listener.accept()).await.unwrap();
        Peer::new(stream, Role::Upstream)
    }

    /// Answers the next question on a connection of its own.
    async fn answer(&self, answer: &str) -> (Peer, Head) {
        let mut peer = self.connection().await;
        let head = peer.read_request().await;
        peer.write(answer).await;
        (peer, head)
    }

    /// The same with an answer that may not be read to its end.
    async fn answer_while_open(&self, answer: &str) -> Peer {
        let mut peer = self.connection().await;
        peer.read_request().await;
        peer.write_while_open(answer).await;
        peer
    }

    /// Admits everybody from now on, and counts them.
    fn admit_all(self) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let asked = count.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = self.listener.accept().await {
                let asked = asked.clone();
                tokio::spawn(async move {
                    let mut peer = Peer::new(stream, Role::Upstream);
                    loop {
                        peer.read_request().await;
                        asked.fetch_add(1, Ordering::SeqCst);
                        peer.write_while_open("HTTP/1.1 204 No Content\r\nX-User: alice\r\n\r\n").await;
                    }
                });
            }
        });
        count
    }
}

fn config(backend: &Backend, url: &str, more: &str, rest: &str) -> String {
    format!(
        "{}[[routes]]\nname = \"main\"\nupstream = \"back\"\n\
         authorize = {{ url = {url:?}, copy = [\"x-user\", \"x-role\"]{more} }}\n{rest}\n",
        upstream("back", &[&backend.address()], "")
    )
}

const ADMITTED: &str =
    "HTTP/1.1 200 OK\r\nX-User: alice\r\nX-Role: a\r\nX-Role: b\r\nX-Else: no\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn who_is_admitted_comes_in_with_the_fields_of_the_answer_and_not_with_its_own() {
    let (backend, asked) = (Backend::bind().await, Asked::bind().await);
    let proxy = Proxy::start(&config(&backend, &asked.url(), "", "")).await;
    let request = Request::upgrade("/ws?x=1")
        .with("Authorization", "Bearer secret")
        .with("Cookie", "session=1")
        .with("X-Other", "for the upstream alone")
        .with("X-User", "root")
        .with("X_User", "root");
    let client = Peer::handshake(proxy.address, &request);
    let upstream = async {
        let (_asked, question) = asked.answer(ADMITTED).await;
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[]).await;
        (question, head)
    };
    let ((_client, reply), (question, head)) = tokio::join!(client, upstream);
    assert_eq!(reply.status, 101, "{reply:?}");

    assert_eq!(question.line, "GET /verify?for=chat HTTP/1.1");
    for (name, value) in [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/ws?x=1"),
        ("x-forwarded-host", "proxy.test"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-for", "127.0.0.1"),
        ("authorization", "Bearer secret"),
        ("cookie", "session=1"),
    ] {
        assert_eq!(question.joined(name), value, "{name}");
    }
    for name in ["x-other", "x-user", "upgrade", "sec-websocket-key", "content-length"] {
        assert_eq!(question.header(name), None, "{question:?}");
    }
    assert_eq!((head.joined("x-user"), head.header("x_user")), ("alice".to_owned(), None), "{head:?}");
    assert_eq!((head.joined("x-role"), head.header("x-else")), ("a, b".to_owned(), None), "{head:?}");
    assert_eq!(head.joined("authorization"), "Bearer secret");
}

#[tokio::test]
async fn a_handshake_over_http_2_is_the_same_question() {
    let (backend, asked) = (Backend::bind().await, Asked::bind().await);
    let listener = "[[listeners]]\nlisten = \"127.0.0.1:0\"\nhttp2 = \"prior-knowledge\"\n";
    let proxy = Proxy::start(&(config(&backend, &asked.url(), "", "") + listener)).await;
    let mut client = Http2::connect(proxy.address).await;
    let (_opened, (_asked, question), _upstream) =
        tokio::join!(client.open("/ws?x=1"), asked.answer(ADMITTED), backend.accept());
    for (name, value) in [
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/ws?x=1"),
        ("x-forwarded-host", "proxy.test"),
        ("x-forwarded-proto", "http"),
    ] {
        assert_eq!(question.joined(name), value, "{name}");
    }
}

#[tokio::test]
async fn any_other_answer_is_the_clients() {
    let (backend, asked) = (Backend::bind().await, Asked::bind().await);
    let proxy = Proxy::start(&config(&backend, &asked.url(), "", "")).await;
    for (answer, status, field, body) in [
        (
            "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 2\r\n\r\nno",
            401,
            "www-authenticate",
            "no",
        ),
        (
            "302 Found\r\nLocation: https://login.example/\r\nKeep-Alive: timeout=5\r\nContent-Length: 0\r\n\r\n",
            302,
            "location",
            "",
        ),
        (
            "403 Forbidden\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nno!\r\n0\r\n\r\n",
            403,
            "set-cookie",
            "no!",
        ),
        ("500 Internal Server Error\r\nX-Why: broken\r\nContent-Length: 0\r\n\r\n", 500, "x-why", ""),
    ] {
        let answer = format!("HTTP/1.1 {answer}");
        let request = Request::upgrade("/");
        let (reply, (mut asking, _)) = tokio::join!(proxy.answer(&request), asked.answer(&answer));
        assert_eq!((reply.status, &*reply.body), (status, body), "{reply:?}");
        assert_ne!(reply.header(field), "", "{reply:?}");
        assert_eq!((reply.header("keep-alive"), reply.header("transfer-encoding")), ("", ""), "{reply:?}");
        // The next question would come on this connection.
        asking.shut_down().await;
        asking.drain().await;
    }
    let lines = proxy.access_lines(4).await;
    assert!(lines.iter().all(|line| line["outcome"] == "not_authorized"), "{lines:?}");
    proxy.until("tidegate_authorizations_total", &[("route", "main"), ("outcome", "refused")], 4).await;
}

#[tokio::test]
async fn without_an_answer_nobody_comes_in_and_nothing_secret_is_told() {
    let backend = Backend::bind().await;
    let asked = Asked::bind().await;
    let silent = config(&backend, &asked.url(), ", timeout = \"50ms\"", "");
    let gone = config(&backend, &format!("http://{}/", refused_address()), "", "");
    for text in [silent, gone] {
        let proxy = Proxy::start(&text).await;
        let reply = proxy.answer(&Request::upgrade("/").with("Authorization", "Bearer hidden")).await;
        assert_eq!(reply.status, 503, "{reply:?}");
        let line = proxy.access_line().await;
        assert_eq!(line["outcome"], "authorization_failed", "{line}");
        assert!(line["reason"].as_str().unwrap().starts_with("authorize: "), "{line}");
        assert!(
            !line.to_string().contains("hidden") && proxy.log().iter().all(|it| !it.to_string().contains("hidden"))
        );
        proxy.until("tidegate_authorizations_total", &[("route", "main"), ("outcome", "failed")], 1).await;
    }
}

#[tokio::test]
async fn the_same_question_is_asked_once_while_its_answer_is_remembered() {
    let (backend, asked) = (Backend::bind().await, Asked::bind().await);
    let text = config(&backend, &asked.url(), ", cache = \"1h\"", "");
    let asked = asked.admit_all();
    let proxy = Proxy::with_workers(2, &text).await;
    let with = |cookie: &str| Request::upgrade("/").with("Cookie", cookie);
    for (request, questions) in [
        (with("a=1"), 1),
        (with("a=1"), 1),
        (with("a=1").with("X-Other", "1"), 1),
        (with("a=2"), 2),
        (Request::upgrade("/other").with("Cookie", "a=1"), 3),
        (with("a=1").replacing("Host", "other.test"), 4),
        (with("a=1").with("Authorization", "x"), 5),
        (with("a=1"), 5),
    ] {
        let accepting = async {
            let (mut upstream, head) = backend.request().await;
            upstream.accept(&head, &[]).await;
            head
        };
        let ((_, reply), head) = tokio::join!(Peer::handshake(proxy.address, &request), accepting);
        assert_eq!((reply.status, head.joined("x-user")), (101, "alice".to_owned()));
        assert_eq!(asked.load(Ordering::SeqCst), questions, "{request:?}");
    }
    proxy.until("tidegate_authorizations_total", &[("route", "main"), ("outcome", "cached")], 3).await;
}

#[tokio::test]
async fn so_many_questions_are_under_way_and_one_that_nobody_waits_for_is_given_up() {
    let (backend, asked) = (Backend::bind().await, Asked::bind().await);
    let proxy = Proxy::start(&config(&backend, &asked.url(), ", max_pending = 1, timeout = \"1m\"", "")).await;
    let mut waiting = Peer::connect(proxy.address).await;
    waiting.write(Request::upgrade("/").encode()).await;
    let mut asking = asked.connection().await;
    asking.read_request().await;
    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    proxy.until("tidegate_authorizations_total", &[("route", "main"), ("outcome", "pending")], 1).await;
    // Who was waiting leaves, and so does its question.
    drop(waiting);
    asking.drain().await;
    let request = Request::upgrade("/");
    let client = Peer::handshake(proxy.address, &request);
    let ((_, reply), ..) = tokio::join!(client, asked.answer(ADMITTED), backend.accept());
    assert_eq!(reply.status, 101, "{reply:?}");
}

#[tokio::test]
async fn components_see_what_was_told_of_the_client() {
    let (backend, asked) = (Backend::bind().await, Asked::bind().await);
    let rest =
        "filters = [{ component = \"access\", config = { allow = [{ header = \"x-user\", values = [\"alice\"] }] } }]";
    let text = config(&backend, &asked.url(), "", rest);
    let proxy = Proxy::start(&text).await;
    let request = Request::upgrade("/").with("X-User", "root");
    let client = Peer::handshake(proxy.address, &request);
    let ((_, reply), ..) = tokio::join!(client, asked.answer(ADMITTED), backend.accept());
    assert_eq!(reply.status, 101, "{reply:?}");
}

#[tokio::test]
async fn it_is_asked_over_tls_if_its_certificate_comes_from_whom_the_route_believes() {
    let (authority, backend, asked) = (Authority::new(), Backend::bind().await, Asked::bind().await);
    let issued = authority.issue("auth", &["localhost"]);
    let url = format!("https://localhost:{}/verify", asked.listener.local_addr().unwrap().port());
    let proxy = Proxy::start(&config(&backend, &url, &format!(", ca = {:?}", authority.file()), "")).await;
    let request = Request::upgrade("/");
    let client = Peer::handshake(proxy.address, &request);
    let answering = async {
        let stream = asked.connection().await.into_stream();
        let secured = within("a TLS handshake", issued.acceptor().accept(stream)).await.unwrap();
        let mut peer = Peer::secured(secured.into(), Role::Upstream);
        peer.read_request().await;
        peer.write(ADMITTED).await;
        peer
    };
    let ((_, reply), ..) = tokio::join!(client, answering, backend.accept());
    assert_eq!(reply.status, 101, "{reply:?}");
    let stranger = Authority::new();
    let proxy = Proxy::start(&config(&backend, &url, &format!(", ca = {:?}", stranger.file()), "")).await;
    let acceptor = issued.acceptor();
    let refusing =
        async { within("a TLS handshake", acceptor.accept(asked.connection().await.into_stream())).await.is_err() };
    let (reply, refused) = tokio::join!(proxy.answer(&request), refusing);
    assert!(refused && reply.status == 503, "{reply:?}");
}

#[tokio::test]
async fn a_yes_is_one_whatever_comes_with_it_and_what_is_neither_lets_nobody_in() {
    let (backend, asked) = (Backend::bind().await, Asked::bind().await);
    let text = config(&backend, &asked.url(), "", "");
    let page = format!("X-User: alice\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    let request = Request::upgrade("/");
    let accepting = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[]).await;
        head
    };
    let proxy = Proxy::start(&text).await;
    let yes = format!("HTTP/1.1 200 OK\r\n{page}");
    let ((_client, reply), _asking, head) =
        tokio::join!(Peer::handshake(proxy.address, &request), asked.answer_while_open(&yes), accepting);
    assert_eq!((reply.status, head.joined("x-user")), (101, "alice".to_owned()), "{reply:?}");
    let no = format!("HTTP/1.1 403 Forbidden\r\n{page}");
    let neither = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    for answer in [&no, neither] {
        // One that keeps no connection of the last question.
        let proxy = Proxy::start(&text).await;
        let (reply, _asking) = tokio::join!(proxy.answer(&request), asked.answer_while_open(answer));
        assert_eq!(reply.status, 503, "{reply:?}");
    }
}
