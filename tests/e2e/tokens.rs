//! Tokens: who comes in by which, where they stand, and how long they hold.

use std::time::Duration;

use serde_json::json;
use tidegate_tests::config::{guest, route};
use tidegate_tests::{Authority, Backend, Frame, Issuer, Peer, Proxy, Request, Signer, key_set};

const FROM: &str = "\"header:authorization\", \"query:token\", \"cookie:session\", \"subprotocol:bearer\"";

/// A route that asks for a token of this issuer; `rest` goes on describing it.
fn config(address: &str, jwks: &str, rest: &str) -> String {
    let route = route(&[address], &format!("token = {{ name = \"users\", from = [{FROM}] }}\n{rest}"));
    format!(
        "{route}\n[tokens.users]\nissuer = \"tests\"\naudience = \"chat\"\njwks = \"{jwks}\"\nclaims = [\"role\"]\nleeway = 0\n"
    )
}

async fn start(rest: &str) -> (Proxy, Backend, Signer, Issuer) {
    let (backend, signer) = (Backend::bind().await, Signer::new("one"));
    let issuer = Issuer::start(&[&signer]).await;
    let proxy = Proxy::start(&config(&backend.address(), &issuer.url(), rest)).await;
    (proxy, backend, signer, issuer)
}

fn bearing(token: &str) -> Request {
    Request::upgrade("/").with("Authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn a_token_lets_in_from_wherever_it_may_stand_and_is_seen_by_nobody_else() {
    let (proxy, backend, signer, _issuer) = start("").await;
    let token = signer.token(&json!({ "role": "admin" }));
    for (request, target, protocols) in [
        (bearing(&token), "/", None),
        (Request::upgrade(&format!("/ws?a=1&token={token}&b")), "/ws?a=1&b", None),
        (Request::upgrade(&format!("/ws?token={token}")), "/ws", None),
        (Request::upgrade("/").with("Cookie", &format!("a=b; session={token}")), "/", None),
        (Request::upgrade("/").with("Sec-WebSocket-Protocol", &format!("chat, bearer, {token}")), "/", Some("chat")),
        (
            Request::upgrade("/").with("Sec-WebSocket-Protocol", &format!("bearer.{token}, chat, v2")),
            "/",
            Some("chat, v2"),
        ),
    ] {
        let accepting = async {
            let (mut upstream, head) = backend.request().await;
            let chosen = protocols.map(|_| "Sec-WebSocket-Protocol: chat");
            upstream.accept(&head, chosen.as_slice()).await;
            (upstream, head)
        };
        let ((_client, reply), (_upstream, head)) = tokio::join!(Peer::handshake(proxy.address, &request), accepting);
        assert_eq!((reply.status, head.target()), (101, target), "{request:?}");
        assert_eq!(head.header("sec-websocket-protocol"), protocols);
        assert_eq!(reply.header("sec-websocket-protocol"), protocols.map_or("", |_| "chat"));
    }
    for line in proxy.access_lines(6).await {
        assert_eq!(line["attributes"], json!({ "token.sub": "alice", "token.role": "admin" }), "{line}");
        assert!(!line.to_string().contains(&token), "{line}");
    }
    let signature = token.rsplit('.').next().unwrap();
    assert!(!proxy.log().iter().any(|line| line.to_string().contains(signature)));
}

#[tokio::test]
async fn a_browser_that_offers_nothing_but_a_token_is_answered_what_it_offered() {
    let (proxy, backend, signer, _issuer) = start("").await;
    let token = signer.token(&json!({}));
    for (offer, answer) in
        [(format!("bearer, {token}"), "bearer".to_owned()), (format!("bearer.{token}"), format!("bearer.{token}"))]
    {
        let request = Request::upgrade("/").with("Sec-WebSocket-Protocol", &offer);
        let accepting = async {
            let (mut upstream, head) = backend.request().await;
            assert_eq!(head.header("sec-websocket-protocol"), None);
            upstream.accept(&head, &[]).await;
            upstream
        };
        let ((_client, reply), _upstream) = tokio::join!(Peer::handshake(proxy.address, &request), accepting);
        assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (101, answer.as_str()));
    }
}

#[tokio::test]
async fn who_has_no_token_that_holds_is_told_why_and_counted() {
    let (proxy, _backend, signer, _issuer) = start("").await;
    let stranger = Signer::new("one");
    for (request, status, challenge) in [
        (Request::upgrade("/"), 401, "Bearer"),
        (
            bearing("nonsense"),
            401,
            "Bearer error=\"invalid_token\", error_description=\"the token is no signed JSON Web Token\"",
        ),
        (
            bearing(&stranger.token(&json!({}))),
            401,
            "Bearer error=\"invalid_token\", error_description=\"the signature of the token is wrong\"",
        ),
        (
            bearing(&signer.token(&json!({ "aud": "other" }))),
            401,
            "Bearer error=\"invalid_token\", error_description=\"the token is for another audience\"",
        ),
        (
            bearing(&signer.token(&json!({ "exp": 1 }))),
            401,
            "Bearer error=\"invalid_token\", error_description=\"the token has expired\"",
        ),
    ] {
        let reply = proxy.answer(&request).await;
        assert_eq!((reply.status, reply.header("www-authenticate")), (status, challenge), "{request:?}");
    }
    proxy.until("tidegate_handshakes_total", &[("route", "main"), ("outcome", "token_refused")], 5).await;
}

#[tokio::test]
async fn a_second_token_that_the_upstream_could_take_for_the_first_is_refused() {
    let (proxy, _backend, signer, _issuer) = start("").await;
    let (own, forged) = (signer.token(&json!({})), Signer::new("one").token(&json!({ "sub": "admin" })));
    let cookie = |token: &str| format!("session={token}");
    for request in [
        bearing(&own).with("Authorization", &format!("Bearer {forged}")),
        bearing(&own).with("Cookie", &cookie(&forged)),
        Request::upgrade("/").with("Cookie", &format!("{}; {}", cookie(&own), cookie(&forged))),
        Request::upgrade("/").with("Sec-WebSocket-Protocol", &format!("bearer, {own}, bearer.{forged}")),
    ] {
        let reply = proxy.answer(&request).await;
        assert_eq!(reply.status, 400, "{request:?}");
        assert!(reply.header("www-authenticate").contains("error=\"invalid_request\""), "{reply:?}");
    }
    proxy.until("tidegate_handshakes_total", &[("route", "main"), ("outcome", "token_refused")], 4).await;
}

#[tokio::test]
async fn a_claim_that_is_required_is_asked_for_with_403() {
    let (backend, signer) = (Backend::bind().await, Signer::new("one"));
    let issuer = Issuer::start(&[&signer]).await;
    let text = config(&backend.address(), &issuer.url(), "") + "required_claims = { role = [\"admin\", \"owner\"] }\n";
    let proxy = Proxy::start(&text).await;
    let reply = proxy.answer(&bearing(&signer.token(&json!({ "role": "guest" })))).await;
    assert_eq!(reply.status, 403);
    assert!(reply.header("www-authenticate").contains("insufficient_scope"), "{reply:?}");
    backend.open_with(proxy.address, &bearing(&signer.token(&json!({ "role": ["guest", "owner"] }))), &[]).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_token_unless_a_fresh_one_for_the_same_subject_is_handed_in() {
    let filters = "filters = [\"ringer\"]\n";
    let (backend, signer) = (Backend::bind().await, Signer::new("one"));
    let issuer = Issuer::start(&[&signer]).await;
    let text = format!("{}{}", config(&backend.address(), &issuer.url(), filters), guest("ringer"));
    let proxy = Proxy::start(&text).await;
    let short = signer.token_for(Duration::from_secs(2), &json!({}));
    let (mut client, mut upstream) = backend.open_with(proxy.address, &bearing(&short), &[]).await;
    let (mut other, _other_upstream) = backend.open_with(proxy.address, &bearing(&short), &[]).await;
    let bob = signer.token(&json!({ "sub": "bob" }));
    for (token, answer) in [
        (bob.as_str(), "the token is for another subject"),
        ("nonsense", "the token is no signed JSON Web Token"),
        (signer.token(&json!({})).as_str(), ""),
    ] {
        client.send(Frame::text(format!("token {token}"))).await;
        client.expect(Frame::text(answer)).await;
    }
    assert_eq!(other.expect_close(1008).await, "the token has expired");
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

#[tokio::test]
async fn keys_of_the_issuer_are_not_asked_for_again_so_soon_and_stay_when_they_cannot_be_had() {
    let (proxy, backend, signer, issuer) = start("").await;
    backend.open_with(proxy.address, &bearing(&signer.token(&json!({}))), &[]).await;
    let fresh = Signer::new("two");
    // Not asked for again so soon, and so not known.
    assert_eq!(proxy.answer(&bearing(&fresh.token(&json!({})))).await.status, 401);
    assert_eq!(issuer.asked(), 1);
    issuer.publish(&[]);
    backend.open_with(proxy.address, &bearing(&signer.token(&json!({}))), &[]).await;
}

#[tokio::test]
async fn without_the_keys_of_the_issuer_nobody_is_refused_for_good() {
    let (backend, signer) = (Backend::bind().await, Signer::new("one"));
    let issuer = Issuer::start(&[&signer]).await;
    issuer.publish(&[]);
    let proxy = Proxy::start(&config(&backend.address(), &issuer.url(), "")).await;
    issuer.until_asked(1).await;
    proxy.wait_for_log(&["cannot be fetched", "500"]).await;
    assert_eq!(proxy.answer(&bearing(&signer.token(&json!({})))).await.status, 503);
    proxy.until("tidegate_handshakes_total", &[("route", "main"), ("outcome", "issuer_failed")], 1).await;
}

#[tokio::test]
async fn a_key_that_is_new_is_fetched_for_who_comes_with_it() {
    let (proxy, backend, signer, issuer) = start("").await;
    let fresh = Signer::new("two");
    issuer.until_asked(1).await;
    issuer.publish(&[&signer, &fresh]);
    let request = bearing(&fresh.token(&json!({})));
    // The issuer is asked every ten seconds at most.
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    while issuer.asked() < 2 {
        ticks.tick().await;
        let accepting = async { backend.accept().await };
        tokio::select! {
            (_client, reply) = Peer::handshake(proxy.address, &request) => assert_eq!(reply.status, 401),
            _upstream = accepting => {}
        }
    }
    backend.open_with(proxy.address, &request, &[]).await;
    assert_eq!(issuer.asked(), 2);
}

#[tokio::test]
async fn keys_of_all_kinds_are_fetched_over_tls_from_whom_the_system_believes() {
    let (backend, authority, other) = (Backend::bind().await, Authority::new(), Authority::new());
    let signers = [Signer::new("es"), Signer::rsa("rs"), Signer::ed25519("ed")];
    let issuer = Issuer::secured(&signers.each_ref(), &authority.issue("issuer", &["127.0.0.1"])).await;
    let text = config(&backend.address(), &issuer.url(), "");
    let proxy = Proxy::believing(&authority.file(), &text).await;
    for signer in &signers {
        backend.open_with(proxy.address, &bearing(&signer.token(&json!({}))), &[]).await;
    }
    assert_eq!(issuer.asked(), 1);

    let proxy = Proxy::believing(&other.file(), &text).await;
    proxy.wait_for_log(&["cannot be fetched", "UnknownIssuer"]).await;
    assert_eq!(proxy.answer(&bearing(&signers[0].token(&json!({})))).await.status, 503);
}

#[tokio::test]
async fn a_shared_secret_verifies_only_what_is_signed_by_it() {
    let (backend, published) = (Backend::bind().await, Signer::new("one"));
    let directory = tempfile::tempdir().unwrap();
    let (secret, keys) = (directory.path().join("secret"), directory.path().join("jwks.json"));
    std::fs::write(&secret, [b's'; 32]).unwrap();
    std::fs::write(&keys, key_set(&[&published])).unwrap();
    let rest = format!("algorithms = [\"HS256\", \"ES256\"]\nsecret = {{ secret = {{ file = {secret:?} }} }}\n");
    let text = config(&backend.address(), keys.to_str().unwrap(), "") + &rest;
    let proxy = Proxy::start(&text).await;
    for signer in [&Signer::shared(&[b's'; 32]), &published] {
        backend.open_with(proxy.address, &bearing(&signer.token(&json!({}))), &[]).await;
    }
    // Nor is a key that everybody knows a secret.
    for guessed in [&[b't'; 32][..], key_set(&[&published]).as_bytes(), b""] {
        let reply = proxy.answer(&bearing(&Signer::shared(guessed).token(&json!({})))).await;
        assert!(reply.header("www-authenticate").contains("the signature of the token is wrong"), "{reply:?}");
    }
    assert!(!proxy.log().iter().any(|line| line.to_string().contains("ssss")));
}

#[tokio::test]
async fn keys_in_a_file_change_with_it() {
    let (backend, signer, fresh) = (Backend::bind().await, Signer::new("one"), Signer::new("two"));
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, key_set(&[&signer])).unwrap();
    let text = format!("watch = false\n{}", config(&backend.address(), path.to_str().unwrap(), ""));
    let proxy = Proxy::start(&text).await;
    backend.open_with(proxy.address, &bearing(&signer.token(&json!({}))), &[]).await;
    assert_eq!(proxy.answer(&bearing(&fresh.token(&json!({})))).await.status, 401);
    std::fs::write(&path, key_set(&[&fresh])).unwrap();
    let reply = proxy.reload().await;
    assert!(reply.status == 200 && reply.body.contains("tokens users"), "{reply:?}");
    backend.open_with(proxy.address, &bearing(&fresh.token(&json!({}))), &[]).await;
    assert_eq!(proxy.answer(&bearing(&signer.token(&json!({})))).await.status, 401);
}

#[tokio::test]
async fn a_filter_that_makes_up_what_only_the_runtime_says_fails() {
    let script = "filters = [{ component = \"script\", config = { attributes = [[\"token.sub\", \"root\"]] } }]\n";
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&format!("{}\n{}", route(&[&backend.address()], script), guest("script"))).await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    let labels = [("component", "script"), ("reason", "invalid_answer")];
    proxy.until("tidegate_component_failures_total", &labels, 1).await;

    let ringer = format!("{}\n{}", route(&[&backend.address()], "filters = [\"ringer\"]\n"), guest("ringer"));
    let proxy = Proxy::start(&ringer).await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("attribute tls.client-subject root")).await;
    client.expect_close(1011).await;
    let labels = [("component", "ringer"), ("reason", "invalid_answer")];
    proxy.until("tidegate_component_failures_total", &labels, 1).await;
}

#[tokio::test]
async fn the_standard_filter_hands_a_fresh_token_on_and_nothing_else() {
    let filter = "filters = [{ component = \"renew-token\", config = { pointer = \"/token\" } }]\n";
    let (proxy, backend, signer, _issuer) = start(filter).await;
    let short = signer.token_for(Duration::from_secs(2), &json!({}));
    let (mut client, mut upstream) = backend.open_with(proxy.address, &bearing(&short), &[]).await;
    let (mut other, _other_upstream) = backend.open_with(proxy.address, &bearing(&short), &[]).await;
    let fresh = signer.token(&json!({}));
    client.send(Frame::text("{ \"say\": \"hello\" }")).await;
    client.send(Frame::text(json!({ "token": signer.token(&json!({ "sub": "bob" })) }).to_string())).await;
    client.send(Frame::text(json!({ "token": fresh }).to_string())).await;
    upstream.expect(Frame::text("{ \"say\": \"hello\" }")).await;
    assert_eq!(other.expect_close(1008).await, "the token has expired");
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
    proxy.wait_for_log(&["a token is not taken: the token is for another subject"]).await;
    assert!(!proxy.log().iter().any(|line| line.to_string().contains(fresh.rsplit('.').next().unwrap())));
}
