//! Endpoints in real registries, which are killed without a word and come back. `tests/discovery/run` has the registries, and runs
//! these; where one is only imitated, the test says so.

#![expect(clippy::print_stdout, reason = "how long it took is worth to know, and nothing to depend on")]

mod consul;
mod dns;
mod etcd;
mod imitated;

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tidegate_tests::{Echo, Frame, Peer, Proxy, Request, Signal, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::Instant;

const UP: &str = "tidegate_discovery_up";

/// How many endpoints a registry has.
const ENDPOINTS: usize = 50;

/// A route to what a registry says.
fn route(discover: &str) -> String {
    format!(
        "watch = false\n[upstreams.back]\ndiscover = {{ {discover}, empty_grace = \"1h\" }}\n\
         [[routes]]\nname = \"main\"\nupstream = \"back\"\n"
    )
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A registry that runs.
fn run(program: &str, arguments: &[String]) -> Child {
    let program = std::env::var(program).unwrap_or_else(|_| panic!("{program} is not set"));
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap()
}

/// Has it end without a word.
async fn kill(mut child: Child) {
    Proxy::signal_to(child.id().unwrap(), Signal::KILL);
    child.wait().await.unwrap();
}

/// Asks a registry; `None` while it cannot be asked. The answer is its head and its body, as they come.
async fn asked(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let length = body.len();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: registry\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}

/// Asks until the answer is 200.
async fn ask(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> String {
    within("a registry to answer", async {
        loop {
            match asked(address, method, target, headers, body).await {
                Some(answer) if answer.starts_with("HTTP/1.1 200") => return answer,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    })
    .await
}

/// The endpoints that the proxy goes by.
async fn urls(proxy: &Proxy) -> Vec<String> {
    let upstreams: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/upstreams").await.body).unwrap();
    let endpoints = upstreams[0]["endpoints"].as_array().unwrap().iter();
    let mut urls: Vec<_> = endpoints.map(|endpoint| endpoint["url"].as_str().unwrap().to_owned()).collect();
    urls.sort();
    urls
}

/// What is wrong with its source.
async fn problem(proxy: &Proxy) -> String {
    let upstreams: Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/upstreams").await.body).unwrap();
    upstreams[0]["discovery"]["problem"].as_str().unwrap_or_default().to_owned()
}

/// Waits until the proxy goes by these and no others, and says how long that took.
async fn until_used(proxy: &Proxy, mut expected: Vec<String>, what: &str) {
    let begun = Instant::now();
    expected.sort();
    within("the endpoints to be used", async { while urls(proxy).await != expected {} }).await;
    println!("{what}: in use after {:?}", begun.elapsed());
}

/// Waits until the source is up again, and says how long after the registry was back that is.
async fn until_up(proxy: &Proxy, what: &str) {
    let begun = Instant::now();
    proxy.until(UP, &[], 1).await;
    println!("{what}: heard of again {:?} after it is back", begun.elapsed());
}

/// As many urls at an echo.
fn at(echo: &Echo) -> Vec<String> {
    (0..ENDPOINTS).map(|number| format!("ws://{}/{number:02}", echo.address())).collect()
}

/// Clients that stay.
struct Clients(Vec<Peer>);

impl Clients {
    async fn open(proxy: &Proxy, count: usize) -> Self {
        let mut clients = Vec::new();
        for _ in 0..count {
            clients.push(opened(proxy).await.1);
        }
        Self(clients)
    }

    /// All of them are still served by the echo of this name.
    async fn are_served_by(&mut self, name: &str) {
        for client in &mut self.0 {
            assert_eq!(said(client).await, name);
        }
    }
}

async fn opened(proxy: &Proxy) -> (String, Peer) {
    let (mut client, reply) = Peer::handshake(proxy.address, &Request::upgrade("/")).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    (said(&mut client).await, client)
}

async fn said(client: &mut Peer) -> String {
    client.send(Frame::text("")).await;
    client.frame().await.as_text()
}
