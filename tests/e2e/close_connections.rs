//! How an operator closes those of the connections that he names.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_tests::config::{guest, route, upstream};
use tidegate_tests::{Backend, Echo, Finished, Frame, Issuer, Peer, Proxy, Reply, Request, Signer};
use tokio::time::Instant;

/// Both ends of a connection.
type Ends = (Peer, Peer);

async fn close(proxy: &Proxy, query: &str) -> (u16, Value) {
    let Reply { status, body, .. } = proxy.admin("DELETE", &format!("/api/v1/connections?{query}")).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}")))
}

fn closed(connections: u64, code: u16) -> (u16, Value) {
    (200, json!({ "outcome": "closed", "connections": connections, "code": code }))
}

/// Both are told, and each answers the other's close frame for itself.
async fn expect_closed((client, upstream): &mut Ends, code: u16, reason: &str) {
    for peer in [client, upstream] {
        assert_eq!(peer.expect_close(code).await, reason);
        peer.send(Frame::close(code, "")).await;
    }
}

async fn expect_open((client, upstream): &mut Ends) {
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

/// A route that asks for a token, over two workers, and who signs them.
async fn start_with_tokens(backend: &Backend) -> (Proxy, Signer, Issuer) {
    let signer = Signer::new("one");
    let issuer = Issuer::start(&[&signer]).await;
    let route = route(&[&backend.address()], "token = { name = \"users\", from = [\"header:authorization\"] }");
    let tokens = format!("[tokens.users]\nissuer = \"tests\"\naudience = \"chat\"\njwks = \"{}\"\n", issuer.url());
    (Proxy::with_workers(2, &format!("{route}\n{tokens}claims = [\"tenant\"]\n")).await, signer, issuer)
}

fn bearing(signer: &Signer, subject: &str, tenant: &str) -> Request {
    let token = signer.token(&json!({ "sub": subject, "tenant": tenant }));
    Request::upgrade("/").with("Authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn all_connections_of_a_subject_are_closed_on_all_workers_and_those_of_others_go_on() {
    let backend = Backend::bind().await;
    let (proxy, signer, _issuer) = start_with_tokens(&backend).await;
    let mut of_alice = Vec::new();
    for _ in 0..6 {
        of_alice.push(backend.open_with(proxy.address, &bearing(&signer, "alice", "1"), &[]).await);
    }
    let mut other = backend.open_with(proxy.address, &bearing(&signer, "alice2", "1"), &[]).await;

    assert_eq!(close(&proxy, "attribute=token.sub:alice&code=1008").await, closed(6, 1008));

    for ends in &mut of_alice {
        expect_closed(ends, 1008, "closed by an operator").await;
    }
    drop(of_alice);
    expect_open(&mut other).await;
    let closes = [("route", "main"), ("by", "proxy"), ("code", "1008")];
    proxy.until("tidegate_closes_total", &closes, 6).await;
    for line in proxy.access_lines(6).await {
        assert_eq!((&line["code"], &line["reason"]), (&json!(1008), &json!("closed by an operator")), "{line}");
    }
    proxy.wait_for_log(&["closed connections", "token.sub:alice", "1008"]).await;
    // Whoever comes back is judged anew.
    let mut back = backend.open_with(proxy.address, &bearing(&signer, "alice", "1"), &[]).await;
    expect_open(&mut back).await;
}

#[tokio::test]
async fn what_is_said_of_a_connection_has_to_hold_all_together() {
    let backend = Backend::bind().await;
    let (proxy, signer, _issuer) = start_with_tokens(&backend).await;
    let mut first = backend.open_with(proxy.address, &bearing(&signer, "alice", "1"), &[]).await;
    let mut second = backend.open_with(proxy.address, &bearing(&signer, "alice", "2"), &[]).await;
    let alice = "attribute=token.sub:alice";
    assert_eq!(close(&proxy, &format!("{alice}&attribute=token.tenant:3")).await, closed(0, 1008));
    assert_eq!(close(&proxy, &format!("{alice}&id=1")).await, closed(0, 1008));
    let answer = close(&proxy, &format!("{alice}&attribute=token.tenant:2&route=main&code=4001&reason=log+in")).await;
    assert_eq!(answer, closed(1, 4001));
    expect_closed(&mut second, 4001, "log in").await;
    expect_open(&mut first).await;
}

#[tokio::test]
async fn one_is_closed_by_its_id_and_those_of_a_route_by_its_name() {
    let backend = Backend::bind().await;
    let routes: String = ["first", "second"]
        .map(|name| format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"back\"\n"))
        .concat();
    let proxy = Proxy::with_workers(2, &format!("{}{routes}", upstream("back", &[&backend.address()], ""))).await;
    let mut one = backend.open(proxy.address, "/first").await;
    let listed: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/connections").await.body).unwrap();
    let id = listed["connections"][0]["connection"].as_str().unwrap();
    let mut others = [backend.open(proxy.address, "/first").await, backend.open(proxy.address, "/first").await];
    let mut second = backend.open(proxy.address, "/second").await;

    let found = proxy.admin("GET", &format!("/api/v1/connections?id={id}")).await.body;
    assert_eq!(serde_json::from_str::<Value>(&found).unwrap()["total"], 1);
    assert_eq!(close(&proxy, &format!("id={id}&code=3000")).await, closed(1, 3000));
    expect_closed(&mut one, 3000, "closed by an operator").await;
    proxy.until("tidegate_connections_active", &[("route", "first")], 2).await;
    for ends in &mut others {
        expect_open(ends).await;
    }
    assert_eq!(close(&proxy, "route=first&code=1000").await, closed(2, 1000));
    for ends in &mut others {
        expect_closed(ends, 1000, "closed by an operator").await;
    }
    expect_open(&mut second).await;
    assert_eq!(close(&proxy, "route=third").await, (404, json!({ "outcome": "unknown", "route": "third" })));
}

#[tokio::test]
async fn a_dry_run_counts_and_what_says_nothing_or_is_misspelt_is_refused() {
    let backend = Backend::bind().await;
    let proxy = Proxy::with_workers(2, &route(&[&backend.address()], "")).await;
    let mut open = [backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await];
    let planned = json!({ "outcome": "planned", "connections": 2, "code": 1008 });
    assert_eq!(close(&proxy, "route=main&dry_run=true").await, (200, planned));
    for query in ["", "code=1008", "attribut=a:b", "attribute=a", "route=main&code=1006", "route=main&dryrun=true"] {
        let (status, answer) = close(&proxy, query).await;
        assert_eq!((status, answer["error"].is_string()), (400, true), "{query}: {answer}");
    }
    for ends in &mut open {
        expect_open(ends).await;
    }
}

#[tokio::test]
async fn an_attribute_counts_as_it_is_now() {
    let backend = Backend::bind().await;
    let filters = "filters = [{ component = \"ringer\" }]";
    let proxy = Proxy::start(&format!("{}\n{}", route(&[&backend.address()], filters), guest("ringer"))).await;
    let mut ends = backend.open(proxy.address, "/").await;
    ends.0.send_all(&["attribute room 7", "attribute room 8", "still here"].map(Frame::text)).await;
    ends.1.expect(Frame::text("still here")).await;
    assert_eq!(close(&proxy, "attribute=room:7").await, closed(0, 1008));
    assert_eq!(close(&proxy, "attribute=room:8").await, closed(1, 1008));
    expect_closed(&mut ends, 1008, "closed by an operator").await;
}

#[tokio::test]
async fn one_that_was_let_in_and_is_still_opening_is_closed_as_it_opens() {
    let backend = Backend::bind().await;
    let (proxy, signer, _issuer) = start_with_tokens(&backend).await;
    let mut opening = Vec::new();
    for subject in ["alice", "bob"] {
        let mut client = Peer::connect(proxy.address).await;
        client.write(bearing(&signer, subject, "1").encode()).await;
        // Its request has come as far as the upstream, so it was let in.
        let (upstream, head) = backend.request().await;
        opening.push((client, upstream, head));
    }
    assert_eq!(close(&proxy, "attribute=token.sub:alice").await, closed(0, 1008));
    let mut open = Vec::new();
    for (mut client, mut upstream, head) in opening {
        upstream.accept(&head, &[]).await;
        assert_eq!(client.read_reply().await.status, 101);
        open.push((client, upstream));
    }
    expect_closed(&mut open[0], 1008, "closed by an operator").await;
    expect_open(&mut open[1]).await;
}

#[tokio::test]
async fn who_does_not_answer_the_close_frame_is_cut_off() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "close_timeout = \"100ms\"")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    assert_eq!(close(&proxy, "route=main").await, closed(1, 1008));
    for peer in [&mut client, &mut upstream] {
        peer.expect_close(1008).await;
        peer.expect_end().await;
    }
    proxy.until("tidegate_connections_active", &[("route", "main")], 0).await;
}

#[tokio::test]
async fn the_verb_closes_what_it_is_told_and_nothing_without_being_told_what() {
    let backend = Backend::bind().await;
    let proxy = Proxy::with_workers(2, &route(&[&backend.address()], "")).await;
    let mut ends = backend.open(proxy.address, "/").await;
    let admin = proxy.admin.to_string();
    let run = |arguments: &'static str| {
        let admin = admin.clone();
        async move {
            let arguments: Vec<&str> = ["close", "--admin", &admin].into_iter().chain(arguments.split(' ')).collect();
            Finished::run(Path::new("/"), &arguments).await
        }
    };

    let planned = run("--route main --dry-run").await;
    assert_eq!((planned.code, planned.stdout.trim()), (Some(0), "would close 1 connections; code 1008"), "{planned:?}");
    for (arguments, said) in [("--dry-run", "--attribute"), ("--route third", "third"), ("--id 1 --code 1005", "code")]
    {
        let wrong = run(arguments).await;
        assert_eq!(wrong.code, Some(2), "{wrong:?}");
        assert!(wrong.stderr.contains(said), "{wrong:?}");
    }
    expect_open(&mut ends).await;
    let done = run("--route main --code 4000 --reason bye").await;
    assert_eq!((done.code, done.stdout.trim()), (Some(0), "closed 1 connections; code 4000"), "{done:?}");
    expect_closed(&mut ends, 4000, "bye").await;
}

#[tokio::test]
async fn a_crowd_is_closed_at_once_and_its_neighbour_loses_nothing() {
    let count: usize =
        std::env::var("TIDEGATE_CLOSED_CONNECTIONS").map_or(500, |count| count.parse().expect("a number"));
    let echo = Echo::start().await;
    let routes = ["crowd", "calm"]
        .map(|name| format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"back\"\n"))
        .concat();
    // One worker, so that they are neighbours.
    let proxy = Proxy::start(&format!("{}{routes}", upstream("back", &[echo.address()], ""))).await;
    let mut crowd = Vec::new();
    for _ in 0..count {
        crowd.push(proxy.open("/crowd").await);
    }
    let mut neighbour = proxy.open("/calm").await;
    let quiet = longest(&mut neighbour, async { proxy.metrics().await }).await.0;
    let closing = async {
        let answer = close(&proxy, "route=crowd").await;
        for peer in &mut crowd {
            peer.expect_close(1008).await;
            peer.send(Frame::close(1008, "")).await;
            peer.expect_end().await;
        }
        answer
    };
    let (closing_took, answer) = longest(&mut neighbour, closing).await;
    assert_eq!(answer, closed(u64::try_from(count).unwrap(), 1008));
    // Seen with --nocapture.
    let _ = writeln!(
        std::io::stdout(),
        "{count} closed; the longest that a neighbour has waited: {quiet:?} before, {closing_took:?} then"
    );
    proxy.until("tidegate_connections_active", &[("route", "crowd")], 0).await;
}

/// Has a connection say something and wait for the echo, again and again while something else goes on; the longest that took.
async fn longest<F: Future>(peer: &mut Peer, meanwhile: F) -> (Duration, F::Output) {
    let mut meanwhile = std::pin::pin!(meanwhile);
    let (mut longest, mut output) = (Duration::ZERO, None);
    while output.is_none() {
        let begun = Instant::now();
        let echo = async {
            peer.send(Frame::text("there")).await;
            peer.expect(Frame::text("there")).await;
        };
        let mut echo = std::pin::pin!(echo);
        // The echo is waited for also when the other is done.
        tokio::select! {
            () = &mut echo => {}
            done = &mut meanwhile => {
                output = Some(done);
                echo.await;
            }
        }
        longest = longest.max(begun.elapsed());
    }
    (longest, output.expect("it is done"))
}
