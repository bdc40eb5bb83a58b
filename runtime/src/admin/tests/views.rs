//! What each endpoint says.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tracing::Level;

use super::super::{ChangeView, ChangesView, Operations, Readiness, ReloadReport, Superseded};
use super::{Fake, Server, dechunked, in_force, parted, underway};
use crate::config::{self, Problems};
use crate::metrics::WorkerIndex;
use crate::peer::{MessageKind, Side};

#[tokio::test]
async fn metrics_are_those_that_were_counted() {
    let server = Server::start(Fake::default()).await;
    let route = server.metrics.route("chat");
    route.of(WorkerIndex(0)).messages(Side::Client, MessageKind::Text, 42);

    let answer = server.get("/metrics").await;
    let zipped = server.request_bytes("GET", "/metrics", "Accept-Encoding: gzip\r\n").await;

    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!((answer.header("content-encoding"), answer.header("vary")), (None, Some("Accept-Encoding")));
    let (head, body) = parted(&zipped);
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    let mut inflated = String::new();
    flate2::read::GzDecoder::new(&*dechunked(body)).read_to_string(&mut inflated).unwrap();
    for text in [String::from_utf8(dechunked(answer.body().as_bytes())).unwrap(), inflated] {
        let line = r#"tidegate_messages_total{route="chat",from="client",kind="text"} 42"#;
        assert!(text.lines().any(|candidate| candidate == line), "{text}");
        assert!(text.contains("tidegate_build_info{version="), "{text}");
    }
}

#[tokio::test]
async fn a_process_that_runs_is_healthy_even_while_it_is_not_ready() {
    for (readiness, status, body) in [
        (Readiness::Ready, 200, "ready\n"),
        (Readiness::Starting, 503, "starting\n"),
        (Readiness::Draining, 503, "draining\n"),
    ] {
        let server = Server::start(Fake { readiness, ..Fake::default() }).await;

        let ready = server.get("/readyz").await;

        assert_eq!((ready.status(), ready.body()), (status, body));
        assert_eq!(server.get("/healthz").await.status(), 200);
    }
}

#[tokio::test]
async fn what_an_operator_should_know_follows_the_readiness_and_does_not_change_it() {
    let remarks = ["one", "two"].map(str::to_owned).into();
    let server = Server::start(Fake { remarks, ..Fake::default() }).await;

    let ready = server.get("/readyz").await;

    assert_eq!((ready.status(), ready.body()), (200, "ready\none\ntwo\n"));
}

#[tokio::test]
async fn routes_are_shown_with_what_their_filters_select() {
    let server = Server::start(Fake::default()).await;

    assert_eq!(
        server.get("/api/v1/routes").await.json(),
        json!([{
            "name": "chat",
            "hosts": ["chat.example.com"],
            "path_prefix": "/ws/chat",
            "when": ["conditions"],
            "filters": [{
                "component": "shout",
                "on_failure": "close",
                "interest": {
                    "from_client": { "kinds": ["text"], "need": "whole" },
                    "from_upstream": { "kinds": [], "need": "nothing" },
                },
            }],
            "upstream": "chat",
            "connections_active": 7,
        }])
    );
}

#[tokio::test]
async fn upstreams_are_shown_with_their_endpoints() {
    let server = Server::start(Fake::default()).await;

    assert_eq!(
        server.get("/api/v1/upstreams").await.json(),
        json!([{
            "name": "chat",
            "balance": "round-robin",
            "retries": 2,
            "endpoints": [{
                "url": "ws://127.0.0.1:9001",
                "weight": 50,
                "effective_weight": 25,
                "warmup_seconds": 30.0,
                "enabled": true,
                "zone": "eu-west-1a",
                "metadata": { "version": "2.1" },
                "connections_active": 7,
                "failing": { "failures": 3, "last_failure": "refused", "retry_in_seconds": 1.5 },
            }],
        }])
    );
}

#[tokio::test]
async fn components_are_shown_with_what_they_may_do() {
    let server = Server::start(Fake::default()).await;

    assert_eq!(
        server.get("/api/v1/components").await.json(),
        json!([{
            "name": "shout",
            "kind": "filter",
            "source": "filters/shout.wasm",
            "size_bytes": 18000,
            "compile_seconds": 0.015,
            "compile_source": "compiled",
            "hooks": ["closing"],
            "imports": [{ "name": "tidegate:edge/log@0.2.0", "permission": "write to the log" }],
            "uses": 1,
            "memory_bytes": 65536,
            "failures": 0,
            "versions": [{ "route": "chat", "generation": 1, "connections": 3 }],
            "quarantined": ["chat"],
        }])
    );
}

#[tokio::test]
async fn connections_are_limited_and_selected_by_the_query() {
    let server = Server::start(Fake::default()).await;

    let all = server.get("/api/v1/connections").await.json();
    let some = server.get("/api/v1/connections?limit=2&route=a%2Fb").await.json();

    assert_eq!((&all["total"], all["connections"].as_array().unwrap().len()), (&json!(3), 3));
    assert_eq!((&some["total"], some["connections"].as_array().unwrap().len()), (&json!(3), 2));
    assert_eq!(
        some["connections"][1],
        json!({
            "connection": "c0-1",
            "route": "a/b",
            "upstream": "chat",
            "endpoint": "ws://127.0.0.1:9001",
            "client": "192.0.2.1:50000",
            "worker": 0,
            "age_seconds": 1.5,
        })
    );
    assert_eq!(server.get("/api/v1/connections?limit=all").await.status(), 400);
}

#[tokio::test]
async fn closing_connections_tells_how_many_and_whether_that_were_all() {
    let server = Server::start(Fake::default()).await;
    for (query, status, answer) in [
        ("attribute=token.sub:alice", 200, json!({ "outcome": "closed", "connections": 2, "code": 1008 })),
        ("route=chat&code=4000", 200, json!({ "outcome": "closed", "connections": 2, "code": 4000 })),
        ("route=chat&dry_run=true", 200, json!({ "outcome": "planned", "connections": 2, "code": 1008 })),
        ("route=other", 404, json!({ "outcome": "unknown", "route": "other" })),
        ("id=1", 503, json!({ "outcome": "closed", "connections": 2, "code": 1008, "workers_silent": [1] })),
    ] {
        let answered = server.request("DELETE", &format!("/api/v1/connections?{query}"), "").await;
        assert_eq!((answered.status(), answered.json()), (status, answer), "{query}");
    }
    for query in ["", "?dry_run=true", "?route=chat&limit=1"] {
        let answered = server.request("DELETE", &format!("/api/v1/connections{query}"), "").await;
        assert_eq!(answered.status(), 400, "{query}");
    }
}

fn underway_in_json(cause: &str) -> Value {
    json!({
        "cause": cause, "dry_run": false, "seconds": 2.0, "timeout_seconds": 300.0,
        "step": "compiling component `shout`", "step_seconds": 1.5,
    })
}

#[tokio::test]
async fn a_reload_under_way_is_shown_with_its_step_and_those_that_were_given_up() {
    let server = Server::start(Fake::default()).await;

    assert_eq!(
        server.get("/api/v1/reload").await.json(),
        json!({
            "generation": 2,
            "underway": underway_in_json("POST /api/v1/reload"),
            "given_up": [underway_in_json("SIGHUP")],
            "polled": [{ "directory": "/etc/a", "reason": "no" }],
        })
    );
    assert_eq!(server.get("/api/v1/reload?dry_run=true").await.status(), 400);
}

#[tokio::test]
async fn a_reload_answers_how_it_ended() {
    type Case = (fn() -> ReloadReport, u16, Value);
    let cases: [Case; 6] = [
        (
            || ReloadReport::Applied { generation: 2, in_force: in_force() },
            200,
            json!({ "outcome": "applied", "generation": 2, "in_force": { "cause": "start", "since_unix_seconds": 70 } }),
        ),
        (
            || ReloadReport::Unchanged { generation: 1, in_force: in_force() },
            200,
            json!({ "outcome": "unchanged", "generation": 1, "in_force": { "cause": "start", "since_unix_seconds": 70 } }),
        ),
        (|| ReloadReport::Busy { generation: 1, underway: None }, 409, json!({ "outcome": "busy", "generation": 1 })),
        (
            || ReloadReport::Busy { generation: 1, underway: Some(underway("SIGHUP")) },
            409,
            json!({ "outcome": "busy", "generation": 1, "underway": underway_in_json("SIGHUP") }),
        ),
        (
            || ReloadReport::Refused { generation: 1, reason: Superseded::Over },
            409,
            json!({
                "outcome": "refused", "generation": 1, "reason": "a new process has taken over; ask that one",
            }),
        ),
        (
            || ReloadReport::Rejected { generation: 1, problems: unclosed() },
            422,
            json!({ "outcome": "rejected", "generation": 1, "problems": unclosed() }),
        ),
    ];
    for (reload, status, body) in cases {
        let server = Server::start(Fake { reload, ..Fake::default() }).await;

        let answer = server.request("POST", "/api/v1/reload", "").await;

        assert_eq!((answer.status(), answer.json()), (status, body));
    }
}

#[tokio::test]
async fn a_dry_run_answers_what_would_change() {
    let dry_run = || {
        let change = |name: &str, change| ChangeView {
            name: name.to_owned(),
            change,
            because: Vec::new(),
            connections_active: None,
            open_connections: None,
        };
        let because = vec!["component shout".to_owned()];
        let changes = ChangesView {
            settings: vec!["drain_time"],
            components: vec![change("shout", "removed")],
            upstreams: vec![change("chat", "added")],
            routes: vec![ChangeView {
                because,
                connections_active: Some(7),
                open_connections: Some("swapped"),
                ..change("chat", "changed")
            }],
        };
        ReloadReport::Applicable { generation: 1, changes }
    };
    let server = Server::start(Fake { dry_run, ..Fake::default() }).await;

    let answer = server.request("POST", "/api/v1/reload?dry_run=true", "").await;

    assert_eq!(answer.status(), 200);
    assert_eq!(
        answer.json(),
        json!({
            "outcome": "applicable",
            "generation": 1,
            "changes": {
                "settings": ["drain_time"],
                "components": [{ "name": "shout", "change": "removed" }],
                "upstreams": [{ "name": "chat", "change": "added" }],
                "routes": [{
                    "name": "chat",
                    "change": "changed",
                    "because": ["component shout"],
                    "connections_active": 7,
                    "open_connections": "swapped",
                }],
            },
        })
    );
    assert_eq!(server.request("POST", "/api/v1/reload?dry-run=true", "").await.status(), 400);
}

/// What is wrong with a table whose name does not end.
fn unclosed() -> Problems {
    config::parse("a.toml", "[admin", Path::new(""), &[]).unwrap_err()
}

#[tokio::test]
async fn a_component_is_restored_by_its_name() {
    let server = Server::start(Fake::default()).await;

    let restored = server.request("POST", "/api/v1/components/shout/restore", "").await;
    assert_eq!((restored.status(), restored.json()), (200, json!({ "component": "shout", "lifted": 1 })));
    for unknown in ["/api/v1/components/other/restore", "/api/v1/components//restore", "/api/v1/components/shout"] {
        assert_eq!(server.request("POST", unknown, "").await.status(), 404, "{unknown}");
    }
    assert_eq!(server.get("/api/v1/components/shout/restore").await.status(), 405);
}

#[tokio::test]
async fn candidates_are_shown_and_decided_about_by_route_and_component() {
    let server = Server::start(Fake::default()).await;

    let shown = server.get("/api/v1/candidates").await.json();
    let message = json!({ "origin": "client", "kind": "text", "size": 5, "payload": "hello" });
    let sample = json!({
        "connection": "c0-1", "message": message, "filter": "replace: HELLO", "candidate": "forward",
    });
    let expected = json!({
        "route": "chat", "filter": "shout", "component": "shout-2", "mode": "shadow", "standing": "on_trial",
        "connections": 3, "failures": 1, "max_failures": 10,
        "decisions": { "agreed": 40, "diverged": 1, "failed": 1, "skipped": 2 }, "samples": [sample],
    });
    assert_eq!(shown, json!([expected]));

    for (decision, standing) in [("promote", "promoted"), ("roll-back", "rolled_back")] {
        let path = format!("/api/v1/routes/chat/candidates/shout-2/{decision}");
        let decided = server.request("POST", &path, "").await;
        let expected = json!({
            "route": "chat", "component": "shout-2", "filters": ["shout"], "standing": standing,
            "changed": true, "connections_active": 7,
        });
        assert_eq!((decided.status(), decided.json()), (200, expected));
        assert_eq!(server.get(&path).await.status(), 405);
    }
    for unknown in ["chat/candidates/shout/promote", "other/candidates/shout-2/promote", "chat/candidates/shout-2/x"] {
        assert_eq!(server.request("POST", &format!("/api/v1/routes/{unknown}"), "").await.status(), 404, "{unknown}");
    }
}

#[tokio::test]
async fn a_drain_is_accepted_with_its_plan_and_a_second_one_is_not() {
    let server = Server::start(Fake::default()).await;

    let first = server.request("POST", "/api/v1/drain?over=70s", "").await;
    let second = server.request("POST", "/api/v1/drain", "").await;

    let plan = json!({
        "outcome": "begun",
        "connections": 7,
        "code": 1012,
        "over_seconds": 70.0,
        "connections_per_second": 0.1,
        "until_unix_seconds": 70,
    });
    assert_eq!((first.status(), first.json()), (202, plan));
    assert_eq!((second.status(), second.json()), (409, json!({ "outcome": "underway", "connections": 7 })));
}

#[tokio::test]
async fn a_drain_of_a_route_and_a_dry_run_say_so() {
    let server = Server::start(Fake::default()).await;

    let planned = server.request("POST", "/api/v1/drain?route=chat&code=1001&over=0&dry_run=true", "").await;
    let unknown = server.request("POST", "/api/v1/drain?route=chatter", "").await;
    let wrong = server.request("POST", "/api/v1/drain?code=1000", "").await;

    let plan = json!({
        "outcome": "planned",
        "route": "chat",
        "connections": 7,
        "code": 1001,
        "over_seconds": 0.0,
        "until_unix_seconds": 0,
    });
    assert_eq!((planned.status(), planned.json()), (200, plan));
    assert_eq!((unknown.status(), unknown.json()), (404, json!({ "outcome": "unknown", "route": "chatter" })));
    assert_eq!(wrong.status(), 400);
    assert_eq!(server.operations.drains.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_index_names_every_endpoint() {
    let server = Server::start(Fake::default()).await;
    let index = server.get("/").await;

    assert_eq!(index.status(), 200);
    let listed =
        index.body().lines().filter_map(|line| line.split_whitespace().nth(1)).filter(|path| path.starts_with('/'));
    for path in listed {
        let answer = server.request_bytes("GET", path, "").await;
        assert!(!answer.starts_with(b"HTTP/1.1 404"), "{path}");
    }
    assert_eq!(index.body().matches("/api/v1/").count(), 15);
}

#[tokio::test]
async fn the_level_of_the_log_is_shown_and_set() {
    let server = Server::start(Fake::default()).await;
    assert_eq!(server.get("/api/v1/log").await.json(), json!({ "level": "info" }));

    let set = server.request("PUT", "/api/v1/log?level=debug", "").await;

    assert_eq!((set.status(), set.json()), (200, json!({ "level": "debug" })));
    assert_eq!(server.get("/api/v1/log").await.json(), json!({ "level": "debug" }));
    assert_eq!(server.request("PUT", "/api/v1/log?level=loud", "").await.status(), 400);
}

#[tokio::test]
async fn what_a_new_process_would_not_know_of_is_refused_with_the_reason() {
    let server = Server::start(Fake { superseded: Some(Superseded::Underway), ..Fake::default() }).await;
    for (method, path) in
        [("POST", "/api/v1/routes/chat/candidates/shout-2/promote"), ("PUT", "/api/v1/log?level=debug")]
    {
        let answer = server.request(method, path, "").await;
        let error = answer.json()["error"].as_str().unwrap().to_owned();
        assert_eq!((answer.status(), error.starts_with("an upgrade is under way")), (409, true), "{error}");
    }
    assert_eq!(server.operations.log_level(), Level::INFO);
}
