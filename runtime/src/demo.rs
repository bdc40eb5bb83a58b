//! `tidegate demo`: two back ends and the proxy in one process, on an embedded configuration.

mod backends;

use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::control::ReadSources;
use crate::metrics::{CallVerdict, Counter, Gauge, Metrics, Side};
use crate::server::{RunError, Server};

/// Runs the demo until a signal ends it.
pub fn run() -> Result<(), RunError> {
    let backends = backends::start()?;
    let config = CONFIG
        .replace("{red}", &backends.red.to_string())
        .replace("{blue}", &backends.blue.to_string())
        .replace("{chat}", &backends.chat.to_string());
    let server = Server::prepare(ReadSources::Text("demo.toml", config), None)?;
    let _ = io::stdout().write_all(INTRODUCTION.as_bytes());
    watch(server.metrics())?;
    server.run()
}

/// Keeps a line of counts on the terminal up to date; without a terminal, prints one whenever the counts have changed.
fn watch(metrics: Arc<Metrics>) -> io::Result<()> {
    let watching = move || {
        let terminal = io::stdout().is_terminal();
        let mut before = String::new();
        loop {
            let line = counts(&metrics);
            let written = match (terminal, line == before) {
                (true, _) => write!(io::stdout(), "\r\x1b[K{line}").and_then(|()| io::stdout().flush()),
                (false, false) => writeln!(io::stdout(), "{line}"),
                (false, true) => Ok(()),
            };
            if written.is_err() {
                return;
            }
            before = line;
            thread::sleep(EVERY);
        }
    };
    thread::Builder::new().name("demo-counts".to_owned()).spawn(watching).map(drop)
}

fn counts(metrics: &Metrics) -> String {
    let routes: Vec<_> = ["echo", "gold", "chat"].map(|name| metrics.route(name)).into();
    let shards = || routes.iter().flat_map(|route| route.iter());
    let open: i64 = shards().map(|shard| &shard.connections_active).map(Gauge::value).sum();
    let messages = |from: Side| -> u64 {
        shards().filter_map(|shard| shard.messages.get(from as usize)).flatten().map(Counter::value).sum()
    };
    let calls: u64 = ["rewrite", "rate-limit"]
        .iter()
        .map(|filter| metrics.component_use("chat", filter))
        .flat_map(|uses| {
            let filtered = [CallVerdict::Forward, CallVerdict::Replace, CallVerdict::Delay];
            let of = |shard: &crate::metrics::UseShard| -> u64 {
                filtered.iter().filter_map(|verdict| shard.verdicts.get(*verdict as usize)).map(Counter::value).sum()
            };
            uses.iter().map(of).collect::<Vec<_>>()
        })
        .sum();
    format!(
        "connections {open} · messages from clients {} · from upstreams {} · Wasm verdicts on chat {calls}",
        messages(Side::Client),
        messages(Side::Upstream),
    )
}

/// Where the back ends listen.
struct Backends {
    red: SocketAddr,
    blue: SocketAddr,
    chat: SocketAddr,
}

const EVERY: Duration = Duration::from_secs(1);

const CONFIG: &str = include_str!("demo/demo.toml");

const INTRODUCTION: &str = include_str!("demo/introduction.txt");
