//! TLS with clients: what is shown to whom, who may come in, and what changes under open connections.

use std::sync::Arc;

use rustls::{HandshakeKind, ProtocolVersion};
use tidegate_tests::config::route;
use tidegate_tests::{Authority, Backend, Frame, Issued, Peer, Proxy, Request, Trust, within};

/// A route to a back end, and a listener that shows these certificates.
fn config(backend: &Backend, certificates: &[&Issued], rest: &str) -> String {
    let certificates: Vec<_> = certificates.iter().map(|issued| issued.toml()).collect();
    format!(
        "{}[[listeners]]\nlisten = \"127.0.0.1:0\"\n[listeners.tls]\ncertificates = [{}]\n{rest}\n",
        route(&[&backend.address()], ""),
        certificates.join(", ")
    )
}

async fn open(backend: &Backend, trust: &Trust, proxy: &Proxy, name: &str) -> (Peer, Peer) {
    let request = Request::upgrade("/");
    let ((client, reply), upstream) = tokio::join!(trust.handshake(proxy.address, name, &request), backend.accept());
    assert_eq!(reply.status, 101, "{reply:?}");
    (client, upstream)
}

async fn echo(client: &mut Peer, upstream: &mut Peer) {
    client.send(Frame::text("up")).await;
    upstream.expect(Frame::text("up")).await;
    upstream.send(Frame::text("down")).await;
    client.expect(Frame::text("down")).await;
}

/// Whom the server at the other end says that it is: the serial number of its certificate, which is the name of its file. It
/// follows the version (RFC 5280, §4.1), so that no other field is taken for it.
fn shown(client: &Peer) -> String {
    const VERSION_3: [u8; 5] = [0xa0, 3, 2, 1, 2];
    let certificate = client.agreed().unwrap().peer_certificates().unwrap()[0].to_vec();
    let serial = |name: &str| [&VERSION_3[..], &[2, u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
    let names = ["a", "b", "wild", "renewed"].map(|name| (name, serial(name)));
    let is_shown = |serial: &[u8]| certificate.windows(serial.len()).any(|at| at == serial);
    names.into_iter().find(|(_, serial)| is_shown(serial)).unwrap().0.to_owned()
}

#[tokio::test]
async fn messages_of_any_size_pass_over_tls_and_the_upstream_is_told_so() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let proxy = Proxy::start(&config(&backend, &[&issued], "")).await;
    let request = Request::upgrade("/");
    let trust = authority.trust();
    let accepting = async {
        let (mut upstream, head) = backend.request().await;
        assert_eq!(head.header("x-forwarded-proto"), Some("https"));
        upstream.accept(&head, &[]).await;
        upstream
    };
    let ((mut client, _), mut upstream) =
        tokio::join!(trust.handshake(proxy.address, "a.example", &request), accepting);
    for size in [0, 1, 125, 126, 16_384, 65_535, 65_536, 1 << 20, 5_000_000] {
        let frame = Frame::binary(vec![7; size]);
        let ((), came) = tokio::join!(client.send(frame.clone()), upstream.frame());
        assert!(came == frame, "{size}");
        let ((), came) = tokio::join!(upstream.send(frame.clone()), client.frame());
        assert!(came == frame, "{size}");
    }
    client.send(Frame::close(1000, "bye")).await;
    upstream.expect(Frame::close(1000, "bye")).await;
    upstream.send(Frame::close(1000, "bye")).await;
    client.expect(Frame::close(1000, "bye")).await;
    client.expect_end().await;
}

#[tokio::test]
async fn a_client_gets_the_certificate_for_the_name_that_it_asks_for_and_else_the_first() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let all = [("a", "a.example"), ("b", "b.example"), ("wild", "*.wild.example")];
    let all = all.map(|(file, name)| authority.issue(file, &[name]));
    let proxy = Proxy::start(&config(&backend, &all.each_ref(), "")).await;
    let trust = authority.trust();
    for (name, file) in [("a.example", "a"), ("B.example", "b"), ("x.wild.example", "wild")] {
        let (mut client, mut upstream) = open(&backend, &trust, &proxy, name).await;
        assert_eq!(shown(&client), file, "{name}");
        echo(&mut client, &mut upstream).await;
    }
    // A wildcard stands for one label, so this one gets the first, which is not for it.
    let error = trust.connect(proxy.address, "x.y.wild.example").await.unwrap_err().to_string();
    assert!(error.contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn sessions_are_resumed_on_any_worker_and_by_the_process_that_takes_over() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let proxy = Proxy::upgradable(&format!("workers = 2\n{}", config(&backend, &[&issued], ""))).await;
    let trust = authority.trust();
    let resumed = async |trust: &Trust| {
        let (mut client, mut upstream) = open(&backend, trust, &proxy, "a.example").await;
        echo(&mut client, &mut upstream).await;
        client.agreed().unwrap().handshake_kind().unwrap()
    };
    assert_eq!(resumed(&trust).await, HandshakeKind::Full);
    for _ in 0..8 {
        assert_eq!(resumed(&trust).await, HandshakeKind::Resumed);
    }
    proxy.upgrade().await;
    assert_eq!(resumed(&trust).await, HandshakeKind::Resumed);
}

#[tokio::test]
async fn a_version_below_the_least_is_refused_and_the_handshakes_are_counted() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let proxy = Proxy::start(&config(&backend, &[&issued], "min_version = \"1.3\"")).await;
    let trust = authority.trust();
    let (client, _upstream) = open(&backend, &trust, &proxy, "a.example").await;
    assert_eq!(client.agreed().unwrap().protocol_version(), Some(ProtocolVersion::TLSv1_3));
    let of = |outcome, version| [("outcome", outcome), ("version", version)];
    proxy.until("tidegate_tls_handshakes_total", &of("full", "1.3"), 1).await;
    // In clear text: told so, and not let in.
    let mut plain = Peer::connect(proxy.address).await;
    plain.write(Request::upgrade("/").encode()).await;
    plain.drain().await;
    proxy.until("tidegate_tls_handshakes_total", &of("failed", ""), 1).await;
    let samples = proxy.metrics().await;
    assert!(samples.value("tidegate_certificate_expiry_seconds", &[("name", "a.example")]) > 4e9);
}

#[tokio::test]
async fn clients_show_certificates_which_components_and_the_access_log_are_told_of() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let (issued, alice) = (authority.issue("a", &["a.example"]), authority.issue("alice", &["alice.example"]));
    let rest = format!("client_auth = {{ ca = {:?} }}", authority.file());
    let proxy = Proxy::start(&config(&backend, &[&issued], &rest)).await;
    let trust = authority.trust_as(&alice);
    let (client, upstream) = open(&backend, &trust, &proxy, "a.example").await;
    drop((client, upstream));
    let line = proxy.access_line().await;
    assert_eq!(line["attributes"]["tls.client-subject"], "CN=alice", "{line}");
    assert_eq!(line["attributes"]["tls.client-san"], "DNS:alice.example", "{line}");
    assert_eq!(line["attributes"]["tls.client-fingerprint"].as_str().unwrap().len(), 64, "{line}");

    // Nobody else gets in. With TLS 1.3 a client learns of it with the first that it reads.
    let others = Authority::new();
    let mallory = others.issue("mallory", &["mallory.example"]);
    for trust in [authority.trust(), authority.trust_as(&mallory)] {
        if let Ok(mut client) = trust.connect(proxy.address, "a.example").await {
            client.write_while_open(Request::upgrade("/").encode()).await;
            client.expect_end().await;
        }
    }
    proxy.until("tidegate_tls_handshakes_total", &[("outcome", "certificate_refused"), ("version", "")], 2).await;
}

#[tokio::test]
async fn who_is_revoked_neither_connects_nor_resumes() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let (issued, alice) = (authority.issue("a", &["a.example"]), authority.issue("alice", &["alice.example"]));
    let auth = format!("client_auth = {{ ca = {:?} }}", authority.file());
    let proxy = Proxy::start(&config(&backend, &[&issued], &auth)).await;
    let trust = authority.trust_as(&alice);
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let (mut client, mut upstream) = open(&backend, &trust, &proxy, "a.example").await;
        echo(&mut client, &mut upstream).await;
        assert_eq!(client.agreed().unwrap().handshake_kind(), Some(kind));
    }
    let revoked = authority.revoke(&["alice"]);
    let auth = format!("client_auth = {{ ca = {:?}, crl = {revoked:?} }}", authority.file());
    proxy.rewrite(&config(&backend, &[&issued], &auth));
    assert_eq!(proxy.reload().await.status, 200);
    if let Ok(mut client) = trust.connect(proxy.address, "a.example").await {
        client.write_while_open(Request::upgrade("/").encode()).await;
        client.expect_end().await;
    }
    proxy.until("tidegate_tls_handshakes_total", &[("outcome", "certificate_refused"), ("version", "")], 1).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on_and_a_broken_one_leaves_the_former_in_force() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let proxy = Proxy::start(&config(&backend, &[&issued], "")).await;
    let trust = || authority.trust();
    let (mut client, mut upstream) = open(&backend, &trust(), &proxy, "a.example").await;

    let broken = std::fs::read(&issued.key).unwrap();
    std::fs::write(&issued.key, authority.issue("b", &["b.example"]).key.display().to_string()).unwrap();
    proxy.wait_for_log(&["rejected", "a.key holds no private key"]).await;
    let (other, _upstream) = open(&backend, &trust(), &proxy, "a.example").await;
    assert_eq!(shown(&other), "a");
    std::fs::write(&issued.key, broken).unwrap();

    let renewed = authority.issue("renewed", &["a.example"]);
    std::fs::copy(&renewed.key, &issued.key).unwrap();
    std::fs::copy(&renewed.chain, &issued.chain).unwrap();
    within("the renewed certificate", async {
        loop {
            let (other, _upstream) = open(&backend, &trust(), &proxy, "a.example").await;
            if shown(&other) == "renewed" {
                return;
            }
        }
    })
    .await;
    echo(&mut client, &mut upstream).await;
}

#[tokio::test]
async fn check_names_the_place_of_whatever_is_wrong_with_certificates() {
    let (authority, backend) = (Arc::new(Authority::new()), Backend::bind().await);
    let (one, other) = (authority.issue("one", &["one.example"]), authority.issue("other", &["other.example"]));
    let old = authority.issue_until("old", &["old.example"], 2020);
    let proxy = Proxy::start(&config(&backend, &[&one], "")).await;
    let absent = "{ chain = \"absent.pem\", key = \"absent.key\" }".to_owned();
    let mixed = format!("{{ chain = {:?}, key = {:?} }}", one.chain, other.key);
    let swapped = format!("{{ chain = {:?}, key = {:?} }}", one.key, one.chain);
    for (certificate, complaint) in [
        (absent, "absent.pem: No such file"),
        (mixed, "holds a key that does not fit the first certificate"),
        (swapped, "holds no certificate"),
    ] {
        let text = config(&backend, &[], "").replace("certificates = []", &format!("certificates = [{certificate}]"));
        proxy.rewrite(&text);
        let reply = proxy.reload().await;
        assert_eq!(reply.status, 422, "{reply:?}");
        assert!(reply.body.contains(complaint), "{complaint}: {}", reply.body);
        assert!(reply.body.contains("listeners[0].tls.certificates[0]."), "{}", reply.body);
    }
    proxy.rewrite(&config(&backend, &[&old], ""));
    assert_eq!(proxy.reload().await.status, 200);
    proxy.wait_for_log(&["has expired", "old.example"]).await;
}

#[tokio::test]
async fn a_client_that_falls_silent_within_its_tls_handshake_is_cut_off_in_time() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let text =
        config(&backend, &[&issued], "").replace("[listeners.tls]", "handshake_timeout = \"300ms\"\n[listeners.tls]");
    let proxy = Proxy::start(&text).await;
    // Nothing, the beginning of a record, and one whose message is longer than it.
    for (count, said) in [&b""[..], &[22, 3], &[22, 3, 1, 0, 6, 1, 0, 1, 0, 3, 3]].into_iter().enumerate() {
        let mut client = Peer::connect(proxy.address).await;
        client.write(said).await;
        client.drain().await;
        let timed_out = [("outcome", "client_timeout"), ("version", "")];
        proxy.until("tidegate_tls_handshakes_total", &timed_out, count as u64 + 1).await;
    }
    // Nor does the head of a request have longer, whatever the TLS handshake took.
    let mut client = authority.trust().connect(proxy.address, "a.example").await.unwrap();
    client.write("GET / HTTP/1.1\r\n").await;
    assert_eq!(client.read_reply().await.status, 408);
}

#[tokio::test]
async fn pages_of_the_same_origin_and_of_names_below_a_host_may_connect_and_no_others() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let text = config(&backend, &[&issued], "");
    let origins = "upstream = \"back\"\nallowed_origins = [\"same-origin\", \"https://*.pages.example\"]";
    let proxy = Proxy::start(&text.replace("upstream = \"back\"", origins)).await;
    let trust = authority.trust();
    let request = |origin: &str| Request::upgrade("/").replacing("Host", "a.example").with("Origin", origin);
    for origin in ["https://a.example", "https://x.pages.example"] {
        let request = request(origin);
        let ((_client, reply), _upstream) =
            tokio::join!(trust.handshake(proxy.address, "a.example", &request), backend.accept());
        assert_eq!(reply.status, 101, "{origin}");
    }
    for origin in ["http://a.example", "https://a.example:8443", "https://pages.example", "null"] {
        let (_client, reply) = trust.handshake(proxy.address, "a.example", &request(origin)).await;
        assert_eq!(reply.status, 403, "{origin}");
    }
}
