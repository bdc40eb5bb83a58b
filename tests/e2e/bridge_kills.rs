//! What a bridge promises of each message, while its upstream dies and comes back under load.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::{Arc, Mutex};

use rustix::net::{RecvFlags, recv};
use tidegate_tests::config::route;
use tidegate_tests::{Backend, Frame, Peer, Proxy, Request, Signal, within};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How many messages, unless `TIDEGATE_BRIDGE_MESSAGES` says so, by how many clients, over how many connections.
const MESSAGES: usize = 2_000;
const CLIENTS: usize = 16;
const CONNECTIONS: usize = 4;

/// What an upstream has had of messages, by their numbers.
#[derive(Default)]
struct Had {
    /// Those that it has read, in order.
    read: Vec<usize>,
    /// Those that lay unread in its sockets when it was killed.
    unread: BTreeSet<usize>,
}

/// Whether the upstream is alive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    Dead,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_message_is_delivered_twice_and_what_was_answered_503_never() {
    let messages = std::env::var("TIDEGATE_BRIDGE_MESSAGES").map_or(MESSAGES, |count| count.parse().unwrap());
    let backend = Backend::bind().await;
    let bridge = format!("bridge = {{ connections = {CONNECTIONS}, queue = 12 }}\nhandshake_timeout = \"5s\"");
    let proxy = Proxy::with_workers(1, &route(&[&backend.address()], &bridge)).await;
    let (kill, life) = watch::channel(Life::Alive);
    let had = Arc::new(Mutex::new(Had::default()));
    let open = watch::Sender::new(0_usize);
    let serving = tokio::spawn(serve(backend, life, had.clone(), open.clone()));

    let (progress, mut made) = watch::channel(0);
    let progress = Arc::new(progress);
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let (address, progress) = (proxy.address, progress.clone());
        clients.spawn(async move {
            let mut peer = Peer::connect(address).await;
            let mut told = BTreeMap::new();
            for number in (client..messages).step_by(CLIENTS) {
                let body = format!("message {number}");
                let head = Request::new("POST", "/").with("Content-Length", &body.len().to_string()).encode();
                peer.write(head + &body).await;
                told.insert(number, peer.read_reply().await.status);
                progress.send_modify(|made| *made += 1);
            }
            told
        });
    }
    for share in [1, 2] {
        within("a share of the messages", made.wait_for(|made| *made >= messages * share / 3)).await.unwrap();
        // Nothing is written between the look at what is unread and the reset: the proxy stands still meanwhile.
        proxy.signal(Signal::STOP);
        within("the proxy to stand still", async {
            while !stands_still(proxy.pid()) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        kill.send(Life::Dead).unwrap();
        within("its connections to be reset", open.subscribe().wait_for(|open| *open == 0)).await.unwrap();
        proxy.signal(Signal::CONT);
        let dead_for = messages / 50;
        let until = *made.borrow() + dead_for;
        within("messages to a dead upstream", made.wait_for(|made| *made >= until)).await.unwrap();
        kill.send(Life::Alive).unwrap();
    }
    let told: BTreeMap<usize, u16> = clients.join_all().await.into_iter().flatten().collect();
    drop(kill);
    within("the upstream to end", serving).await.unwrap();

    let had = had.lock().unwrap();
    let read: BTreeSet<_> = had.read.iter().copied().collect();
    assert_eq!(read.len(), had.read.len(), "none twice");
    let of = |status: u16| told.iter().filter(move |(_, told)| **told == status).map(|(number, _)| *number);
    assert_eq!(of(503).find(|number| read.contains(number)), None, "what was not sent");
    let lost: Vec<_> = of(202).filter(|number| !read.contains(number) && !had.unread.contains(number)).collect();
    let count = |status| of(status).count();
    let _ = writeln!(
        std::io::stdout(),
        "{messages} messages: {} of 202, {} of 502, {} of 503, {} of 504; {} read, {} unread, {} lost in between",
        count(202),
        count(502),
        count(503),
        count(504),
        read.len(),
        had.unread.len(),
        lost.len()
    );
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(count(202) + count(502) + count(503) + count(504), messages, "{told:?}");
    assert!(count(202) > messages / 5, "{}", count(202));
}

/// Serves WebSockets while it lives, and resets them when it dies and who comes then.
async fn serve(backend: Backend, life: watch::Receiver<Life>, had: Arc<Mutex<Had>>, open: watch::Sender<usize>) {
    let mut connections = JoinSet::new();
    let mut ended = life.clone();
    loop {
        let peer = tokio::select! {
            peer = backend.connection() => peer,
            _ = ended.wait_for(|_| false) => break,
        };
        if *life.borrow() == Life::Dead {
            peer.reset();
            continue;
        }
        connections.spawn(speak(peer, life.clone(), had.clone(), open.clone()));
    }
    drop(life);
    connections.join_all().await;
}

/// One WebSocket, up to its end or the upstream's.
async fn speak(mut peer: Peer, mut life: watch::Receiver<Life>, had: Arc<Mutex<Had>>, open: watch::Sender<usize>) {
    let head = peer.read_request().await;
    let _open = Open::count(open);
    if *life.borrow() == Life::Dead {
        return peer.reset();
    }
    peer.accept(&head, &[]).await;
    let stream = peer.into_stream();
    let mut bytes = Vec::new();
    loop {
        // At the end of the test, too, what was said to be written is there.
        let (is_dead, is_over) = tokio::select! {
            biased;
            died = life.wait_for(|life| *life == Life::Dead) => (died.is_ok(), died.is_err()),
            readable = stream.readable() => (readable.is_err(), false),
        };
        let has_ended = loop {
            let mut room = [0; 4096];
            match read(&stream, &mut room, is_dead || is_over) {
                Ok(0) => break true,
                Ok(count) => bytes.extend_from_slice(&room[..count]),
                Err(error) => break error.kind() != std::io::ErrorKind::WouldBlock,
            }
        };
        let mut had = had.lock().unwrap();
        while let Some((frame, _)) = Frame::decode(&mut bytes) {
            let number = frame.as_text().strip_prefix("message ").and_then(|number| number.parse::<usize>().ok());
            match is_dead {
                true => had.unread.extend(number),
                false => had.read.extend(number),
            }
        }
        if is_dead {
            stream.set_zero_linger().unwrap();
        }
        if is_dead || is_over || has_ended {
            return;
        }
    }
}

/// Reads what is there. For the `last` time that is what the system says, and not what is known of it.
fn read(stream: &TcpStream, room: &mut [u8], last: bool) -> std::io::Result<usize> {
    match last {
        true => Ok(recv(stream, room, RecvFlags::DONTWAIT).map(|(count, _)| count)?),
        false => stream.try_read(room),
    }
}

/// Whether a process has been stopped.
fn stands_still(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('T'))
}

/// A connection that is counted until it is reset.
struct Open(watch::Sender<usize>);

impl Open {
    fn count(open: watch::Sender<usize>) -> Self {
        open.send_modify(|open| *open += 1);
        Self(open)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}
