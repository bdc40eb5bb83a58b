use http::{Request, StatusCode};

use super::super::forwarding::Scheme;
use super::*;
use crate::http::Paths;
use crate::ws::{Extensions, cost};

const VALID: [(&str, &str); 5] = [
    ("host", "chat.example.com"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

/// A valid handshake with some of its fields replaced; an empty list removes one.
fn with(changes: &[(&str, &[&str])]) -> Parts {
    let mut parts = Request::builder().uri("/ws/chat?a=b").body(()).unwrap().into_parts().0;
    for (name, value) in VALID {
        parts.headers.insert(name, value.parse().unwrap());
    }
    for (name, values) in changes {
        parts.headers.remove(*name);
        for value in *values {
            parts.headers.append(header::HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
    }
    parts
}

fn status(parts: &Parts) -> Option<StatusCode> {
    validate(parts).err().map(Refused::status)
}

#[test]
fn a_handshake_as_in_rfc_6455_section_1_2_is_valid() {
    let opening = validate(&with(&[])).unwrap();
    let accepted =
        Accepted { headers: HeaderMap::new(), protocol: None, extensions: None, agreed: Extensions::default() };
    let headers = opening.switching(opening.answer(accepted, []));
    assert_eq!(headers["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(headers["upgrade"], "websocket");
    assert_eq!(headers["connection"], "Upgrade");
    assert_eq!(headers.len(), 3);
}

#[test]
fn tokens_are_found_in_lists_of_any_case() {
    for changes in [
        &[("upgrade", &["h2c, WebSocket"][..])],
        &[("upgrade", &["h2c", "WEBSOCKET"])],
        &[("connection", &["keep-alive, upgrade"])],
        &[("connection", &["keep-alive", "UPGRADE"])],
        &[("content-length", &["0"])],
    ] {
        assert_eq!(status(&with(changes)), None, "{changes:?}");
    }
}

#[test]
fn each_fault_has_its_status() {
    for (changes, expected) in [
        (&[("upgrade", &[][..]), ("connection", &[]), ("sec-websocket-key", &[])][..], 426),
        (&[("upgrade", &["h2c"]), ("sec-websocket-key", &[])], 426),
        (&[("upgrade", &[])], 400),
        (&[("upgrade", &["websocketx"])], 400),
        (&[("connection", &[])], 400),
        (&[("connection", &["close"])], 400),
        (&[("sec-websocket-version", &["8"])], 426),
        (&[("sec-websocket-version", &["13, 8"])], 426),
        (&[("sec-websocket-version", &["013"])], 426),
        (&[("sec-websocket-version", &[])], 400),
        (&[("sec-websocket-version", &["13", "13"])], 400),
        (&[("sec-websocket-key", &[])], 400),
        (&[("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="])], 400),
        (&[("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQ"])], 400),
        (&[("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZQA="])], 400),
        (&[("sec-websocket-key", &["dGhlIHNhbXBsZSBub25j-Q=="])], 400),
        (&[("sec-websocket-key", &["AAAA"])], 400),
        (&[("sec-websocket-key", &[""])], 400),
        (&[("content-length", &["1"])], 400),
        (&[("content-length", &["0", "7"])], 400),
        (&[("transfer-encoding", &["chunked"])], 400),
        (&[("sec-websocket-protocol", &["a b"])], 400),
        (&[("sec-websocket-protocol", &["a", "a"])], 400),
        (&[("sec-websocket-protocol", &["a/b"])], 400),
        (&[("sec-websocket-extensions", &["a; =1"])], 400),
    ] {
        assert_eq!(status(&with(changes)).map(|status| status.as_u16()), Some(expected), "{changes:?}");
    }
}

#[test]
fn another_method_is_told_first_and_an_old_http_before_the_key() {
    let mut parts = with(&[("upgrade", &[])]);
    parts.method = Method::POST;
    assert_eq!(validate(&parts).unwrap_err(), Refused::Method);

    let mut parts = with(&[]);
    parts.version = Version::HTTP_10;
    assert_eq!(status(&parts), Some(StatusCode::BAD_REQUEST));
    let mut parts = with(&[("upgrade", &[]), ("connection", &[]), ("sec-websocket-key", &[])]);
    parts.version = Version::HTTP_10;
    assert_eq!(validate(&parts).unwrap_err(), Refused::UpgradeRequired);
}

#[test]
fn offers_of_several_lines_are_one_list() {
    let opening = validate(&with(&[
        ("sec-websocket-protocol", &["chat, superchat", "other"]),
        ("sec-websocket-extensions", &["permessage-deflate; client_max_window_bits", "x-foo"]),
    ]))
    .unwrap();
    assert_eq!(opening.protocols.unwrap(), "chat, superchat, other");
    assert_eq!(opening.extensions.unwrap(), "permessage-deflate; client_max_window_bits, x-foo");
    let gaps = validate(&with(&[
        ("sec-websocket-protocol", &["a,, b ,", ",c"]),
        ("sec-websocket-extensions", &[",permessage-deflate;client_max_window_bits=\"10\",,x-foo"]),
    ]))
    .unwrap();
    assert_eq!(gaps.protocols.unwrap(), "a, b, c");
    assert_eq!(gaps.extensions.unwrap(), "permessage-deflate;client_max_window_bits=\"10\", x-foo");
    let nothing = validate(&with(&[("sec-websocket-protocol", &[""]), ("sec-websocket-extensions", &[","])])).unwrap();
    assert!(nothing.protocols.is_none() && nothing.extensions.is_none());
}

#[test]
fn what_very_many_subprotocols_cost_grows_with_their_length() {
    let names: Vec<String> = (0..100_000).map(|index| format!("p{index}")).collect();
    let (list, repeated) = (names.join(","), format!("{},p0", names.join(",")));
    for (list, expected) in [(list, None), (repeated, Some(StatusCode::BAD_REQUEST))] {
        let parts = with(&[("sec-websocket-protocol", &[&list])]);
        let spent = cost::of(|| assert_eq!(status(&parts), expected));
        assert!(spent <= 4 * list.len() as u64, "{spent} for {} bytes", list.len());
    }
}

#[test]
fn the_101_carries_the_upstreams_fields_and_the_filters_edits() {
    let opening = validate(&with(&[])).unwrap();
    let headers = [("set-cookie", "a=b"), ("set-cookie", "c=d"), ("server", "echo")];
    let headers = headers.map(|(name, value)| (header::HeaderName::from_static(name), HeaderValue::from_static(value)));
    let accepted = Accepted {
        headers: headers.into_iter().collect(),
        protocol: Some(HeaderValue::from_static("chat")),
        extensions: Some(HeaderValue::from_static("permessage-deflate")),
        agreed: Extensions::default(),
    };
    let edits = [
        HeaderEdit::Remove("server".to_owned()),
        HeaderEdit::Set("x-policy".to_owned(), b"1".to_vec()),
        HeaderEdit::Append("set-cookie".to_owned(), b"e=f".to_vec()),
        HeaderEdit::Set("sec-websocket-accept".to_owned(), b"forged".to_vec()),
    ];
    let answer = opening.switching(opening.answer(accepted, &edits));
    assert_eq!(answer.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=b", "c=d", "e=f"]);
    assert_eq!(answer["x-policy"], "1");
    assert_eq!(answer["sec-websocket-protocol"], "chat");
    assert_eq!(answer["sec-websocket-extensions"], "permessage-deflate");
    assert_eq!(answer["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert!(!answer.contains_key("server"));
}

#[test]
fn components_see_the_handshake_as_it_came() {
    let parts = with(&[
        ("host", &["Chat.Example.com:8080"]),
        ("sec-websocket-protocol", &["b, a", "c"]),
        ("x-raw", &["\u{e9}"]),
    ]);
    let client = Client {
        peer: "10.0.0.1:4711".parse().ok(),
        address: "203.0.113.7".parse().ok(),
        scheme: Scheme::Wss,
        connection_id: "w0-1".to_owned(),
    };
    let handshake = describe(&parts, &Target::of(&parts, Paths::Canonical).unwrap(), &client);
    assert_eq!((handshake.method.as_str(), handshake.scheme, handshake.http_version), ("GET", "wss", "1.1"));
    assert_eq!(handshake.authority, "Chat.Example.com:8080");
    assert_eq!((handshake.path.as_str(), handshake.query.as_deref()), ("/ws/chat", Some("a=b")));
    assert_eq!(handshake.protocols, ["b", "a", "c"]);
    assert_eq!((handshake.client_address.as_str(), handshake.client_port), ("203.0.113.7", 4711));
    assert_eq!(handshake.connection_id, "w0-1");
    assert!(handshake.headers.iter().any(|field| field == ("x-raw", "\u{e9}".as_bytes())));
    assert!(handshake.headers.iter().any(|field| field == ("upgrade", b"websocket")));
}

#[test]
fn an_extended_connect_is_a_handshake_without_a_key_and_components_see_it_as_such() {
    let mut parts = with(&[("host", &[]), ("upgrade", &[]), ("connection", &[]), ("sec-websocket-key", &[])]);
    parts.method = Method::CONNECT;
    parts.version = Version::HTTP_2;
    parts.uri = "https://chat.example.com:8443/ws/./chat?a=b".parse().unwrap();
    assert_eq!(validate(&parts).unwrap_err(), Refused::ConnectRequired);
    parts.extensions.insert(Extended { is_websocket: true });
    assert!(validate(&parts).is_ok());
    let client = Client { peer: None, address: None, scheme: Scheme::Wss, connection_id: String::new() };
    let handshake = describe(&parts, &Target::of(&parts, Paths::Canonical).unwrap(), &client);
    assert_eq!((handshake.method.as_str(), handshake.http_version), ("CONNECT", "2"));
    assert_eq!((handshake.authority.as_str(), handshake.path.as_str()), ("chat.example.com:8443", "/ws/chat"));
    for host in ["other.example", "CHAT.example.com:8443"] {
        parts.headers.insert(header::HOST, host.parse().unwrap());
        assert_eq!(Target::of(&parts, Paths::Canonical).is_ok(), host != "other.example", "{host}");
    }
}
