//! Routes that answer by themselves: the same for whatever is asked, or the way to another place.

use serde_json::json;
use tidegate_tests::{Backend, Http2, Peer, Proxy, Reply, Request, Signer, key_set, websocket};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A route of this name; `rest` goes on describing it.
fn route(name: &str, rest: &str) -> String {
    format!("[[routes]]\nname = {name:?}\n{rest}\n")
}

/// All that is said in answer to these bytes, on a connection of their own.
async fn said(proxy: &Proxy, bytes: &str) -> String {
    let mut stream = Peer::connect(proxy.address).await.into_stream();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).await.unwrap();
    said
}

/// What nobody can be misled by: the status, and where to.
fn told(reply: &Reply) -> (u16, &str) {
    (reply.status, reply.header("location"))
}

#[tokio::test]
async fn a_route_answers_whatever_is_asked_and_needs_no_upstream() {
    let health = route(
        "health",
        "path = \"/healthz\"\nanswer = { body = \"ok\\n\", headers = { cache-control = \"no-store\", x-a = [\"1\", \"2\"] } }",
    );
    let gone = route("gone", "path_prefix = \"/old\"\nanswer = { status = 410 }");
    let proxy = Proxy::start(&(health + &gone)).await;
    let mut client = Peer::connect(proxy.address).await;
    for request in [
        Request::new("GET", "/healthz"),
        Request::new("POST", "/healthz").with("Content-Length", "0"),
        Request::new("DELETE", "/healthz?why"),
        Request::new("BREW", "/healthz"),
        Request::upgrade("/healthz"),
        Request::upgrade("/healthz").without("Sec-WebSocket-Key"),
    ] {
        let reply = client.exchange(&request).await;
        assert_eq!((reply.status, &*reply.body), (200, "ok\n"), "{reply:?}");
        assert_eq!(reply.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!((reply.header("cache-control"), reply.head.joined("x-a")), ("no-store", "1, 2".to_owned()));
        assert_eq!((reply.header("upgrade"), reply.header("connection")), ("", ""), "{reply:?}");
    }
    let reply = client.exchange(&Request::upgrade("/old/chat")).await;
    assert_eq!((reply.status, &*reply.body, reply.header("content-length")), (410, "", "0"), "{reply:?}");
    assert_eq!(client.exchange(&Request::new("GET", "/else")).await.status, 404);

    let lines = proxy.access_lines(8).await;
    let line = |line: &serde_json::Value| (line["route"].clone(), line["outcome"].clone(), line["status"].clone());
    assert_eq!(line(&lines[0]), ("health".into(), "answered".into(), 200.into()));
    assert_eq!(line(&lines[6]), ("gone".into(), "answered".into(), 410.into()));
    assert!(lines.iter().all(|line| line.get("upstream").is_none()), "{lines:?}");
    proxy.until("tidegate_handshakes_total", &[("route", "health"), ("outcome", "answered")], 6).await;
    let routes: serde_json::Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/routes").await.body).unwrap();
    assert!(routes.to_string().contains("\"answers\":410"), "{routes}");
}

#[tokio::test]
async fn there_is_nothing_behind_the_head_of_an_answer_to_head() {
    let proxy = Proxy::start(&route("all", "answer = { body = \"twelve bytes\" }")).await;
    let said = said(&proxy, "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 200 OK\r\n") && said.ends_with("\r\n\r\n"), "{said}");
    assert!(said.to_lowercase().contains("\r\ncontent-length: 12\r\n"), "{said}");
}

#[tokio::test]
async fn a_body_that_nobody_asked_for_does_not_become_the_next_request() {
    let proxy = Proxy::start(&route("all", "answer = { body = \"once\" }")).await;
    let inner = "GET /inner HTTP/1.1\r\nHost: a\r\n\r\n";
    let outer = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{inner}GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        inner.len()
    );
    let said = said(&proxy, &outer).await;
    assert!((1..=2).contains(&said.matches("HTTP/1.1 ").count()), "{said}");
    let lines = proxy.access_lines(1).await;
    assert!(lines.iter().all(|line| line["path"] == "/"), "{lines:?}");
}

#[tokio::test]
async fn no_answer_opens_a_tunnel() {
    let proxy = Proxy::start(&route("all", "answer = { body = \"ok\" }")).await;
    let said =
        said(&proxy, "CONNECT proxy.test:443 HTTP/1.1\r\nHost: proxy.test:443\r\nConnection: close\r\n\r\n").await;
    assert!(said.starts_with("HTTP/1.1 4"), "{said}");
}

#[tokio::test]
async fn over_http2_no_success_accepts_a_handshake_that_nobody_has_accepted() {
    let upstream = Backend::bind().await.always_answer("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi");
    let config = [
        tidegate_tests::config::route(&[&upstream], ""),
        route("own", "path = \"/own\"\nanswer = { body = \"ok\" }"),
        route("moved", "path = \"/moved\"\nredirect = { to = \"https://{host}/new\" }"),
        "[[listeners]]\nlisten = \"127.0.0.1:0\"\nhttp2 = \"prior-knowledge\"\n".to_owned(),
    ];
    let proxy = Proxy::start(&config.concat()).await;
    let mut client = Http2::connect(proxy.address).await;
    for (path, status, location) in
        [("/", 502, None), ("/own", 400, None), ("/moved", 308, Some("https://proxy.test/new"))]
    {
        let (answer, ..) = client.stream(websocket(path)).await;
        let told = answer.headers().get("location").map(|location| location.to_str().unwrap());
        assert_eq!((answer.status().as_u16(), told), (status, location), "{answer:?}");
        assert!(answer.headers().contains_key("x-request-id") && answer.headers().contains_key("content-length"));
    }
    let request = http::Request::builder().uri("http://proxy.test/own").body(()).unwrap();
    let answer = client.ask(request).await;
    assert_eq!((answer.status().as_u16(), &answer.body()[..]), (200, &b"ok"[..]));
}

#[tokio::test]
async fn a_file_is_answered_as_what_its_name_says_and_as_it_is_now() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("closed.html");
    std::fs::write(&file, "<p>closed</p>").unwrap();
    let answer =
        format!("path = \"/\"\nanswer = {{ status = 503, file = {file:?}, headers = {{ retry-after = \"60\" }} }}");
    let proxy = Proxy::start(&route("closed", &answer)).await;
    let reply = proxy.answer(&Request::upgrade("/")).await;
    assert_eq!((reply.status, &*reply.body), (503, "<p>closed</p>"), "{reply:?}");
    assert_eq!((reply.header("content-type"), reply.header("retry-after")), ("text/html; charset=utf-8", "60"));

    // In one step, so that nobody reads a part of it.
    let place = |bytes: &[u8]| {
        let draft = folder.path().join("draft");
        std::fs::write(&draft, bytes).unwrap();
        std::fs::rename(draft, &file).unwrap();
    };
    place(b"<p>soon</p>");
    proxy.until("tidegate_reloads_total", &[("outcome", "applied")], 1).await;
    assert_eq!(proxy.answer(&Request::new("GET", "/")).await.body, "<p>soon</p>");
    // What is too large is not read, and what was in force stays.
    place(&vec![b'x'; (1 << 20) + 1]);
    proxy.until("tidegate_reloads_total", &[("outcome", "rejected")], 1).await;
    assert_eq!(proxy.answer(&Request::new("GET", "/")).await.body, "<p>soon</p>");
}

#[tokio::test]
async fn a_redirect_is_made_of_the_request() {
    let moved = route("moved", "path_prefix = \"/old\"\nredirect = { to = \"https://{host}/new{rest}?{query}\" }");
    let www =
        route("www", "hosts = [\"a.example\"]\nredirect = { to = \"https://www.{host}{path}?{query}\", status = 301 }");
    let proxy = Proxy::start(&(moved + &www)).await;
    let mut client = Peer::connect(proxy.address).await;
    for (request, expected) in [
        (Request::new("GET", "/old/a?b=c"), (308, "https://proxy.test/new/a?b=c")),
        (Request::new("POST", "/old").with("Content-Length", "0"), (308, "https://proxy.test/new")),
        (Request::upgrade("/old/"), (308, "https://proxy.test/new/")),
        (Request::new("GET", "/a%20b").replacing("Host", "A.example:8080"), (301, "https://www.a.example/a%20b")),
    ] {
        let reply = client.exchange(&request).await;
        assert_eq!(told(&reply), expected, "{reply:?}");
    }
    let line = &proxy.access_lines(1).await[0];
    assert_eq!((&line["outcome"], &line["route"]), (&json!("redirected"), &json!("moved")), "{line}");
}

#[tokio::test]
async fn no_client_bends_a_redirect() {
    let here = route("here", "path_prefix = \"/here\"\nredirect = { to = \"/{rest}\" }");
    let there = route("there", "redirect = { to = \"https://there.example{path}?{query}\", status = 302 }");
    let proxy = Proxy::start(&(here + &there)).await;
    let mut client = Peer::connect(proxy.address).await;
    for (target, location) in [
        ("/here//evil.example", "/evil.example"),
        ("/here/\\evil.example", "/%5Cevil.example"),
        ("/here/%5cevil.example", "/%5cevil.example"),
        ("/here/%2fevil.example", "/%2fevil.example"),
        ("//evil.example/", "https://there.example//evil.example/"),
        ("/@evil.example", "https://there.example/@evil.example"),
        ("http://evil.example/a", "https://there.example/a"),
        ("/a?b%0d%0aset-cookie:%20c=d", "https://there.example/a?b%0d%0aset-cookie:%20c=d"),
        ("/a?{b}|\\c^'", "https://there.example/a?%7Bb%7D%7C%5Cc%5E'"),
    ] {
        let reply = client.exchange(&Request::new("GET", target)).await;
        assert_eq!(reply.header("location"), location, "{target}: {reply:?}");
        assert_eq!(reply.header("set-cookie"), "", "{target}");
    }
    // A control character that is encoded in a path is refused before anything else.
    assert_eq!(proxy.answer(&Request::new("GET", "/a%0d%0aset-cookie:%20c=d")).await.status, 400);
}

#[tokio::test]
async fn the_gates_of_a_route_come_before_its_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (signer, keys) = (Signer::new("one"), folder.path().join("keys.json"));
    std::fs::write(&keys, key_set(&[&signer])).unwrap();
    let tokens = format!("[tokens.users]\nissuer = \"tests\"\naudience = \"chat\"\njwks = {keys:?}\n");
    let config = [
        tokens,
        route("network", "path = \"/network\"\ndeny = [\"127.0.0.0/8\"]\nanswer = { body = \"no\" }"),
        route("origin", "path = \"/origin\"\nallowed_origins = [\"https://a.example\"]\nanswer = { body = \"yes\" }"),
        route(
            "token",
            "path = \"/token\"\ntoken = { name = \"users\", from = [\"query:token\"] }\n\
             redirect = { to = \"https://{host}{path}?{query}\" }",
        ),
        route("slow", "path = \"/slow\"\nhandshakes_per_second = 1\nanswer = { body = \"yes\" }"),
    ];
    let proxy = Proxy::start(&config.concat()).await;
    assert_eq!(proxy.answer(&Request::new("GET", "/network")).await.status, 403);
    let from = |origin: &str| Request::new("GET", "/origin").with("Origin", origin);
    assert_eq!(proxy.answer(&from("https://evil.example")).await.status, 403);
    assert_eq!(proxy.answer(&from("https://a.example")).await.body, "yes");
    assert_eq!(proxy.answer(&Request::new("GET", "/token?a=1")).await.status, 401);
    // Nobody but the proxy has a use for the token.
    let target = format!("/token?a=1&token={}&b", signer.token(&json!({})));
    let reply = proxy.answer(&Request::new("GET", &target)).await;
    assert_eq!(told(&reply), (308, "https://proxy.test/token?a=1&b"), "{reply:?}");
    let mut client = Peer::connect(proxy.address).await;
    client.write(Request::new("GET", "/slow").encode().repeat(30)).await;
    let mut statuses = Vec::new();
    for _ in 0..30 {
        statuses.push(client.read_reply().await.status);
    }
    assert_eq!(statuses[0], 200);
    assert!(statuses.contains(&429), "{statuses:?}");
}
