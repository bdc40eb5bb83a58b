//! The Domain Name System: dnsmasq, a real name server.

use std::fmt::Write as _;

use tempfile::TempDir;
use tidegate_tests::{Echo, Proxy, Signal};
use tokio::process::Child;

use super::{Clients, UP, free_port, kill, opened, problem, route, run, until_up, until_used};

/// A name server of its own.
struct Dnsmasq {
    port: u16,
    data: TempDir,
    child: Option<Child>,
}

impl Dnsmasq {
    /// One that knows these records, each an argument of dnsmasq, beside those of its hosts file.
    fn start(hosts: &[&str], records: &[String]) -> Self {
        let mut dnsmasq = Self { port: free_port(), data: tempfile::tempdir().unwrap(), child: None };
        dnsmasq.know(hosts);
        dnsmasq.begin(records);
        dnsmasq
    }

    fn begin(&mut self, records: &[String]) {
        let own = [
            "--keep-in-foreground".to_owned(),
            "--conf-file=/dev/null".to_owned(),
            "--no-resolv".to_owned(),
            "--no-hosts".to_owned(),
            "--no-negcache".to_owned(),
            "--local=/test/".to_owned(),
            "--local-ttl=1".to_owned(),
            "--user=root".to_owned(),
            "--listen-address=127.0.0.1".to_owned(),
            "--bind-interfaces".to_owned(),
            "--pid-file".to_owned(),
            format!("--port={}", self.port),
            format!("--addn-hosts={}", self.data.path().join("hosts").display()),
        ];
        self.child = Some(run("DNSMASQ", &[&own[..], records].concat()));
    }

    /// Has it know these addresses of `chat.test`.
    fn know(&self, hosts: &[&str]) {
        let mut text = String::new();
        hosts.iter().for_each(|address| writeln!(text, "{address} chat.test").unwrap());
        std::fs::write(self.data.path().join("hosts"), text).unwrap();
        if let Some(child) = &self.child {
            Proxy::signal_to(child.id().unwrap(), Signal::HUP);
        }
    }

    async fn kill(&mut self) {
        kill(self.child.take().unwrap()).await;
    }
}

/// The port of an echo.
fn port(echo: &Echo) -> String {
    echo.address().rsplit_once(':').unwrap().1.to_owned()
}

#[tokio::test]
#[ignore = "needs dnsmasq: tests/discovery/run"]
async fn endpoints_follow_the_addresses_of_a_name_and_outlive_a_name_server_that_is_killed() {
    // At each address of this machine but `::1`.
    let a = Echo::named_at("0.0.0.0:0", "A").await;
    let port = port(&a);
    let mut dnsmasq = Dnsmasq::start(&["127.0.0.1", "127.0.0.2", "::1"], &[]);
    let discover = format!("dns = \"chat.test:{port}\", resolver = \"127.0.0.1:{}\"", dnsmasq.port);
    let proxy = Proxy::start(&route(&discover)).await;
    let urls = |hosts: &[&str]| hosts.iter().map(|host| format!("ws://{host}:{port}")).collect::<Vec<_>>();
    until_used(&proxy, urls(&["127.0.0.1", "127.0.0.2", "[::1]"]), "DNS, at the start").await;
    let mut clients = Clients::open(&proxy, 3).await;
    dnsmasq.know(&["127.0.0.1"]);
    until_used(&proxy, urls(&["127.0.0.1"]), "DNS, after a change, with a TTL of 1 s").await;
    for _ in 0..2 {
        dnsmasq.kill().await;
        proxy.until(UP, &[], 0).await;
        assert_eq!(opened(&proxy).await.0, "A");
        dnsmasq.begin(&[]);
        until_up(&proxy, "DNS").await;
    }
    // A name that is gone is not believed at once.
    dnsmasq.know(&[]);
    proxy.until("tidegate_discovery_endpoints", &[], 0).await;
    assert_eq!((opened(&proxy).await.0.as_str(), problem(&proxy).await.as_str()), ("A", ""));
    clients.are_served_by("A").await;
}

#[tokio::test]
#[ignore = "needs dnsmasq: tests/discovery/run"]
async fn services_have_their_ports_and_weights_and_a_later_priority_gets_what_the_first_cannot_take() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let service = |target: &str, port: &str, priority: u8, weight: u8| {
        format!("--srv-host=_ws._tcp.chat.test,{target},{port},{priority},{weight}")
    };
    let refused = free_port().to_string();
    let records = [
        service("one.test", &port(&a), 1, 50),
        service("two.test", &port(&a), 1, 0),
        service("two.test", &port(&b), 2, 9),
        "--host-record=one.test,127.0.0.1".to_owned(),
        "--host-record=two.test,127.0.0.2,127.0.0.1".to_owned(),
    ];
    let mut dnsmasq = Dnsmasq::start(&[], &records);
    let discover = format!("dns = \"_ws._tcp.chat.test\", type = \"srv\", resolver = \"127.0.0.1:{}\"", dnsmasq.port);
    let proxy = Proxy::start(&route(&discover)).await;
    let url = |host: &str, port: &str| format!("ws://127.0.0.{host}:{port}");
    let expected = vec![url("1", &port(&a)), url("1", &port(&b))];
    until_used(&proxy, expected, "DNS, services").await;
    for _ in 0..4 {
        assert_eq!(opened(&proxy).await.0, "A");
    }
    dnsmasq.kill().await;
    dnsmasq.begin(&[
        service("one.test", &refused, 1, 50),
        service("one.test", &port(&b), 2, 9),
        "--host-record=one.test,127.0.0.1".to_owned(),
    ]);
    until_used(&proxy, vec![url("1", &refused), url("1", &port(&b))], "DNS, other services").await;
    assert_eq!(opened(&proxy).await.0, "B");
}
