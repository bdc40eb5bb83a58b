//! Clients that send a byte a second and never come to an end, in clear text and within a TLS handshake, beside honest ones.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_tests::config::route;
use tidegate_tests::{Authority, Echo, Frame, Peer, Proxy, Request, Trust, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

/// How many there are.
fn connections() -> usize {
    std::env::var("TIDEGATE_LORIS_CONNECTIONS").map_or(500, |count| count.parse().expect("a number of connections"))
}

/// How long each may take, by the configuration.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often one of them says something.
const DRIP: Duration = Duration::from_secs(1);
/// Honest handshakes over each listener, before and during the attack, and how often one begins.
const HONEST: u32 = 300;
const ARRIVALS: Duration = Duration::from_millis(20);
/// As many are coming at most.
const AT_ONCE: usize = 32;
/// What one of them may cost at most: what was read of its head, its TLS session, and the state of its connection.
const MOST_MEMORY: u64 = 48 << 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_a_byte_a_second_is_cut_off_in_time_and_keeps_nobody_else_out() {
    let (authority, echo) = (Authority::new(), Echo::start().await);
    let issued = authority.issue("a", &["a.example"]);
    let text = format!(
        "{1}[[listeners]]\nlisten = \"127.0.0.1:0\"\nhandshake_timeout = \"{0}s\"\n\
         [[listeners]]\nlisten = \"127.0.0.1:0\"\nhandshake_timeout = \"{0}s\"\ntls = {{ certificates = [{2}] }}\n",
        TIMEOUT.as_secs(),
        route(&[echo.address()], ""),
        issued.toml()
    );
    let proxy = Proxy::start(&text).await;
    let doors = Doors::of(&proxy, &authority);
    // What is made with the first of a kind is no part of what others cost.
    doors.honest(20).await;
    let quiet = doors.honest(HONEST).await;
    let before = proxy.resident();

    let (stop, stopped) = watch::channel(false);
    let mut attack = JoinSet::new();
    // One after the other, so that they are cut off, and come again, all the time and not all at once.
    let mut pace = interval(TIMEOUT / u32::try_from(connections()).unwrap());
    for number in 0..connections() {
        pace.tick().await;
        let (address, bytes) = if number.is_multiple_of(2) { (doors.plain, HEAD) } else { (doors.secure, HELLO) };
        let stream = connect(address).await;
        attack.spawn(drip(stream, bytes, stopped.clone()));
    }
    let attacked = doors.honest(HONEST).await;
    let during = proxy.resident().saturating_sub(before);
    // Until each of them was cut off twice.
    let metrics = cut_off(&proxy, 2 * connections() as u64).await;
    stop.send(true).unwrap();
    within("them to leave", attack.join_all()).await;

    let each = during / connections() as u64;
    // Seen with --nocapture.
    let _ = writeln!(
        std::io::stdout(),
        "{} connections, {each} bytes each; honest in clear text {} -> {}, over TLS {} -> {}",
        connections(),
        quiet[0],
        attacked[0],
        quiet[1],
        attacked[1]
    );
    assert!(each <= MOST_MEMORY, "{each}");
    let outcomes = metrics.by_label("tidegate_handshakes_total", "outcome");
    assert_eq!(outcomes["upgraded"], u64::from(2 * (20 + 2 * HONEST)), "{outcomes:?}");
    assert_eq!(outcomes.keys().collect::<Vec<_>>(), ["client_timeout", "upgraded"]);
    let refused = metrics.by_label("tidegate_connections_refused_total", "reason");
    assert!(refused.is_empty(), "{refused:?}");
}

/// Where clients come in.
struct Doors {
    plain: SocketAddr,
    secure: SocketAddr,
    trust: Trust,
}

impl Doors {
    fn of(proxy: &Proxy, authority: &Authority) -> Self {
        let log = proxy.log();
        let listening = log.iter().filter(|line| line["message"] == "listening");
        let address = |line: &serde_json::Value| line["address"].as_str().unwrap().parse().unwrap();
        let addresses: Vec<SocketAddr> = listening.map(address).collect();
        Self { plain: addresses[0], secure: addresses[1], trust: authority.trust().without_resumption() }
    }

    /// Has so many come in by each, and tells how long it took them.
    async fn honest(&self, count: u32) -> [Times; 2] {
        let (mut pace, mut coming, mut times) = (interval(ARRIVALS), JoinSet::new(), Vec::new());
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for _ in 0..count {
            pace.tick().await;
            while coming.len() >= AT_ONCE {
                times.push(coming.join_next().await.unwrap().unwrap());
            }
            let (plain, secure, trust) = (self.plain, self.secure, self.trust.clone());
            coming.spawn(async move { (0, visit(Instant::now(), Peer::connect(plain).await).await) });
            coming.spawn(async move {
                let begun = Instant::now();
                (1, visit(begun, trust.connect(secure, "a.example").await.unwrap()).await)
            });
        }
        times.extend(coming.join_all().await);
        let of = |which| Times::of(times.iter().filter(|(door, _)| *door == which).map(|(_, time)| *time).collect());
        [of(0), of(1)]
    }
}

/// How long handshakes took.
struct Times {
    middle: Duration,
    most: Duration,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        Self { middle: times[times.len() / 2], most: times[times.len() * 99 / 100] }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:?} (99th percentile {:?})", self.middle, self.most)
    }
}

/// Opens a WebSocket, says something, hears it and leaves; gives how long it took from `begun` until it was let in.
async fn visit(begun: Instant, mut peer: Peer) -> Duration {
    let reply = peer.exchange(&Request::upgrade("/")).await;
    let took = begun.elapsed();
    assert_eq!(reply.status, 101, "{reply:?}");
    peer.send(Frame::text("honest")).await;
    peer.expect(Frame::text("honest")).await;
    peer.send(Frame::close(1000, "")).await;
    peer.expect_close(1000).await;
    took
}

/// Sends a byte now and then, whatever is answered, until it is cut off; then it comes again.
async fn drip(mut stream: TcpStream, bytes: &[u8], mut stopped: watch::Receiver<bool>) {
    let (address, mut answer) = (stream.peer_addr().unwrap(), [0; 512]);
    loop {
        let (mut pace, mut rest) = (interval_at(Instant::now(), DRIP), bytes.iter());
        loop {
            tokio::select! {
                _ = pace.tick() => {
                    let Some(byte) = rest.next() else { break };
                    if stream.write_all(&[*byte]).await.is_err() { break }
                }
                read = stream.read(&mut answer) => if read.is_ok_and(|count| count > 0) { continue } else { break },
                _ = stopped.changed() => return,
            }
        }
        stream = connect(address).await;
    }
}

async fn connect(address: SocketAddr) -> TcpStream {
    within("a TCP connection", TcpStream::connect(address)).await.unwrap()
}

/// Waits until so many were cut off.
async fn cut_off(proxy: &Proxy, count: u64) -> tidegate_tests::Samples {
    let mut ticks = interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        let metrics = within("metrics", proxy.metrics()).await;
        let of = |name| metrics.count(name, &[("outcome", "client_timeout")]);
        if of("tidegate_handshakes_total") + of("tidegate_tls_handshakes_total") >= count {
            return metrics;
        }
    }
}

/// The beginning of a request.
const HEAD: &[u8] = b"GET /a-long-path HTTP/1.1\r\nHost: proxy.test\r\n";
/// The beginning of a ClientHello (RFC 8446 section 4.1.2), in a record of 512 bytes.
const HELLO: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 thirty-two bytes that are random \x00";
