use http::Request;
use http::uri::PathAndQuery;

use super::super::opening::validate;
use super::*;

const VALID: [(&str, &str); 5] = [
    ("host", "chat.example.com:8080"),
    ("upgrade", "websocket"),
    ("connection", "keep-alive, Upgrade, X-Hop"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

fn parts(target: &str, fields: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(target);
    for (name, value) in VALID.iter().chain(fields) {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn target() -> UpstreamTarget {
    UpstreamTarget::new(PathAndQuery::from_static("/ws/chat?a=%20b"), 3)
}

fn client(peer: &str) -> Client {
    let peer: SocketAddr = peer.parse().unwrap();
    Client { peer: Some(peer), address: Some(peer.ip()), scheme: Scheme::Ws, connection_id: "1".to_owned() }
}

fn trusting(networks: &[&str]) -> Forwarding {
    Forwarding { trusted: networks.iter().map(|network| network.parse().unwrap()).collect(), ..Forwarding::default() }
}

/// The request to the upstream when this peer sends a handshake with these fields.
fn request(forwarding: &Forwarding, peer: &str, fields: &[(&str, &str)], edits: &[HeaderEdit]) -> UpstreamRequest {
    let parts = parts("/ws/chat", fields);
    let opening = validate(&parts).unwrap();
    forwarding.request(parts, target(), Some(&opening), &client(peer), edits).0
}

#[test]
fn end_to_end_fields_cookies_and_query_pass_and_hop_by_hop_fields_do_not() {
    let request = request(
        &Forwarding::default(),
        "192.0.2.1:5",
        &[
            ("cookie", "a=b"),
            ("cookie", "c=d"),
            ("authorization", "Bearer x"),
            ("origin", "https://chat.example.com"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("proxy-authorization", "Basic eA=="),
            ("content-length", "0"),
            ("sec-websocket-protocol", "chat"),
            ("sec-websocket-extensions", "permessage-deflate"),
        ],
        &[],
    );
    assert_eq!(request.target, target());
    let headers = &request.headers;
    assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=b", "c=d"]);
    assert_eq!(headers["authorization"], "Bearer x");
    assert_eq!(headers["origin"], "https://chat.example.com");
    for gone in [
        "connection",
        "upgrade",
        "x-hop",
        "keep-alive",
        "te",
        "proxy-authorization",
        "content-length",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-protocol",
        "sec-websocket-extensions",
    ] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert_eq!(request.protocols.unwrap(), "chat");
    assert_eq!(request.extensions.unwrap(), "permessage-deflate");
}

#[test]
fn what_an_untrusted_peer_claims_about_itself_is_replaced() {
    let claims = [
        ("x-forwarded-for", "10.9.9.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("forwarded", "for=10.9.9.9"),
    ];
    let request = request(&trusting(&["10.0.0.0/8"]), "192.0.2.1:5", &claims, &[]);
    assert_eq!(request.headers["x-forwarded-for"], "192.0.2.1");
    assert_eq!(request.headers["x-forwarded-proto"], "http");
    assert_eq!(request.headers["x-forwarded-host"], "chat.example.com:8080");
    assert_eq!(request.headers["forwarded"], "for=192.0.2.1;host=\"chat.example.com:8080\";proto=http");
    assert_eq!(request.headers.get_all("x-forwarded-for").iter().count(), 1);
}

#[test]
fn nothing_that_an_untrusted_peer_says_about_itself_reaches_the_upstream() {
    let claims = [
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-user",
        "x-forwarded-ssl",
        "x-forwarded-scheme",
        "x-forwarded-server",
        "x-forwarded-by",
        "x-forwarded-client-cert",
        "x-forwarded",
        "x_forwarded_for",
        "x-forwarded_for",
        "x.forwarded.for",
        "x!forwarded-for",
        "x-true-client-ip",
        "remote-addr",
        "x-real-ip",
        "x_real_ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-original-url",
        "x-envoy-external-address",
        "forwarded-for",
    ]
    .map(|name| (name, "6.6.6.6"));
    let kept = [("via", "1.1 cache"), ("x-user", "ann"), ("service_id", "chat")];
    let fields = [&claims[..], &kept[..]].concat();
    let headers = request(&Forwarding::default(), "192.0.2.1:5", &fields, &[]).headers;
    assert!(headers.values().all(|value| value != "6.6.6.6"), "{headers:?}");
    assert!(kept.iter().all(|(name, value)| headers[*name] == *value), "{headers:?}");

    let headers = request(&trusting(&["192.0.2.0/24"]), "192.0.2.1:5", &fields, &[]).headers;
    for (name, _) in claims {
        assert_eq!(headers.contains_key(name), !name.contains(['_', '.', '!']), "{name}");
    }
}

#[test]
fn what_frames_a_body_reaches_the_upstream_in_no_spelling() {
    let came = [("content-length", "0"), ("content_length", "5"), ("transfer_encoding", "chunked"), ("expect", "x")];
    let headers = request(&Forwarding::default(), "192.0.2.1:5", &came, &[]).headers;
    assert!(came.iter().all(|(name, _)| !headers.contains_key(*name)), "{headers:?}");
}

#[test]
fn what_a_filter_sets_or_removes_is_gone_in_every_spelling() {
    let came = [("x_user", "mallory"), ("x-user", "eve"), ("x_role", "admin"), ("service-id", "a"), ("x_other", "b")];
    let edits = [
        HeaderEdit::Set("x-user".to_owned(), b"ann".to_vec()),
        HeaderEdit::Remove("x-role".to_owned()),
        HeaderEdit::Set("service_id".to_owned(), b"c".to_vec()),
    ];
    let headers = request(&Forwarding::default(), "192.0.2.1:5", &came, &edits).headers;
    assert_eq!(headers.get_all("x-user").iter().collect::<Vec<_>>(), ["ann"]);
    assert_eq!((headers["service_id"].as_bytes(), headers["x_other"].as_bytes()), (&b"c"[..], &b"b"[..]));
    for gone in ["x_user", "x_role", "service-id"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
}

#[test]
fn edits_beyond_what_a_map_holds_are_left_out() {
    let mut headers = HeaderMap::from_iter([(header::COOKIE, HeaderValue::from_static("a=b"))]);
    let edits: Vec<_> = (0..40_000).map(|index| HeaderEdit::Set(format!("x-{index}"), b"1".to_vec())).collect();
    apply(&mut headers, &edits);
    assert_eq!(headers.len(), MOST_NAMES);
    apply(&mut headers, &[HeaderEdit::Set("cookie".to_owned(), b"c=d".to_vec())]);
    headers.insert("sec-websocket-key", HeaderValue::from_static("x"));
    assert_eq!(headers["cookie"], "c=d");
}

#[test]
fn a_trusted_proxys_fields_are_kept_and_appended_to() {
    let claims = [
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-for", "10.0.0.9"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "public.example"),
        ("forwarded", "for=203.0.113.7;proto=https"),
    ];
    let request = request(&trusting(&["10.0.0.0/8"]), "[::ffff:10.0.0.1]:5", &claims, &[]);
    assert_eq!(request.headers["x-forwarded-for"], "203.0.113.7, 10.0.0.9, 10.0.0.1");
    assert_eq!(request.headers["x-forwarded-proto"], "https");
    assert_eq!(request.headers["x-forwarded-host"], "public.example");
    assert_eq!(
        request.headers["forwarded"],
        "for=203.0.113.7;proto=https, for=10.0.0.1;host=\"chat.example.com:8080\";proto=http"
    );
}

#[test]
fn an_ipv6_client_is_quoted_in_forwarded_alone() {
    let request = request(&Forwarding::default(), "[2001:db8::1]:5", &[], &[]);
    assert_eq!(request.headers["x-forwarded-for"], "2001:db8::1");
    assert_eq!(request.headers["forwarded"], "for=\"[2001:db8::1]\";host=\"chat.example.com:8080\";proto=http");
}

#[test]
fn nothing_is_appended_when_it_is_off_and_untrusted_peers_are_not_believed_either() {
    let off = Forwarding { append: false, ..trusting(&["10.0.0.0/8"]) };
    for (peer, expected) in [("10.0.0.1:5", Some("10.9.9.9")), ("192.0.2.1:5", None)] {
        let headers = request(&off, peer, &[("x-forwarded-for", "10.9.9.9")], &[]).headers;
        assert_eq!(headers.get("x-forwarded-for").map(|value| value.to_str().unwrap()), expected);
        assert!(!headers.contains_key("forwarded") && !headers.contains_key("x-forwarded-proto"));
    }
}

#[test]
fn the_host_of_an_absolute_target_is_the_one_forwarded() {
    let parts = parts("http://absolute.example/ws?x", &[]);
    let opening = validate(&parts).unwrap();
    let (request, _) = Forwarding::default().request(parts, target(), Some(&opening), &client("192.0.2.1:5"), []);
    assert_eq!(request.headers["x-forwarded-host"], "absolute.example");
    assert_eq!(request.headers["forwarded"], "for=192.0.2.1;host=absolute.example;proto=http");
}

#[test]
fn filters_edit_what_goes_out_in_order_but_not_the_handshake() {
    let edits = [
        HeaderEdit::Set("x-user".to_owned(), b"1".to_vec()),
        HeaderEdit::Append("x-user".to_owned(), b"2".to_vec()),
        HeaderEdit::Remove("authorization".to_owned()),
        HeaderEdit::Set("connection".to_owned(), b"close".to_vec()),
    ];
    let request = request(&Forwarding::default(), "192.0.2.1:5", &[("authorization", "x"), ("x-user", "0")], &edits);
    assert_eq!(request.headers.get_all("x-user").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(!request.headers.contains_key("authorization") && !request.headers.contains_key("connection"));
}

#[test]
fn a_group_id_is_forwarded_as_it_is_and_made_when_absent() {
    let forwarding = Forwarding::default();
    let id = |fields: &[(&str, &str)]| {
        let parts = parts("/", fields);
        let opening = validate(&parts).unwrap();
        let (request, id) = forwarding.request(parts, target(), Some(&opening), &client("192.0.2.1:5"), []);
        let id = id.unwrap();
        assert_eq!(request.headers["x-group-id"], id);
        id
    };
    assert_eq!(id(&[("x-group-id", "my group")]), "my group");
    let (first, second) = (id(&[]), id(&[("x-group-id", "")]));
    assert_eq!(uuid::Uuid::parse_str(first.to_str().unwrap()).unwrap().get_version_num(), 4);
    assert_ne!(first, second);
}

#[test]
fn the_client_is_the_last_hop_that_is_no_trusted_proxy() {
    let forwarding = trusting(&["10.0.0.0/8", "fd00::/8"]);
    for (peer, lines, expected) in [
        ("192.0.2.1", &["203.0.113.7"][..], "192.0.2.1"),
        ("10.0.0.1", &[], "10.0.0.1"),
        ("10.0.0.1", &["203.0.113.7"], "203.0.113.7"),
        ("10.0.0.1", &["1.1.1.1, 203.0.113.7, 10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", &["1.1.1.1, 203.0.113.7", "10.0.0.2"], "203.0.113.7"),
        ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", &["203.0.113.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ("fd00::1", &["[2001:db8::1]:4711"], "2001:db8::1"),
        ("::ffff:10.0.0.1", &["203.0.113.7:80"], "203.0.113.7"),
    ] {
        let headers = lines.iter().map(|line| (X_FORWARDED_FOR, HeaderValue::from_str(line).unwrap())).collect();
        let address = forwarding.trusted.client(peer.parse::<IpAddr>().unwrap(), &headers).unwrap();
        assert_eq!(address, expected.parse::<IpAddr>().unwrap(), "{peer} {lines:?}");
    }
}
