//! Consul: the instances of a service.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;
use tidegate_tests::{Echo, Proxy};
use tokio::process::Child;

use super::{Clients, ENDPOINTS, UP, ask, at, free_port, kill, opened, route, run, until_up, until_used};

/// A server of its own.
struct Consul {
    http: u16,
    others: [u16; 3],
    data: TempDir,
    child: Option<Child>,
}

impl Consul {
    async fn start() -> Self {
        let data = tempfile::tempdir().unwrap();
        let others = std::array::from_fn(|_| free_port());
        let mut consul = Self { http: free_port(), others, data, child: None };
        consul.begin();
        consul.until_led().await;
        consul
    }

    fn begin(&mut self) {
        let [server, lan, wan] = self.others;
        let arguments = [
            "agent".to_owned(),
            "-server".to_owned(),
            "-bootstrap-expect=1".to_owned(),
            "-bind=127.0.0.1".to_owned(),
            "-client=127.0.0.1".to_owned(),
            "-node=one".to_owned(),
            format!("-data-dir={}", self.data.path().display()),
            format!("-http-port={}", self.http),
            format!("-server-port={server}"),
            format!("-serf-lan-port={lan}"),
            format!("-serf-wan-port={wan}"),
            "-dns-port=-1".to_owned(),
            "-grpc-port=-1".to_owned(),
        ];
        self.child = Some(run("CONSUL", &arguments));
    }

    /// It answers, too, before it knows what there is.
    async fn until_led(&self) {
        while !ask(self.address(), "GET", "/v1/status/leader", "", "").await.contains("127.0.0.1") {}
    }

    async fn kill(&mut self) {
        kill(self.child.take().unwrap()).await;
    }

    fn address(&self) -> SocketAddr {
        format!("127.0.0.1:{}", self.http).parse().unwrap()
    }

    async fn register(&self, instance: Value) {
        ask(self.address(), "PUT", "/v1/agent/service/register", "", &instance.to_string()).await;
    }

    /// Registers as many instances, all at one echo.
    async fn register_all(&self, echo: &Echo) {
        let port: u16 = echo.address().rsplit_once(':').unwrap().1.parse().unwrap();
        for number in 0..ENDPOINTS {
            let meta = json!({ "path": format!("/{number:02}"), "zone": "z" });
            let (id, weights) = (format!("chat-{number:02}"), json!({ "Passing": 7, "Warning": 1 }));
            let instance = json!({
                "Name": "chat", "ID": id, "Address": "127.0.0.1", "Port": port, "Meta": meta, "Weights": weights, "Tags": ["v2"],
            });
            self.register(instance).await;
        }
    }

    fn discover(&self) -> String {
        format!("consul = \"http://{}\", service = \"chat\", tag = \"v2\"", self.address())
    }
}

#[tokio::test]
#[ignore = "needs Consul: tests/discovery/run"]
async fn endpoints_follow_the_instances_and_outlive_a_consul_that_is_killed() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let mut consul = Consul::start().await;
    consul.register_all(&a).await;
    let proxy = Proxy::start(&route(&consul.discover())).await;
    until_used(&proxy, at(&a), "Consul, at the start").await;
    let upstreams: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/upstreams").await.body).unwrap();
    let endpoint = &upstreams[0]["endpoints"][0];
    assert_eq!((&endpoint["weight"], &endpoint["zone"]), (&json!(7), &json!("z")));
    let mut clients = Clients::open(&proxy, 20).await;

    // Another tag, and one that does not pass its check.
    consul.register(json!({ "Name": "chat", "ID": "other", "Address": "127.0.0.1", "Port": 1, "Tags": ["v1"] })).await;
    let check = json!({ "TTL": "1h", "Status": "critical" });
    consul
        .register(
            json!({ "Name": "chat", "ID": "ill", "Address": "127.0.0.1", "Port": 2, "Tags": ["v2"], "Check": check }),
        )
        .await;
    ask(consul.address(), "PUT", "/v1/agent/service/deregister/chat-07", "", "").await;
    until_used(&proxy, [&at(&a)[..7], &at(&a)[8..]].concat(), "Consul, after an instance is gone").await;

    for round in 0..2 {
        consul.kill().await;
        proxy.until(UP, &[], 0).await;
        clients.are_served_by("A").await;
        assert_eq!(opened(&proxy).await.0, if round == 0 { "A" } else { "B" });
        consul.begin();
        consul.until_led().await;
        until_up(&proxy, "Consul").await;
        consul.register_all(&b).await;
        until_used(&proxy, at(&b), "Consul, after the last change once it is back").await;
        assert_eq!(opened(&proxy).await.0, "B");
    }
    clients.are_served_by("A").await;
    assert_eq!(proxy.metrics().await.count("tidegate_config_generation", &[]), 1);
}
