//! Listeners that move between addresses of one port: nobody who connects meanwhile notices.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Frame, Peer, Proxy, Request, refused_address, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What a file lists, one after the other. All of them take 127.0.0.1, and each step needs sockets of its own beside
/// those of the one before.
const MOVES: [&[&str]; 10] = [
    &["0.0.0.0"],
    &["[::]"],
    &["0.0.0.0", "[::]"],
    &["[::]"],
    &["0.0.0.0"],
    &["127.0.0.1"],
    &["0.0.0.0"],
    &["127.0.0.1", "[::1]"],
    &["[::]"],
    &["127.0.0.1"],
];

fn listeners(port: u16, addresses: &[&str]) -> String {
    addresses.iter().map(|address| format!("[[listeners]]\nlisten = \"{address}:{port}\"\n")).collect()
}

/// A port that nobody has, of either family.
fn free_port() -> u16 {
    TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port()
}

/// Clients that come one after the other, from several sides at once.
struct Callers {
    answered: Arc<AtomicU64>,
    all: JoinSet<io::Result<()>>,
}

impl Callers {
    fn of(address: SocketAddr) -> Self {
        let answered = Arc::new(AtomicU64::new(0));
        let mut all = JoinSet::new();
        for _ in 0..4 {
            let answered = answered.clone();
            all.spawn(async move {
                loop {
                    call(address).await?;
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { answered, all }
    }

    /// Waits until this many more have been answered; nobody is turned away meanwhile.
    async fn are_answered(&mut self, count: u64) {
        let enough = self.answered.load(Ordering::Relaxed) + count;
        let answered = self.answered.clone();
        let come = async {
            while answered.load(Ordering::Relaxed) < enough {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = within("callers to be answered", come) => {}
            ended = self.all.join_next() => panic!("a caller was turned away: {ended:?}"),
        }
    }
}

/// Asks for a WebSocket, whose upstream is down, and reads the answer to its end.
async fn call(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(Request::upgrade("/").with("Connection", "close").encode().as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let is_answer = answer.starts_with(b"HTTP/1.1 502 ");
    is_answer.then_some(()).ok_or_else(|| io::Error::other(String::from_utf8_lossy(&answer).into_owned()))
}

async fn expect_echo((client, upstream): &mut (Peer, Peer)) {
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

/// Routes to an upstream that is there, at `/open`, and to one that is not.
fn routes(backend: &Backend) -> String {
    let open = "[[routes]]\nname = \"open\"\npath = \"/open\"\nupstream = \"there\"\n";
    let there = format!("[upstreams.there]\nendpoints = [{{ url = \"ws://{}\" }}]\n", backend.address());
    format!("{}{there}{open}", route(&[&refused_address()], ""))
}

#[tokio::test]
async fn a_reload_moves_listeners_between_the_families_without_turning_anybody_away() {
    let (backend, port) = (Backend::bind().await, free_port());
    let routes = format!("watch = false\n{}", routes(&backend));
    let with = |addresses| format!("{routes}{}", listeners(port, addresses));
    let proxy = Proxy::with_workers(2, &with(MOVES[0])).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut open = backend.open(address, "/open").await;
    let mut callers = Callers::of(address);
    for addresses in &MOVES[1..] {
        callers.are_answered(50).await;
        proxy.rewrite(&with(addresses));
        let reply = proxy.reload().await;
        assert_eq!(reply.status, 200, "{addresses:?}: {reply:?}");
        callers.are_answered(100).await;
        expect_echo(&mut open).await;
    }
}

#[tokio::test]
async fn an_upgrade_moves_listeners_between_the_families_without_turning_anybody_away() {
    let port = free_port();
    let routes = format!("watch = false\nworkers = 2\n{}", route(&[&refused_address()], ""));
    let with = |addresses| format!("{routes}{}", listeners(port, addresses));
    let proxy = Proxy::upgradable(&with(MOVES[0])).await;
    let mut callers = Callers::of(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    let mut pid = proxy.pid();
    for addresses in &MOVES[1..] {
        callers.are_answered(50).await;
        proxy.rewrite(&with(addresses));
        pid = proxy.upgrade_of(pid).await;
        callers.are_answered(100).await;
    }
}

#[tokio::test]
async fn open_connections_of_a_listener_that_an_upgrade_moves_go_on() {
    let (backend, port) = (Backend::bind().await, free_port());
    let routes = format!("watch = false\nworkers = 1\ndrain_time = \"10h\"\n{}", routes(&backend));
    let proxy = Proxy::upgradable(&format!("{routes}{}", listeners(port, &["0.0.0.0"]))).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // A drain begins with one of them.
    let [_drained, mut open] = [backend.open(address, "/open").await, backend.open(address, "/open").await];
    proxy.rewrite(&format!("{routes}{}", listeners(port, &["[::]"])));
    proxy.upgrade().await;
    expect_echo(&mut open).await;
    expect_echo(&mut backend.open(address, "/open").await).await;
}

#[tokio::test]
async fn an_upgrade_lets_a_listener_and_the_admin_api_change_places() {
    let (one, other) = (free_port(), free_port());
    let with = |clients, admin| {
        let admin = format!("[admin]\nlisten = \"127.0.0.1:{admin}\"\n");
        format!(
            "watch = false\nworkers = 1\n{}{admin}{}",
            route(&[&refused_address()], ""),
            listeners(clients, &["127.0.0.1"])
        )
    };
    let proxy = Proxy::upgradable(&with(one, other)).await;
    proxy.rewrite(&with(other, one));
    proxy.upgrade().await;
    call(([127, 0, 0, 1], other).into()).await.unwrap();
    let admin = SocketAddr::from(([127, 0, 0, 1], one));
    let request = Request::new("GET", "/metrics").replacing("Host", &admin.to_string());
    assert_eq!(tidegate_tests::request(admin, &request).await.status, 200);
}

#[tokio::test]
async fn a_listener_that_the_own_admin_api_is_in_the_way_of_waits_for_an_upgrade_and_is_told_so() {
    let port = free_port();
    let with = |listeners: &str| {
        let admin = format!("[admin]\nlisten = \"[::]:{port}\"\nopen = true\n");
        format!("watch = false\nworkers = 1\n{}{admin}{listeners}", route(&[&refused_address()], ""))
    };
    let any = "[[listeners]]\nlisten = \"127.0.0.1:0\"\n";
    let proxy = Proxy::upgradable(&with(any)).await;
    proxy.rewrite(&with(&format!("{any}{}", listeners(port, &["0.0.0.0"]))));
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 422, "{reply:?}");
    let what = format!("cannot listen on 0.0.0.0:{port}: this proxy itself listens on [::]:{port}, IPv4 included");
    assert!(reply.body.contains(&what) && reply.body.contains("SIGUSR2"), "{reply:?}");
    proxy.upgrade().await;
    call(([127, 0, 0, 1], port).into()).await.unwrap();
    let admin = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1_u16], port));
    let request = Request::new("GET", "/metrics").replacing("Host", &admin.to_string());
    assert_eq!(tidegate_tests::request(admin, &request).await.status, 200);
}
