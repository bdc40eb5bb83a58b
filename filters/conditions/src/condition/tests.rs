use std::cell::Cell;

use serde_json::{Value, json};

use super::*;
use crate::parse;

fn handshake() -> Handshake {
    Handshake {
        method: "GET".into(),
        authority: "Chat.Example.com:8080".into(),
        path: "/ws/chat/room-7".into(),
        query: Some("token=abc&room=a%20b&flag&since=2026-01-02T00:00:00Z".into()),
        headers: vec![
            ("x-tenant".into(), b"gold".to_vec()),
            ("x-twice".into(), b"gold".to_vec()),
            ("x-twice".into(), b"lead".to_vec()),
            ("x-space".into(), b" \t".to_vec()),
            ("x-day".into(), b"2026-06-01 12:00:00".to_vec()),
            ("cookie".into(), b"session=s1; theme=dark".to_vec()),
        ],
        client_address: "10.1.2.3".into(),
        ..Handshake::default()
    }
}

/// Whether `config` holds for the handshake above, on the morning of 2026-11-20.
fn holds(config: Value) -> bool {
    let now = Time::parse("2026-11-20 10:31:00").expect("a time");
    parse::condition(&config).unwrap_or_else(|error| panic!("{config}: {error}")).holds(&handshake(), &|| now)
}

#[test]
fn every_operator_decides_about_every_parameter() {
    for (config, expected) in [
        (json!({"path": true, "op": "match", "value": "/ws/**"}), true),
        (json!({"path": true, "op": "match", "value": "/ws/**/room-?"}), true),
        (json!({"path": true, "op": "match", "value": "/ws/*"}), false),
        (json!({"path": true, "op": "pathPattern", "value": "/ws/{kind}/{room}"}), true),
        (json!({"path": true, "op": "pathPattern", "value": "/ws/{kind}"}), false),
        (json!({"path": true, "op": "=", "value": "/ws/chat/room-7"}), true),
        (json!({"path": true, "op": "=", "value": "/ws/chat"}), false),
        (json!({"path": true, "op": "exclude", "value": "/ws/admin/**"}), true),
        (json!({"path": true, "op": "exclude", "value": "/ws/chat/**"}), false),
        (json!({"path": true, "op": "startsWith", "value": "/ws/"}), true),
        (json!({"path": true, "op": "startsWith", "value": "ws/"}), false),
        (json!({"path": true, "op": "endsWith", "value": "-7"}), true),
        (json!({"path": true, "op": "endsWith", "value": "-8"}), false),
        (json!({"query": "token", "op": "=", "value": "abc"}), true),
        (json!({"query": "room", "op": "=", "value": "a b"}), true),
        (json!({"query": "flag", "op": "=", "value": ""}), true),
        (json!({"query": "absent", "op": "=", "value": ""}), false),
        (json!({"query": "flag", "op": "isBlank"}), true),
        (json!({"query": "absent", "op": "isBlank"}), true),
        (json!({"query": "token", "op": "isBlank"}), false),
        (json!({"header": "X-Tenant", "op": "=", "value": "gold"}), true),
        (json!({"header": "x-tenant", "op": "=", "value": "Gold"}), false),
        (json!({"header": "x-tenant", "op": "match", "value": "g?l*"}), true),
        (json!({"header": "x-tenant", "op": "match", "value": "ol"}), false),
        (json!({"header": "x-tenant", "op": "contains", "value": "ol"}), true),
        (json!({"header": "x-tenant", "op": "contains", "value": "lo"}), false),
        (json!({"header": "x-tenant", "op": "regex", "value": "[a-z]{4}"}), true),
        (json!({"header": "x-tenant", "op": "regex", "value": "[a-z]{3}"}), false),
        (json!({"header": "x-tenant", "op": "exclude", "value": "l*"}), true),
        (json!({"header": "x-tenant", "op": "exclude", "value": "g*"}), false),
        (json!({"header": "x-space", "op": "isBlank"}), true),
        (json!({"cookie": "session", "op": "=", "value": "s1"}), true),
        (json!({"cookie": "Session", "op": "=", "value": "s1"}), false),
        (json!({"host": true, "op": "=", "value": "CHAT.example.com"}), true),
        (json!({"host": true, "op": "endsWith", "value": ".Example.com"}), true),
        (json!({"host": true, "op": "match", "value": "*.example.*"}), true),
        (json!({"host": true, "op": "=", "value": "chat.example.com:8080"}), false),
        (json!({"ip": true, "op": "=", "value": "10.1.2.3"}), true),
        (json!({"ip": true, "op": "=", "value": "10.0.0.0/8"}), true),
        (json!({"ip": true, "op": "=", "value": "10.2.0.0/16"}), false),
        (json!({"ip": true, "op": "startsWith", "value": "10.1."}), true),
        (json!({"method": true, "op": "=", "value": "GET"}), true),
        (json!({"method": true, "op": "=", "value": "CONNECT"}), false),
    ] {
        assert_eq!(holds(config.clone()), expected, "{config}");
    }
}

#[test]
fn time_is_the_present_unless_a_named_parameter_carries_one() {
    for (config, expected) in [
        (json!({"op": "timeAfter", "value": "2026-11-20T10:30:59Z"}), true),
        (json!({"op": "timeAfter", "value": "2026-11-20 10:31:00"}), false),
        (json!({"op": "timeBefore", "value": "2026-11-20 10:31:00"}), false),
        (json!({"op": "timeBefore", "value": "2026-11-20T12:31:00.5+02:00"}), true),
        (json!({"path": true, "op": "timeBefore", "value": "2027-01-01 00:00:00"}), true),
        (json!({"header": "x-day", "op": "timeBefore", "value": "2026-06-01 12:00:01"}), true),
        (json!({"header": "x-day", "op": "timeAfter", "value": "2026-06-01 12:00:00"}), false),
        (json!({"query": "since", "op": "timeAfter", "value": "2026-01-01 00:00:00"}), true),
        (json!({"header": "x-tenant", "op": "timeAfter", "value": "2026-01-01 00:00:00"}), false),
        (json!({"header": "x-absent", "op": "timeBefore", "value": "2027-01-01 00:00:00"}), false),
    ] {
        assert_eq!(holds(config.clone()), expected, "{config}");
    }
}

#[test]
fn groups_combine_and_nest() {
    let (yes, no) = (json!({"path": true, "op": "match", "value": "/**"}), json!({"path": true, "op": "isBlank"}));
    for (config, expected) in [
        (json!({"all": [yes, yes]}), true),
        (json!({"all": [yes, no]}), false),
        (json!({"any": [no, yes]}), true),
        (json!({"any": [no, no]}), false),
        (json!({"all": [yes, {"any": [no, {"all": [yes]}]}]}), true),
        (json!({"any": [no, {"all": [yes, {"any": [no]}]}]}), false),
    ] {
        assert_eq!(holds(config.clone()), expected, "{config}");
    }
}

#[test]
fn a_parameter_that_came_twice_must_pass_with_every_value() {
    for (config, expected) in [
        (json!({"header": "x-twice", "op": "=", "value": "gold"}), false),
        (json!({"header": "x-twice", "op": "regex", "value": "gold|lead"}), true),
        (json!({"header": "x-twice", "op": "exclude", "value": "lead"}), false),
        (json!({"header": "x-twice", "op": "exclude", "value": "tin"}), true),
        (json!({"header": "x-twice", "op": "isBlank"}), false),
    ] {
        assert_eq!(holds(config.clone()), expected, "{config}");
    }
}

#[test]
fn without_a_value_only_is_blank_and_exclude_hold() {
    for op in ["match", "=", "regex", "contains", "startsWith", "endsWith"] {
        assert!(!holds(json!({"header": "x-absent", "op": op, "value": "x"})), "{op}");
    }
    assert!(holds(json!({"header": "x-absent", "op": "isBlank"})));
    assert!(holds(json!({"header": "x-absent", "op": "exclude", "value": "*"})));
}

#[test]
fn an_encoded_path_is_compared_decoded() {
    let condition = parse::condition(&json!({"path": true, "op": "exclude", "value": "/ws/admin/**"})).expect("valid");
    for (path, expected) in
        [("/ws/admin/x", false), ("/ws/%61dmin/x", false), ("/ws/admin%2Fx", true), ("/ws/chat", true)]
    {
        let handshake = Handshake { path: path.into(), ..Handshake::default() };
        assert_eq!(condition.holds(&handshake, &|| Time::from_unix(Default::default())), expected, "{path}");
    }
}

#[test]
fn the_clock_is_read_only_when_the_answer_hangs_on_it() {
    let reads = Cell::new(0);
    let now = || {
        reads.set(reads.get() + 1);
        Time::from_unix(Default::default())
    };
    let late = json!({"op": "timeAfter", "value": "1960-01-01 00:00:00"});
    let config = json!({"all": [{"method": true, "op": "=", "value": "POST"}, late]});

    assert!(!parse::condition(&config).expect("valid").holds(&handshake(), &now));
    assert_eq!(reads.get(), 0);
    assert!(parse::condition(&late).expect("valid").holds(&handshake(), &now));
    assert_eq!(reads.get(), 1);
}

#[test]
fn a_value_too_long_for_a_regular_expression_does_not_pass() {
    let condition = parse::condition(&json!({"header": "x-long", "op": "regex", "value": "a*"})).expect("valid");
    for (length, expected) in [(2_048, true), (2_049, false)] {
        let handshake = Handshake { headers: vec![("x-long".into(), vec![b'a'; length])], ..Handshake::default() };
        assert_eq!(condition.holds(&handshake, &|| Time::from_unix(Default::default())), expected, "{length}");
    }
}

#[test]
fn a_header_that_the_upstream_may_take_for_another_must_pass_with_it_and_does_not_replace_it() {
    let with = |headers: &[&str]| {
        let headers = headers.iter().map(|name| ((*name).to_owned(), b"gold".to_vec())).collect();
        Handshake { headers, ..handshake() }
    };
    let holds = |config: &Value, headers: &[&str]| {
        parse::condition(config).unwrap().holds(&with(headers), &|| Time::parse("2026-11-20 10:31:00").unwrap())
    };
    let gold = json!({"header": "x-tenant", "op": "=", "value": "gold"});
    assert!(holds(&gold, &["x-tenant", "x_tenant"]) && !holds(&gold, &["x_tenant"]));
    for none in [
        json!({"header": "x-tenant", "op": "isBlank"}),
        json!({"header": "x-tenant", "op": "exclude", "value": "gold"}),
    ] {
        assert!(holds(&none, &["x-other"]) && !holds(&none, &["x_tenant"]), "{none}");
    }
}
