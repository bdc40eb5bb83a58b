//! Certificates that renew themselves, from pebble: a real authority, which validates by real handshakes and requests.
//! `tests/acme/run` has it, and runs these.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_tests::config::route;
use tidegate_tests::{Authority, Backend, Finished, Frame, Peer, Proxy, Request, Signal, Trust, within};
use tokio::process::{Child, Command};

/// An authority, the names that it finds on this machine, and where it validates them.
struct Pebble {
    _authority: Child,
    _names: Child,
    /// Who has issued the certificate of its API.
    own: Authority,
    directory: SocketAddr,
    management: SocketAddr,
    tls: u16,
    http: u16,
    state: TempDir,
}

impl Pebble {
    /// One that issues certificates for so many seconds.
    async fn issuing_for(seconds: u32) -> Self {
        let own = Authority::new();
        let issued = own.issue("pebble", &["localhost", "127.0.0.1"]);
        let [directory, management, tls, http, names, names_management] = std::array::from_fn(|_| free_port());
        let state = tempfile::tempdir().unwrap();
        let config = serde_json::json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{directory}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": issued.chain, "privateKey": issued.key,
            "httpPort": http, "tlsPort": tls, "certificateValidityPeriod": seconds,
            "domainBlocklist": ["blocked.example"],
        }});
        let path = state.path().join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let run = |program: &str| {
            let mut command = Command::new(std::env::var(program).unwrap_or_else(|_| panic!("{program} is not set")));
            command.stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
            command
        };
        let names_at = format!("127.0.0.1:{names}");
        let names = run("CHALLTESTSRV")
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", &names_at])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", ""])
            .args(["-management", &format!("127.0.0.1:{names_management}")])
            .spawn()
            .unwrap();
        let authority = run("PEBBLE")
            .args(["-strict", "-dnsserver", &names_at, "-config"])
            .arg(path)
            .env("PEBBLE_VA_NOSLEEP", "1")
            .env("PEBBLE_AUTHZREUSE", "0")
            .spawn()
            .unwrap();
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let pebble = Self {
            _authority: authority,
            _names: names,
            own,
            directory: at(directory),
            management: at(management),
            tls,
            http,
            state,
        };
        within("pebble", async { while pebble.own.trust().connect(pebble.management, "localhost").await.is_err() {} })
            .await;
        pebble
    }

    /// `acme = { … }` for these domains.
    fn acme(&self, domains: &str) -> String {
        format!(
            "acme = {{ domains = {domains}, contact = \"mailto:ops@chat.example\", server = \"https://localhost:{}/dir\", \
             server_ca = {:?}, directory = {:?}, accept_terms = true }}",
            self.directory.port(),
            self.own.file(),
            self.kept()
        )
    }

    /// A listener that is validated over TLS.
    fn listener(&self, port: u16) -> String {
        self.listener_for("[\"chat.example\", \"other.example\"]", port)
    }

    fn listener_for(&self, domains: &str, port: u16) -> String {
        let acme = self.acme(domains);
        format!("[[listeners]]\nlisten = \"127.0.0.1:{port}\"\n[listeners.tls]\n{acme}\n")
    }

    fn kept(&self) -> std::path::PathBuf {
        self.state.path().join("kept")
    }

    /// A client that believes what it issues.
    async fn trust(&self) -> Trust {
        let request = Request::new("GET", "/roots/0").replacing("Host", "localhost");
        let (_, reply) = self.own.trust().handshake(self.management, "localhost", &request).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        Trust::of(&reply.body)
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

const ORDERS: &str = "tidegate_acme_orders_total";
const ISSUED: [(&str, &str); 2] = [("name", "chat.example"), ("outcome", "issued")];
const FAILED: [(&str, &str); 2] = [("name", "chat.example"), ("outcome", "failed")];

async fn orders(proxy: &Proxy) -> u64 {
    proxy.metrics().await.count(ORDERS, &ISSUED)
}

/// Waits until so many orders have ended so: an order takes seconds, a renewal its time, and one that has failed a minute.
async fn ordered(proxy: &Proxy, labels: &[(&str, &str)], count: u64) {
    let counted = async { while proxy.metrics().await.count(ORDERS, labels) < count {} };
    tokio::time::timeout(Duration::from_secs(150), counted)
        .await
        .unwrap_or_else(|_| panic!("no {labels:?}: {:?}", proxy.log()));
}

/// Opens a WebSocket over TLS; who connects believes the authority.
async fn open(proxy: &Proxy, trust: &Trust, name: &str, backend: &Backend) -> (Peer, Peer) {
    let client = async {
        let (client, reply) = trust.handshake(proxy.address, name, &Request::upgrade("/")).await;
        assert_eq!(reply.status, 101, "{reply:?}");
        client
    };
    tokio::join!(client, backend.accept())
}

fn serial(client: &Peer) -> Vec<u8> {
    client.agreed().unwrap().peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test]
#[ignore = "needs pebble: tests/acme/run"]
async fn a_certificate_is_ordered_validated_over_tls_and_kept_for_the_next_process() {
    let (pebble, backend) = (Pebble::issuing_for(3600).await, Backend::bind().await);
    let text = route(&[&backend.address()], "") + &pebble.listener(pebble.tls);
    let mut proxy = Proxy::with_workers(2, &text).await;
    ordered(&proxy, &ISSUED, 1).await;
    let trust = pebble.trust().await;
    for name in ["chat.example", "other.example"] {
        let (mut client, mut upstream) = open(&proxy, &trust, name, &backend).await;
        client.send(Frame::text("over TLS")).await;
        upstream.expect(Frame::text("over TLS")).await;
    }
    let samples = proxy.metrics().await;
    let address = format!("127.0.0.1:{}", pebble.tls);
    let ends =
        samples.count("tidegate_certificate_expiry_seconds", &[("listener", &address), ("name", "chat.example")]);
    assert!(ends > 1_700_000_000, "{ends}");
    let asked = [("listener", &*address), ("outcome", "acme_challenge"), ("version", "1.3")];
    assert!(samples.count("tidegate_tls_handshakes_total", &asked) >= 2);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in ["accounts", "certificates", "challenges"] {
        let folder = pebble.kept().join(folder);
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for file in std::fs::read_dir(&folder).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }
    assert_eq!(std::fs::read_dir(pebble.kept().join("challenges")).unwrap().count(), 0);
    let known = serial(&trust.connect(proxy.address, "chat.example").await.unwrap());
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code().await, Some(0));

    let proxy = Proxy::start(&text).await;
    let client = trust.connect(proxy.address, "chat.example").await.unwrap();
    assert_eq!((serial(&client), orders(&proxy).await), (known, 0));
}

#[tokio::test]
#[ignore = "needs pebble: tests/acme/run"]
async fn where_clients_have_to_show_certificates_it_is_validated_in_clear_text_beside_a_redirect() {
    let (pebble, backend) = (Pebble::issuing_for(3600).await, Backend::bind().await);
    let text = format!(
        "{}[[listeners]]\nlisten = \"127.0.0.1:{}\"\n[listeners.tls]\n{}\nclient_auth = {{ ca = {:?} }}\n\
         [[listeners]]\nlisten = \"127.0.0.1:{}\"\nredirect = \"https\"\n",
        route(&[&backend.address()], ""),
        free_port(),
        pebble.acme("[\"chat.example\"]"),
        pebble.own.file(),
        pebble.http
    );
    let proxy = Proxy::start(&text).await;
    ordered(&proxy, &ISSUED, 1).await;
    proxy.wait_for_access(|line| line["outcome"] == "acme_challenge" && line["status"] == 200).await;
    // Any other request there is sent on, one for a challenge that nobody knows, too.
    let plain = SocketAddr::from(([127, 0, 0, 1], pebble.http));
    let request = Request::new("GET", "/.well-known/acme-challenge/unknown");
    assert_eq!(Peer::connect(plain).await.exchange(&request).await.status, 308);
}

#[tokio::test]
#[ignore = "needs pebble: tests/acme/run"]
async fn a_certificate_is_renewed_in_time_without_touching_open_connections() {
    let (pebble, backend) = (Pebble::issuing_for(15).await, Backend::bind().await);
    let proxy = Proxy::start(&(route(&[&backend.address()], "") + &pebble.listener(pebble.tls))).await;
    ordered(&proxy, &ISSUED, 1).await;
    let trust = pebble.trust().await;
    let (mut client, mut upstream) = open(&proxy, &trust, "chat.example", &backend).await;
    let first = serial(&client);
    ordered(&proxy, &ISSUED, 2).await;
    // Who resumes a session knows the certificate that it began with.
    let second = serial(&pebble.trust().await.connect(proxy.address, "chat.example").await.unwrap());
    assert_ne!(first, second);
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

#[tokio::test]
#[ignore = "needs pebble: tests/acme/run"]
async fn of_two_processes_one_orders_and_both_answer_and_show_what_it_has_got() {
    let (pebble, backend) = (Pebble::issuing_for(30).await, Backend::bind().await);
    let text = |port| route(&[&backend.address()], "") + &pebble.listener(port);
    // The authority comes to the second, and the first orders: it has begun to before the second is there.
    let first = Proxy::start(&text(free_port())).await;
    let second = Proxy::start(&text(pebble.tls)).await;
    let trust = pebble.trust().await;
    for proxy in [&first, &second] {
        ordered(&first, &ISSUED, 1).await;
        within("a certificate", async { while trust.connect(proxy.address, "chat.example").await.is_err() {} }).await;
    }
    assert_eq!((orders(&first).await, orders(&second).await), (1, 0));
    let asked = [("outcome", "acme_challenge"), ("version", "1.3")];
    assert!(second.metrics().await.count("tidegate_tls_handshakes_total", &asked) >= 2);
    // Whoever is left goes on.
    drop(first);
    ordered(&second, &ISSUED, 1).await;
}

#[tokio::test]
#[ignore = "needs pebble: tests/acme/run"]
async fn an_authority_that_is_gone_leaves_what_there_is_and_is_told_of() {
    let (mut pebble, backend) = (Pebble::issuing_for(20).await, Backend::bind().await);
    let proxy = Proxy::start(&(route(&[&backend.address()], "") + &pebble.listener(pebble.tls))).await;
    ordered(&proxy, &ISSUED, 1).await;
    let trust = pebble.trust().await;
    pebble._authority.kill().await.unwrap();
    ordered(&proxy, &FAILED, 1).await;
    trust.connect(proxy.address, "chat.example").await.unwrap();
    let ready = proxy.admin("GET", "/readyz").await;
    assert_eq!(ready.status, 200);
    assert!(
        ready.body.contains("the certificate for chat.example") && ready.body.contains("was not renewed"),
        "{ready:?}"
    );
    let line = proxy.wait_for_log(&["was not renewed", "chat.example"]).await;
    assert_eq!(line["level"], "WARN", "{line}");
}

#[tokio::test]
#[ignore = "needs pebble: tests/acme/run"]
async fn a_name_that_is_added_takes_nothing_from_the_others_until_there_is_a_certificate_for_all() {
    let (pebble, backend) = (Pebble::issuing_for(3600).await, Backend::bind().await);
    let text = |domains, port| route(&[&backend.address()], "") + &pebble.listener_for(domains, port);
    let proxy = Proxy::start(&text("[\"chat.example\"]", pebble.tls)).await;
    ordered(&proxy, &ISSUED, 1).await;
    let trust = pebble.trust().await;
    let first = serial(&trust.connect(proxy.address, "chat.example").await.unwrap());
    proxy.rewrite(&text("[\"chat.example\", \"blocked.example\"]", pebble.tls));
    assert_eq!(proxy.reload().await.status, 200);
    ordered(&proxy, &FAILED, 1).await;
    assert_eq!(serial(&trust.connect(proxy.address, "chat.example").await.unwrap()), first);
    let ready = proxy.admin("GET", "/readyz").await;
    assert!(ready.body.contains("one of before is shown"), "{ready:?}");

    proxy.rewrite(&text("[\"chat.example\", \"other.example\"]", pebble.tls));
    assert_eq!(proxy.reload().await.status, 200);
    ordered(&proxy, &ISSUED, 2).await;
    let trust = pebble.trust().await;
    let second = serial(&trust.connect(proxy.address, "other.example").await.unwrap());
    assert_ne!(first, second);
    assert_eq!(serial(&trust.connect(proxy.address, "chat.example").await.unwrap()), second);
}

#[tokio::test]
#[ignore = "needs pebble: tests/acme/run"]
async fn a_check_orders_nothing() {
    let (pebble, backend) = (Pebble::issuing_for(3600).await, Backend::bind().await);
    let directory = tempfile::tempdir().unwrap();
    let text = route(&[&backend.address()], "") + &pebble.listener(pebble.tls);
    std::fs::write(directory.path().join("tidegate.toml"), text).unwrap();
    let finished = Finished::run(directory.path(), &["check", "--config", "tidegate.toml"]).await;
    assert_eq!(finished.code, Some(0), "{}", finished.text());
    assert!(!pebble.kept().exists());
}

#[tokio::test]
#[ignore = "needs pebble: tests/acme/run"]
async fn who_has_no_certificate_yet_refuses_handshakes_and_says_why() {
    let (pebble, backend) = (Pebble::issuing_for(3600).await, Backend::bind().await);
    // Where the authority comes to, nobody listens.
    let proxy = Proxy::start(&(route(&[&backend.address()], "") + &pebble.listener(free_port()))).await;
    ordered(&proxy, &FAILED, 1).await;
    assert!(pebble.trust().await.connect(proxy.address, "chat.example").await.is_err());
    let ready = proxy.admin("GET", "/readyz").await;
    assert!(ready.body.contains("there is no certificate for chat.example"), "{ready:?}");
    assert!(ready.body.contains("was not validated"), "{ready:?}");
}
