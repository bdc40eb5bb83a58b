//! Certificates that are swapped one after the other while connections speak and clients come.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tidegate_tests::config::route;
use tidegate_tests::{Authority, Echo, Frame, Peer, Proxy, Request, Trust, within};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// How many times.
const SWAPS: usize = 50;
/// Connections that speak all the while, each of them so often.
const CONNECTIONS: usize = 500;
const PACE: Duration = Duration::from_secs(1);
/// How often somebody comes, who shakes hands in full, unless so many are coming already.
const ARRIVALS: Duration = Duration::from_millis(10);
const AT_ONCE: usize = 16;
/// How long a certificate may lie there before it is shown; longer only where others take the machine, because a reload comes after
/// all else.
const PATIENCE: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_certificates_are_swapped_and_nobody_is_closed_refused_or_shown_an_old_one() {
    let (authority, echo) = (Authority::new(), Echo::start().await);
    let directory = tempfile::tempdir().unwrap();
    let live = directory.path().join("live");
    place(&authority, directory.path(), 0);
    let text = format!(
        "{}[[listeners]]\nlisten = \"127.0.0.1:0\"\ntls = {{ certificates = [{{ chain = {:?}, key = {:?} }}] }}\n",
        route(&[echo.address()], ""),
        live.join("chain.pem"),
        live.join("key.pem")
    );
    let proxy = Proxy::with_workers(2, &text).await;
    let trust = authority.trust().without_resumption();
    let (stop, stopped) = watch::channel(false);

    let mut talking = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (peer, _) = come(&proxy, &trust).await;
        talking.spawn(talk(peer, stopped.clone()));
    }
    let proxy = Arc::new(proxy);
    let (newest, mut shown) = watch::channel(0);
    let arriving = tokio::spawn(arrive(proxy.clone(), trust, newest, stopped));

    let mut delays = Vec::new();
    for number in 1..=SWAPS {
        place(&authority, directory.path(), number);
        let placed = Instant::now();
        within("a certificate to be shown", shown.wait_for(|shown| *shown >= number)).await.unwrap();
        delays.push(placed.elapsed());
    }
    stop.send(true).unwrap();
    let came = within("those who come", arriving).await.unwrap();
    let spoken: u64 = talking.join_all().await.iter().sum();
    delays.sort_unstable();
    let (middle, most) = (delays[SWAPS / 2], delays[SWAPS - 1]);
    // Seen with --nocapture.
    let _ = writeln!(
        std::io::stdout(),
        "{SWAPS} swaps, shown after {middle:?}, {most:?} at most; {came} came, {spoken} messages of {CONNECTIONS} connections"
    );
    assert!(middle <= PATIENCE, "{delays:?}");

    let metrics = proxy.until("tidegate_connections_active", &[], 0).await;
    let all = u64::try_from(CONNECTIONS).unwrap() + came;
    let outcomes = |name| metrics.by_label(name, "outcome");
    assert_eq!(outcomes("tidegate_handshakes_total"), [("upgraded".to_owned(), all)].into());
    assert_eq!(outcomes("tidegate_tls_handshakes_total"), [("full".to_owned(), all)].into());
    assert_eq!(metrics.by_label("tidegate_closes_total", "code"), [("1000".to_owned(), all)].into());
    assert_eq!(metrics.count("tidegate_messages_total", &[("from", "client")]), spoken + came);
}

/// Puts a certificate in force: every other time in the place of the folder, as Kubernetes does, and else each file in the place
/// of the former one, so that for a moment one does not fit the other.
fn place(authority: &Authority, directory: &Path, number: usize) {
    let issued = authority.issue(&name(number), &["a.example"]);
    let live = directory.join("live");
    if number.is_multiple_of(2) {
        let folder = directory.join(format!("folder-{number}"));
        std::fs::create_dir(&folder).unwrap();
        std::fs::rename(&issued.chain, folder.join("chain.pem")).unwrap();
        std::fs::rename(&issued.key, folder.join("key.pem")).unwrap();
        let draft = directory.join("draft");
        symlink(&folder, &draft).unwrap();
        std::fs::rename(&draft, &live).unwrap();
    } else {
        std::fs::rename(&issued.chain, live.join("chain.pem")).unwrap();
        std::fs::rename(&issued.key, live.join("key.pem")).unwrap();
    }
}

/// Opens a WebSocket, and tells which certificate was shown.
async fn come(proxy: &Proxy, trust: &Trust) -> (Peer, usize) {
    let (client, reply) = trust.handshake(proxy.address, "a.example", &Request::upgrade("/")).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    let certificate = client.agreed().unwrap().peer_certificates().unwrap()[0].to_vec();
    let shown = (0..=SWAPS).find(|number| {
        let name = name(*number);
        certificate.windows(name.len()).any(|at| at == name.as_bytes())
    });
    (client, shown.unwrap())
}

/// Says something, waits for the echo, and goes on until it is told to leave; gives how many came back.
async fn talk(mut peer: Peer, stopped: watch::Receiver<bool>) -> u64 {
    let (mut pace, mut count) = (paced(PACE), 0);
    while !*stopped.borrow() {
        pace.tick().await;
        peer.send(Frame::text(format!("message {count}"))).await;
        peer.expect(Frame::text(format!("message {count}"))).await;
        count += 1;
    }
    leave(peer).await;
    count
}

async fn leave(mut peer: Peer) {
    peer.send(Frame::close(1000, "")).await;
    peer.expect_close(1000).await;
    peer.expect_end().await;
}

/// Has somebody come again and again until that is over; gives how many did. Whoever comes after a certificate was shown is shown
/// that one or a newer one.
async fn arrive(proxy: Arc<Proxy>, trust: Trust, newest: watch::Sender<usize>, stopped: watch::Receiver<bool>) -> u64 {
    let (mut pace, mut coming, mut count) = (paced(ARRIVALS), JoinSet::new(), 0);
    let newest = Arc::new(newest);
    while !*stopped.borrow() {
        pace.tick().await;
        while coming.len() >= AT_ONCE {
            coming.join_next().await.unwrap().unwrap();
        }
        count += 1;
        let (proxy, trust, newest) = (proxy.clone(), trust.clone(), newest.clone());
        coming.spawn(async move {
            let at_least = *newest.borrow();
            let (mut peer, shown) = come(&proxy, &trust).await;
            assert!(shown >= at_least, "{shown} was shown after {at_least}");
            newest.send_if_modified(|newest| {
                let is_newer = shown > *newest;
                *newest = shown.max(*newest);
                is_newer
            });
            peer.send(Frame::text("here")).await;
            peer.expect(Frame::text("here")).await;
            leave(peer).await;
        });
    }
    coming.join_all().await;
    count
}

/// Who is late is not in a hurry afterwards.
fn paced(period: Duration) -> Interval {
    let mut pace = interval(period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// The name in a certificate, which nothing else is called.
fn name(number: usize) -> String {
    format!("certificate-{number:03}")
}
