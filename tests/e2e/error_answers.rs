//! What the proxy says when it does not serve a request: plain text, JSON for who wants it, or a page of the operator's.

use std::path::Path;

use serde_json::{Value, json};
use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Proxy, Request, refused_address};

fn wanting_json(request: Request) -> Request {
    request.with("Accept", "application/json")
}

/// Puts a file in its place in one step.
fn place(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join("draft"), text).unwrap();
    std::fs::rename(folder.join("draft"), folder.join(name)).unwrap();
}

#[tokio::test]
async fn a_client_gets_plain_text_or_the_json_that_it_asks_for() {
    let limited = "path_prefix = \"/ws\"\nhandshakes_per_second = 1\n";
    let proxy = Proxy::start(&route(&[&refused_address()], limited)).await;
    for (request, status, title) in [
        (Request::new("GET", "/else"), 404, "Not Found"),
        (Request::new("GET", "/ws"), 426, "Upgrade Required"),
        (Request::new("POST", "/ws"), 405, "Method Not Allowed"),
        (Request::upgrade("/ws"), 502, "Bad Gateway"),
    ] {
        let reply = proxy.answer(&request.clone().with("Accept", "text/html, */*;q=0.1")).await;
        assert_eq!((reply.status, reply.header("content-type")), (status, "text/plain; charset=utf-8"), "{reply:?}");
        let text = reply.body.trim_end().to_owned();
        // The next place on the route comes within a second.
        let mut reply = proxy.answer(&wanting_json(request.clone())).await;
        while reply.status == 429 {
            let problem: Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!((&problem["status"], reply.header("retry-after")), (&json!(429), "1"), "{reply:?}");
            reply = proxy.answer(&wanting_json(request.clone())).await;
        }
        assert_eq!((reply.status, reply.header("content-type")), (status, "application/problem+json"), "{reply:?}");
        let id = reply.header("x-request-id");
        let problem: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(problem, json!({ "title": title, "status": status, "detail": text, "request_id": id }));
        assert_eq!(reply.header("vary"), "accept");
    }
}

#[tokio::test]
async fn a_page_of_the_operators_takes_the_place_of_what_the_proxy_says() {
    let folder = tempfile::tempdir().unwrap();
    place(folder.path(), "busy.html", "<p>busy</p>");
    let filter = "filters = [{ component = \"script\", config = { refuse = 502 } }]";
    let theirs = Backend::bind().await;
    let address = theirs.address();
    theirs.always_answer("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\ntheirs");
    let config = [
        format!("[errors]\n502 = {:?}\n426 = {0:?}\n", folder.path().join("busy.html")),
        route(&[&refused_address()], "response_headers = { set = { retry-after = \"9\" } }"),
        format!("[[routes]]\nname = \"refused\"\npath = \"/refused\"\nupstream = \"back\"\n{filter}\n"),
        "[[routes]]\nname = \"relayed\"\npath = \"/relayed\"\nupstream = \"theirs\"\n".to_owned(),
        "[[routes]]\nname = \"own\"\npath = \"/own\"\nanswer = { status = 502, body = \"own\" }\n".to_owned(),
        format!("[upstreams.theirs]\nretries = 0\nendpoints = [{{ url = \"ws://{address}\" }}]\n"),
        guest("script"),
    ];
    let proxy = Proxy::start(&config.concat()).await;
    let reply = proxy.answer(&wanting_json(Request::upgrade("/"))).await;
    assert_eq!((reply.status, &*reply.body), (502, "<p>busy</p>"), "{reply:?}");
    assert_eq!((reply.header("content-type"), reply.header("retry-after")), ("text/html; charset=utf-8", "9"));
    assert_ne!(reply.header("x-request-id"), "");
    // What belongs to the status stays.
    let reply = proxy.answer(&Request::new("GET", "/")).await;
    assert_eq!((reply.status, &*reply.body, reply.header("upgrade")), (426, "<p>busy</p>", "websocket"), "{reply:?}");
    // What others say is theirs.
    for (path, body) in [("/refused", "not today"), ("/relayed", "theirs"), ("/own", "own")] {
        let reply = proxy.answer(&Request::upgrade(path)).await;
        assert_eq!((reply.status, &*reply.body), (502, body), "{reply:?}");
    }

    place(folder.path(), "busy.html", "<p>soon</p>");
    proxy.until("tidegate_reloads_total", &[("outcome", "applied")], 1).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.body, "<p>soon</p>");
    std::fs::remove_file(folder.path().join("busy.html")).unwrap();
    proxy.until("tidegate_reloads_total", &[("outcome", "rejected")], 1).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.body, "<p>soon</p>");
}

#[tokio::test]
async fn a_head_of_a_megabyte_is_answered_like_any_other() {
    let listener = "[[listeners]]\nlisten = \"127.0.0.1:0\"\nmax_header_bytes = \"1MiB\"\nmax_header_fields = 1000\n";
    let rules = "response_headers = { set = { x-of = \"{host}\" } }\nrequest_headers = { remove = [\"x-0\"] }";
    let proxy = Proxy::start(&(route(&[&refused_address()], rules) + listener)).await;
    let fields = (0..900).fold(Request::upgrade("/"), |request, index| {
        request.with(&format!("X-{index}"), &"v".repeat(1000)).with("Accept", "application/json")
    });
    let fields = fields.without("Accept").with("Accept", &"application/json,".repeat(1000));
    let reply = proxy.answer(&fields).await;
    assert_eq!((reply.status, reply.header("content-type")), (502, "application/problem+json"), "{reply:?}");
    assert_eq!(reply.header("x-of"), "proxy.test");
}
