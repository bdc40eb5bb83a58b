//! An application without WebSockets, which is told of them over HTTP: what it hears, in which order, and what it may say.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use tidegate_tests::{Frame, Head, Peer, Proxy, Reply, Request, Signal, refused_address, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// `sha256sum` of `hello`, of `test` and of `app`.
const TOKENS: &str = "tokens = [
    { name = \"ann\", sha256 = \"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824\", role = \"operator\" },
    { name = \"app\", sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\", role = \"messages\", routes = [\"main\"] },
]";

/// An event that came, and the way to answer it.
struct Told {
    head: Head,
    body: String,
    stream: TcpStream,
    under_way: Arc<AtomicUsize>,
    events: mpsc::UnboundedSender<Told>,
}

impl Told {
    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// What is told, without what differs from one run to the next.
    fn said(&self) -> Value {
        let event = self.event();
        let kept = ["event", "sequence", "text", "base64", "code", "reason", "initiator"];
        kept.iter()
            .filter_map(|name| Some(((*name).to_owned(), event.get(*name)?.clone())))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    /// Answers, and hears what comes next over the same connection.
    async fn answer(mut self, status: &str, headers: &str, body: &str) {
        let length = body.len();
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        let answer = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        self.stream.write_all(answer.as_bytes()).await.unwrap();
        tokio::spawn(hear(self.stream, self.under_way, self.events));
    }

    /// Ends the connection without an answer.
    fn break_off(self) {
        self.under_way.fetch_sub(1, Ordering::SeqCst);
    }

    async fn no_content(self) {
        self.answer("204 No Content", "", "").await;
    }

    async fn json(self, said: &Value) {
        self.answer("200 OK", "Content-Type: application/json\r\n", &said.to_string()).await;
    }
}

/// Hears one event, if one comes.
async fn hear(mut stream: TcpStream, under_way: Arc<AtomicUsize>, events: mpsc::UnboundedSender<Told>) {
    let mut buffer = Vec::new();
    let mut head: Option<Head> = None;
    loop {
        if head.is_none() {
            head = Head::decode(&mut buffer);
        }
        if let Some(known) = &head {
            let length = known.header("content-length").map_or(0, |length| length.parse().unwrap());
            if buffer.len() >= length {
                break;
            }
        }
        if !stream.read_buf(&mut buffer).await.is_ok_and(|count| count > 0) {
            return;
        }
    }
    let Some(head) = head else { return };
    under_way.fetch_add(1, Ordering::SeqCst);
    let body = String::from_utf8_lossy(&buffer).into_owned();
    // A test that is over hears no more.
    let _ = events.clone().send(Told { head, body, stream, under_way, events });
}

/// An application of a test.
struct App {
    address: String,
    told: mpsc::UnboundedReceiver<Told>,
    under_way: Arc<AtomicUsize>,
}

impl App {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (events, told) = mpsc::unbounded_channel();
        let (address, under_way) = (listener.local_addr().unwrap().to_string(), Arc::<AtomicUsize>::default());
        let count = under_way.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(hear(stream, count.clone(), events.clone()));
            }
        });
        Self { address, told, under_way }
    }

    async fn told(&mut self) -> Told {
        within("an event", self.told.recv()).await.unwrap()
    }

    /// The next event is this one; it is answered without a word.
    async fn hears(&mut self, expected: Value) {
        let told = self.told().await;
        assert_eq!(told.said(), expected);
        told.no_content().await;
    }

    fn config(&self, bridge: &str, rest: &str) -> String {
        config(&self.address, bridge, rest)
    }
}

fn config(address: &str, bridge: &str, rest: &str) -> String {
    format!(
        "watch = false\n[admin]\nlisten = \"127.0.0.1:0\"\nmetrics = \"public\"\n{TOKENS}\n[[routes]]\nname = \"main\"\n\
         bridge = {{ to = \"http\", url = \"http://{address}/events\"{bridge} }}\n{rest}\n"
    )
}

async fn handshake(proxy: &Proxy, request: Request) -> (Peer, Reply) {
    Peer::handshake(proxy.address, &request).await
}

/// Opens a connection that the application has agreed to, and gives its id.
async fn open(proxy: &Proxy, app: &mut App) -> (Peer, String) {
    let opening = handshake(proxy, Request::upgrade("/ws?room=1"));
    let agreeing = async {
        let told = app.told().await;
        let id = told.event()["connection"].as_str().unwrap().to_owned();
        assert_eq!(told.said(), json!({ "event": "open", "sequence": 0 }));
        told.no_content().await;
        id
    };
    let ((client, reply), id) = tokio::join!(opening, agreeing);
    assert_eq!(reply.status, 101, "{reply:?}");
    (client, id)
}

async fn push(proxy: &Proxy, token: &str, id: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = Request::new("POST", &format!("/api/v1/connections/{id}/messages"))
        .replacing("Host", &proxy.admin.to_string())
        .with("Authorization", &format!("Bearer {token}"))
        .with("Content-Length", &body.len().to_string());
    for (name, value) in headers {
        request = request.with(name, value);
    }
    let mut peer = Peer::connect(proxy.admin).await;
    peer.write(format!("{}{body}", request.encode())).await;
    peer.read_reply().await
}

#[tokio::test]
async fn an_application_hears_of_the_handshake_of_each_message_and_of_the_end_and_its_answers_go_to_the_client() {
    let mut app = App::start().await;
    let proxy = Proxy::start(&app.config("", "")).await;
    let opening =
        handshake(&proxy, Request::upgrade("/ws?room=1").with("Sec-WebSocket-Protocol", "a, b").with("Cookie", "s=1"));
    let agreeing = async {
        let told = app.told().await;
        assert_eq!(
            (told.head.line.as_str(), told.head.header("content-type")),
            ("POST /events HTTP/1.1", Some("application/json"))
        );
        let event = told.event();
        for (name, expected) in [
            ("event", json!("open")),
            ("route", json!("main")),
            ("client", json!("127.0.0.1")),
            ("scheme", json!("ws")),
            ("path", json!("/ws")),
            ("query", json!("room=1")),
            ("protocols", json!(["a", "b"])),
        ] {
            assert_eq!(event[name], expected, "{event}");
        }
        assert_eq!(event["headers"]["cookie"], json!(["s=1"]));
        told.json(&json!({ "protocol": "b", "messages": [{ "text": "welcome" }] })).await;
    };
    let ((mut client, reply), ()) = tokio::join!(opening, agreeing);
    assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (101, "b"), "{reply:?}");
    client.expect(Frame::text("welcome")).await;

    client.send(Frame::text("hello")).await;
    let told = app.told().await;
    assert_eq!(told.said(), json!({ "event": "message", "sequence": 1, "text": "hello" }));
    told.json(&json!({ "messages": [{ "text": "one" }, { "base64": "AP8=" }] })).await;
    client.expect(Frame::text("one")).await;
    client.expect(Frame::binary([0, 255])).await;
    client.send(Frame::binary([1, 2])).await;
    let told = app.told().await;
    assert_eq!(told.said(), json!({ "event": "message", "sequence": 2, "base64": "AQI=" }));
    // Anything that is not JSON is a message as it is.
    told.answer("200 OK", "Content-Type: text/plain\r\n", "three").await;
    client.expect(Frame::text("three")).await;

    client.send(Frame::close(4001, "bye")).await;
    assert_eq!(client.expect_close(4001).await, "bye");
    app.hears(json!({ "event": "close", "sequence": 3, "code": 4001, "reason": "bye", "initiator": "client" })).await;
    let metrics = proxy.metrics().await;
    for (event, count) in [("open", 1), ("message", 2), ("close", 1)] {
        let labels = [("event", event), ("outcome", "answered")];
        assert_eq!(metrics.count("tidegate_application_events_total", &labels), count, "{event}");
    }
}

#[tokio::test]
async fn raw_events_have_the_message_as_their_body_and_the_rest_in_fields() {
    let mut app = App::start().await;
    let proxy = Proxy::start(&app.config(", body = \"raw\", headers = [\"cookie\"]", "")).await;
    // What a client says in our fields reaches nobody.
    let request = Request::upgrade("/ws?room=1").with("Cookie", "s=1").with("X-Tidegate-Connection", "forged");
    let opening = handshake(&proxy, request);
    let agreeing = async {
        let told = app.told().await;
        let field = |name: &str| told.head.header(name).map(str::to_owned);
        assert_eq!((field("x-tidegate-event").as_deref(), told.body.as_str()), (Some("open"), ""));
        assert_eq!(field("x-forwarded-uri").as_deref(), Some("/ws?room=1"));
        let id = field("x-tidegate-connection").unwrap();
        assert_ne!(id, "forged");
        told.no_content().await;
        id
    };
    let ((mut client, reply), id) = tokio::join!(opening, agreeing);
    assert_eq!(reply.status, 101, "{reply:?}");
    client.send(Frame::text("hello")).await;
    let told = app.told().await;
    let field = |name: &str| told.head.header(name).unwrap_or_default().to_owned();
    assert_eq!(
        (field("x-tidegate-event"), field("x-tidegate-sequence"), field("x-tidegate-connection")),
        ("message".to_owned(), "1".to_owned(), id)
    );
    assert_eq!((field("cookie").as_str(), told.body.as_str()), ("s=1", "hello"));
    told.answer("200 OK", "Content-Type: application/octet-stream\r\nX-Tidegate-Close: 4002 enough\r\n", "last").await;
    client.expect(Frame::binary(b"last")).await;
    assert_eq!(client.expect_close(4002).await, "enough");
    client.send(Frame::close(4002, "enough")).await;
    let told = app.told().await;
    let field = |name: &str| told.head.header(name).unwrap_or_default().to_owned();
    let end = [
        field("x-tidegate-event"),
        field("x-tidegate-code"),
        field("x-tidegate-reason"),
        field("x-tidegate-initiator"),
    ];
    assert_eq!(end, ["close", "4002", "enough", "application"]);
    told.no_content().await;
}

#[tokio::test]
async fn a_handshake_is_refused_in_the_words_of_the_application_or_with_502_where_there_is_none() {
    let mut app = App::start().await;
    let proxy = Proxy::start(&app.config("", "")).await;
    let opening = handshake(&proxy, Request::upgrade("/"));
    let refusing = async { app.told().await.answer("403 Forbidden", "X-Why: no\r\n", "not you").await };
    let ((_, reply), ()) = tokio::join!(opening, refusing);
    assert_eq!((reply.status, reply.body.as_str(), reply.header("x-why")), (403, "not you", "no"), "{reply:?}");
    // A protocol that nobody has offered: the application has agreed, and hears of the end.
    let opening = handshake(&proxy, Request::upgrade("/"));
    let agreeing = async { app.told().await.json(&json!({ "protocol": "c" })).await };
    let ((_, reply), ()) = tokio::join!(opening, agreeing);
    assert_eq!(reply.status, 502, "{reply:?}");
    let told = app.told().await;
    assert_eq!((told.event()["event"].clone(), told.event()["code"].clone()), (json!("close"), json!(1006)));

    let proxy = Proxy::start(&config(&refused_address(), "", "")).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 502);
    // Plain requests have nothing to do with it.
    assert_eq!(proxy.answer(&Request::new("GET", "/")).await.status, 426);
}

#[tokio::test]
async fn events_of_a_connection_come_one_after_the_other_and_a_client_that_says_more_is_not_read() {
    const MESSAGES: usize = 300;
    let mut app = App::start().await;
    let proxy = Proxy::start(&app.config(", queue = 4", "")).await;
    let (mut client, _) = open(&proxy, &mut app).await;
    let text = "x".repeat(32 << 10);
    let sent = client
        .write_until_stuck(
            &Frame::text(&text).encode(Some([1, 2, 3, 4])).repeat(MESSAGES),
            std::time::Duration::from_millis(300),
        )
        .await;
    assert!(sent < MESSAGES * text.len(), "all {sent} bytes were taken");
    for sequence in 1..20 {
        let told = app.told().await;
        assert_eq!(app.under_way.load(Ordering::SeqCst), 1);
        assert_eq!(told.event()["sequence"], json!(sequence));
        told.no_content().await;
    }
}

#[tokio::test]
async fn an_application_pushes_to_its_connections_and_to_no_others() {
    let mut app = App::start().await;
    let proxy = Proxy::start(&app.config(
        "",
        "[[routes]]\nname = \"other\"\npath = \"/other\"\nbridge = { to = \"http\", url = \"http://127.0.0.1:1/\" }",
    ))
    .await;
    let (mut client, id) = open(&proxy, &mut app).await;
    assert_eq!(push(&proxy, "test", &id, &[], "hello").await.status, 202);
    client.expect(Frame::text("hello")).await;
    let bytes = [("Content-Type", "application/octet-stream")];
    assert_eq!(push(&proxy, "hello", &id, &bytes, "hello").await.status, 202);
    client.expect(Frame::binary(b"hello")).await;
    assert_eq!(push(&proxy, "test", "nobody", &[], "hello").await.status, 404);
    assert_eq!(push(&proxy, "tset", &id, &[], "hello").await.status, 401);
    // Its token is good for nothing else.
    for (method, target) in [("GET", "/api/v1/connections"), ("POST", "/api/v1/reload")] {
        let request = Request::new(method, target).replacing("Host", &proxy.admin.to_string());
        let reply = tidegate_tests::request(proxy.admin, &request.with("Authorization", "Bearer test")).await;
        assert_eq!(reply.status, 403, "{method} {target}: {reply:?}");
    }
    // Behind the last message comes the end, and nothing behind that.
    assert_eq!(push(&proxy, "test", &id, &[("X-Tidegate-Close", "4003 over")], "last").await.status, 202);
    client.expect(Frame::text("last")).await;
    assert_eq!(client.expect_close(4003).await, "over");
    assert_eq!(push(&proxy, "test", &id, &[], "more").await.status, 404);
    client.send(Frame::close(4003, "over")).await;
    app.hears(json!({ "event": "close", "sequence": 1, "code": 4003, "reason": "over", "initiator": "application" }))
        .await;
}

#[tokio::test]
async fn a_message_that_the_application_does_not_take_closes_the_connection_and_is_not_told_again() {
    for (status, code) in [("500 Oops", 1011), ("400 No", 1008), ("413 Large", 1009), ("503 Later", 1013)] {
        let mut app = App::start().await;
        let proxy = Proxy::start(&app.config("", "")).await;
        let (mut client, _) = open(&proxy, &mut app).await;
        client.send_all(&[Frame::text("one"), Frame::text("two")]).await;
        let told = app.told().await;
        assert_eq!(told.event()["text"], json!("one"));
        told.answer(status, "", "").await;
        let reason = client.expect_close(code).await;
        assert!(reason.contains("the application answered"), "{reason}");
        client.send(Frame::close(code, "")).await;
        let told = app.told().await;
        assert_eq!(
            (told.event()["event"].clone(), told.event()["sequence"].clone()),
            (json!("close"), json!(2)),
            "{status}"
        );
        told.no_content().await;
    }
}

#[tokio::test]
async fn an_application_that_does_not_answer_in_time_or_breaks_off_loses_the_connection() {
    let mut app = App::start().await;
    let proxy = Proxy::start(&app.config(", timeout = \"300ms\"", "")).await;
    let (mut client, _) = open(&proxy, &mut app).await;
    client.send(Frame::text("one")).await;
    let silent = app.told().await;
    assert_eq!(client.expect_close(1014).await, "the application took too long");
    client.send(Frame::close(1014, "")).await;
    app.hears(json!({ "event": "close", "sequence": 2, "code": 1014, "reason": "the application took too long", "initiator": "application" })).await;
    drop(silent);

    let proxy = Proxy::start(&app.config("", "")).await;
    let (mut client, _) = open(&proxy, &mut app).await;
    client.send(Frame::text("one")).await;
    app.told().await.break_off();
    // Whether it was heard, nobody knows: it is not told again.
    client.expect_close(1014).await;
    client.send(Frame::close(1014, "")).await;
    let told = app.told().await;
    assert_eq!(told.event()["event"], json!("close"));
    told.no_content().await;
}

#[tokio::test]
async fn the_end_is_told_whoever_has_made_it() {
    let mut app = App::start().await;
    let mut proxy = Proxy::start(
        &app.config("", "[[routes]]\nname = \"x\"\npath = \"/x\"\nanswer = { status = 404 }\n")
            .replace("watch = false", "watch = false\ndrain_time = 0"),
    )
    .await;
    let (client, _) = open(&proxy, &mut app).await;
    client.reset();
    let told = app.told().await;
    let event = told.event();
    assert_eq!((event["code"].clone(), event["initiator"].clone()), (json!(1006), json!("client")), "{event}");
    told.no_content().await;

    let (mut client, _) = open(&proxy, &mut app).await;
    proxy.signal(Signal::TERM);
    let code = client.frame().await;
    client.send(Frame::close(code.close_code().unwrap(), "")).await;
    let told = app.told().await;
    let event = told.event();
    assert_eq!((event["event"].clone(), event["initiator"].clone()), (json!("close"), json!("proxy")), "{event}");
    told.no_content().await;
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn filters_see_messages_before_the_application_does() {
    let mut app = App::start().await;
    let guest = tidegate_tests::config::guest("counter");
    let proxy = Proxy::start(&app.config("", &format!("filters = [\"counter\"]\n{guest}"))).await;
    let (mut client, _) = open(&proxy, &mut app).await;
    client.send(Frame::text("hello")).await;
    let told = app.told().await;
    assert_eq!(told.event()["text"], json!("1:hello"));
    told.answer("200 OK", "", "there").await;
    client.expect(Frame::text("there")).await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let check = async |text: &str| {
        std::fs::write(directory.path().join("tidegate.toml"), text).unwrap();
        tidegate_tests::Finished::run(directory.path(), &["check", "--config", "tidegate.toml"]).await
    };
    let listener = "[[listeners]]\nlisten = \"127.0.0.1:0\"\n";
    let route = |keys: &str| format!("{listener}[[routes]]\nname = \"main\"\n{keys}\n");
    let finished = check(&route("bridge = { to = \"http\", url = \"http://h/e\" }")).await;
    assert_eq!(finished.code, Some(0), "{}", finished.text());
    for (keys, what) in [
        ("bridge = { to = \"http\" }", "`url` is missing"),
        ("bridge = { to = \"http\", url = \"ws://h/\" }", "nobody could be told anything there"),
        ("bridge = { to = \"http\", url = \"http://h/\", tls = {} }", "no TLS is spoken to an `http` url"),
        ("bridge = { to = \"http\", url = \"http://h/\", reply = \"next\" }", "unknown key"),
    ] {
        let finished = check(&route(keys)).await;
        assert!(finished.code != Some(0) && finished.text().contains(what), "{keys}: {}", finished.text());
    }
}
