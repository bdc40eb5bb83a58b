//! Header rules of routes: what an operator says of fields goes to the upstream and to clients, whoever else has a say.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Head, Peer, Proxy, Reply, Request, refused_address};

/// A filter that edits fields and attaches attributes.
fn filter(config: &str) -> String {
    let off = "from_client = \"off\", from_upstream = \"off\"";
    format!("filters = [{{ component = \"script\", config = {{ {off}, {config} }} }}]")
}

/// Opens a WebSocket that the back end answers with these fields; what it was asked, and what the client was answered.
async fn opened(proxy: &Proxy, backend: &Backend, request: &Request, headers: &[&str]) -> (Head, Reply) {
    let accepting = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, headers).await;
        head
    };
    let ((_client, reply), head) = tokio::join!(Peer::handshake(proxy.address, request), accepting);
    assert_eq!(reply.status, 101, "{reply:?}");
    (head, reply)
}

#[tokio::test]
async fn rules_come_after_filters_on_the_way_up_and_on_the_way_down() {
    let backend = Backend::bind().await;
    let rules = r#"
        request_headers = { set = { x-client = "{client.address}", x-of = "{host} {route}", x-mine = "rule" }, append = { x-list = "rule" }, remove = ["x-debug", "x-filter"] }
        response_headers = { set = { x-frame = "{route}/{connection}", server = "edge" }, append = { x-list = "rule" }, remove = ["x-internal"] }
    "#;
    let edits = r#"
        upstream_headers = [["set", "x-filter", "1"], ["set", "x-mine", "filter"], ["append", "x-list", "filter"]],
        client_headers = [["set", "x-internal", "filter"], ["append", "x-list", "filter"]]
    "#;
    let config =
        route(&[&backend.address()], &format!("{}\n{rules}\n{}", filter(&edits.replace('\n', " ")), guest("script")));
    let proxy = Proxy::start(&config).await;
    let request = Request::upgrade("/")
        .with("X-Debug", "1")
        .with("X_Debug", "1")
        .with("X-Mine", "client")
        .with("X-List", "client");
    let (head, reply) =
        opened(&proxy, &backend, &request, &["X-Internal: 1", "Server: app/1.2", "X-List: upstream"]).await;
    for (name, value) in [
        ("x-client", "127.0.0.1"),
        ("x-of", "proxy.test main"),
        ("x-mine", "rule"),
        ("x-list", "client, filter, rule"),
        ("x-debug", ""),
        ("x_debug", ""),
        ("x-filter", ""),
    ] {
        assert_eq!(head.joined(name), value, "{name}: {head:?}");
    }
    assert_eq!((reply.header("server"), reply.header("x-internal")), ("edge", ""), "{reply:?}");
    assert_eq!(reply.head.joined("x-list"), "upstream, filter, rule");
    let line = proxy.access_line().await;
    assert_eq!(reply.header("x-frame"), format!("main/{}", line["connection"].as_str().unwrap()));
}

#[tokio::test]
async fn every_answer_of_a_route_has_what_its_rules_say() {
    let rules =
        "response_headers = { set = { strict-transport-security = \"max-age=60\" }, remove = [\"content-type\"] }\n";
    let answering = Backend::bind().await;
    let other = answering.address();
    let upstream = answering.always_answer("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
    let config = [
        route(&[&refused_address()], rules),
        format!(
            "[[routes]]\nname = \"denied\"\npath = \"/denied\"\nupstream = \"back\"\ndeny = [\"127.0.0.1\"]\n{rules}"
        ),
        format!("[[routes]]\nname = \"own\"\npath = \"/own\"\nanswer = {{ status = 204 }}\n{rules}"),
        format!("[[routes]]\nname = \"moved\"\npath = \"/moved\"\nredirect = {{ to = \"/own\" }}\n{rules}"),
        format!(
            "[[routes]]\nname = \"refused\"\npath = \"/refused\"\nupstream = \"back\"\n{}\n{rules}",
            filter("refuse = 402")
        ),
        format!("[[routes]]\nname = \"relayed\"\npath = \"/relayed\"\nupstream = \"other\"\n{rules}"),
        format!("[upstreams.other]\nendpoints = [{{ url = \"ws://{other}\" }}]\n"),
        guest("script"),
    ];
    assert_eq!(upstream, other);
    let proxy = Proxy::start(&config.concat()).await;
    for (request, status) in [
        (Request::upgrade("/"), 502),
        (Request::new("GET", "/"), 426),
        (Request::upgrade("/denied"), 403),
        (Request::upgrade("/own"), 204),
        (Request::upgrade("/moved"), 308),
        (Request::upgrade("/refused"), 402),
        (Request::upgrade("/relayed"), 403),
    ] {
        let reply = proxy.answer(&request).await;
        assert_eq!((reply.status, reply.header("strict-transport-security")), (status, "max-age=60"), "{reply:?}");
        assert_eq!(reply.header("content-type"), "", "{reply:?}");
    }
}

#[tokio::test]
async fn an_attribute_that_no_field_can_hold_makes_none_and_nobody_elses_stays() {
    for (attribute, told) in [
        ("alice", "alice"),
        ("caf\\u00e9", "caf\u{e9}"),
        ("", ""),
        ("alice\\r\\nX-Admin: 1", ""),
        ("alice\\nX-Admin: 1", ""),
        ("alice\\u0000", ""),
        (" alice", ""),
        ("alice\\t", ""),
    ] {
        let backend = Backend::bind().await;
        let rules = "request_headers = { set = { x-user = \"{attribute.user}\" } }\n\
                     response_headers = { set = { x-user = \"{attribute.user}\" } }";
        let filter = filter(&format!("attributes = [[\"user\", \"bob\"], [\"user\", \"{attribute}\"]]"));
        let config = route(&[&backend.address()], &format!("{filter}\n{rules}\n{}", guest("script")));
        let proxy = Proxy::start(&config).await;
        let request = Request::upgrade("/").with("X-User", "root").with("X_User", "root");
        let (head, reply) = opened(&proxy, &backend, &request, &["X-User: upstream"]).await;
        assert_eq!(head.joined("x-user"), told, "{attribute}: {head:?}");
        assert_eq!(reply.head.joined("x-user"), told, "{attribute}: {reply:?}");
        for head in [&head, &reply.head] {
            assert_eq!((head.header("x-admin"), head.header("x_user")), (None, None), "{attribute}: {head:?}");
        }
    }
}

#[tokio::test]
async fn values_that_grow_beyond_all_bounds_make_no_field() {
    let backend = Backend::bind().await;
    let rules =
        format!("request_headers = {{ set = {{ x-long = \"{}\", x-short = \"yes\" }} }}", "{attribute.a}".repeat(16));
    let filter = filter(&format!("attributes = [[\"a\", \"{}\"]]", "x".repeat(60_000)));
    let config = route(&[&backend.address()], &format!("{filter}\n{rules}\n{}", guest("script")));
    let proxy = Proxy::start(&config).await;
    let (head, _) = opened(&proxy, &backend, &Request::upgrade("/").with("X-Long", "mine"), &[]).await;
    assert_eq!((head.header("x-long"), head.header("x-short")), (None, Some("yes")), "{head:?}");
}
