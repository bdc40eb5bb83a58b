//! `tidegate demo`: two back ends and the proxy in one process, on an embedded configuration, and a page to try it with.

mod backends;
mod front;
mod secured;

use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::control::ReadSources;
use crate::listener;
use crate::metrics::{CallVerdict, Counter, Gauge, Metrics};
use crate::peer::Side;
use crate::server::{Activation, EarlySignals, RunError, Server};

use secured::Secured;

/// Runs the demo until a signal ends it: for clients at `listen`, with its admin API at `admin`. What there is to see is told
/// by `print`, and nothing runs where that fails. Over TLS it shows a certificate that is made on the spot.
pub fn run(
    listen: SocketAddr,
    admin: SocketAddr,
    over_tls: bool,
    print: impl Fn(&str) -> io::Result<()>,
) -> Result<(), RunError> {
    let signals = EarlySignals::heed()?;
    let front = bind(listen)?;
    let listen = front.local_addr()?;
    let backends = backends::start()?;
    // The front is between the clients and the proxy, which takes a port of its own.
    let inner = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let secured = over_tls.then(Secured::new).transpose()?.map(Arc::new);
    let tls = secured.as_ref().map(|secured| secured.toml()).unwrap_or_default();
    let sources = ReadSources::Text("demo.toml", config(inner, admin, &tls, &backends));
    let server = Server::prepare(signals, sources, None, Activation::default())?;
    let admin = server.admin_address().unwrap_or(admin);
    let (http, ws) = if over_tls { ("https", "wss") } else { ("http", "ws") };
    let told = |text: &str| {
        let text = text.replace("{listen}", &listen.to_string()).replace("{admin}", &admin.to_string());
        text.replace("{http}", http).replace("{ws}", ws)
    };
    let proxy = server.addresses().first().and_then(|first| first.socket()).unwrap_or(inner);
    accompany(front, proxy, told(PAGE), secured)?;
    print(&told(INTRODUCTION))
        .map_err(|error| io::Error::new(error.kind(), format!("the introduction cannot be written: {error}")))?;
    watch(server.metrics())?;
    server.run()
}

/// The configuration that [`run`] serves, for reading and for trying to change it; with endpoints at made-up ports, and a
/// certificate in files beside it.
pub fn configuration(listen: SocketAddr, admin: SocketAddr, over_tls: bool) -> String {
    let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let tls = if over_tls { secured::toml(Path::new("")) } else { String::new() };
    config(listen, admin, &tls, &Backends { red: at(9001), blue: at(9002), chat: at(9003) })
}

fn config(listen: SocketAddr, admin: SocketAddr, tls: &str, backends: &Backends) -> String {
    let Backends { red, blue, chat } = backends;
    let places = [("listen", &listen), ("admin", &admin), ("red", red), ("blue", blue), ("chat", chat)];
    let config = CONFIG.replace("{tls}", tls);
    // Who has it listen elsewhere has said so.
    let config = match admin.ip().to_canonical().is_loopback() {
        true => config,
        false => config.replace(
            "[admin]
",
            "[admin]
open = true
",
        ),
    };
    places.iter().fold(config, |text, (name, address)| text.replace(&format!("{{{name}}}"), &address.to_string()))
}

fn bind(address: SocketAddr) -> Result<TcpListener, RunError> {
    let bound = listener::bind_one(address, false, &[]);
    let bound = bound.and_then(|front| listener::listen(&front).map(|()| front.into()));
    bound.map_err(|error| RunError::Bind { address: address.into(), error })
}

/// Serves the page, and says what a first Ctrl-C does, on a thread of its own.
fn accompany(front: TcpListener, proxy: SocketAddr, page: String, secured: Option<Arc<Secured>>) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let mut interrupt = {
        let _entered = runtime.enter();
        signal(SignalKind::interrupt())?
    };
    let told = async move {
        interrupt.recv().await;
        let _ = writeln!(io::stdout(), "\ndraining, Ctrl-C again ends");
        std::future::pending::<()>().await;
    };
    let serve = move || {
        runtime.block_on(async {
            tokio::select! {
                () = told => {}
                // The proxy goes on without its page.
                _ = front::serve(front, proxy, page, secured) => {}
            }
        });
    };
    thread::Builder::new().name("demo-front".to_owned()).spawn(serve).map(drop)
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

const PAGE: &str = include_str!("demo/page.html");

const INTRODUCTION: &str = include_str!("demo/introduction.txt");

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_configuration_that_is_printed_is_sound() {
        let (listen, admin) = ("127.0.0.1:8081".parse().unwrap(), "127.0.0.1:9901".parse().unwrap());
        let text = configuration(listen, admin, false);
        let names: Vec<_> = tidegate_filters::all().iter().map(|component| component.name).collect();

        let config = crate::config::parse("demo.toml", &text, Path::new("/"), &names).unwrap();

        assert_eq!(config.listeners.first().map(|listener| listener.listen.clone()), Some(listen.into()));
        assert_eq!(config.admin.map(|known| known.listen), Some(admin.into()));
    }
}
