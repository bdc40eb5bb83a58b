//! Replacing the binary under load.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tidegate_tests::config::{route, upstream};
use tidegate_tests::{Backend, Echo, Frame, Head, Peer, Proxy, Request, Signal, tidegate, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

const FAILURES: &str = "tidegate_upgrade_failures_total";
const LONG: &str = "drain_time = \"10h\"\n";
const SHORT: &str = "drain_time = \"500ms\"\n";

/// How a client fared.
#[derive(Clone, Copy, Debug, Default)]
struct Fared {
    /// It got its echo and a closing handshake.
    echoed: usize,
    /// It was told to come back, by 1012, before it got its echo.
    drained: usize,
}

/// Opens a connection, echoes once and closes; whatever ends that early is an error.
async fn visit(address: SocketAddr) -> io::Result<Fared> {
    let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut stream = TcpStream::connect(address).await?;
    let mut bytes = Vec::new();
    stream.write_all(Request::upgrade("/").encode().as_bytes()).await?;
    let head = loop {
        if let Some(head) = Head::decode(&mut bytes) {
            break head;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(ended());
        }
    };
    assert!(head.line.contains(" 101 "), "{head:?}");
    stream.write_all(&Frame::text("hello").encode(Some([1, 2, 3, 4]))).await?;
    let mut fared = Fared::default();
    loop {
        let Some((frame, _)) = Frame::decode(&mut bytes) else {
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(ended());
            }
            continue;
        };
        match frame.close_code() {
            None => {
                assert_eq!(frame, Frame::text("hello"));
                fared.echoed += 1;
                stream.write_all(&Frame::close(1000, "").encode(Some([1, 2, 3, 4]))).await?;
            }
            Some(1012) if fared.echoed == 0 => {
                fared.drained += 1;
                stream.write_all(&Frame::close(1012, "").encode(Some([1, 2, 3, 4]))).await?;
                break;
            }
            Some(code) => {
                assert!(matches!(code, 1000 | 1012), "closed with {code}");
                break;
            }
        }
    }
    while stream.read_buf(&mut bytes).await? > 0 {}
    Ok(fared)
}

/// Clients that come at a steady rate.
struct Visitors {
    stop: watch::Sender<bool>,
    /// How many are served by now.
    served: watch::Receiver<usize>,
    all: tokio::task::JoinHandle<(usize, Fared, Vec<String>)>,
}

impl Visitors {
    fn come(address: SocketAddr, every: Duration) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (serve, served) = watch::channel(0);
        let all = tokio::spawn(async move {
            let mut ticks = interval(every);
            // A machine that was busy catches up, so that the rate holds on the whole.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
            let mut visits = JoinSet::new();
            while !*stopped.borrow() {
                ticks.tick().await;
                let serve = serve.clone();
                visits.spawn(async move {
                    let fared = visit(address).await;
                    serve.send_modify(|served| *served += 1);
                    fared
                });
            }
            let (count, mut all, mut errors) = (visits.len(), Fared::default(), Vec::new());
            for fared in visits.join_all().await {
                match fared {
                    Ok(fared) => (all.echoed, all.drained) = (all.echoed + fared.echoed, all.drained + fared.drained),
                    Err(error) => errors.push(error.to_string()),
                }
            }
            (count, all, errors)
        });
        Self { stop, served, all }
    }

    /// Waits until `count` more have come and gone.
    async fn come_and_go(&self, count: usize) {
        let mut served = self.served.clone();
        let enough = *served.borrow() + count;
        within("clients to come and go", served.wait_for(|served| *served >= enough)).await.unwrap();
    }

    /// Ends the stream of clients and demands that each was served.
    async fn all_were_served(self) {
        self.stop.send_replace(true);
        let (count, fared, errors) = self.all.await.unwrap();
        assert_eq!(errors, Vec::<String>::new(), "of {count} connections, {fared:?}");
        assert_eq!(count, fared.echoed + fared.drained, "{fared:?}");
    }
}

async fn expect_echo(client: &mut Peer, upstream: &mut Peer) {
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

/// The sockets of a process, by inode.
fn sockets(pid: u32) -> BTreeSet<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let links = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    links.map(|link| link.display().to_string()).filter(|link| link.starts_with("socket:")).collect()
}

#[tokio::test]
async fn no_client_is_refused_or_reset_at_200_connections_a_second() {
    let echo = Echo::start().await;
    let mut proxy = Proxy::upgradable(&format!("workers = 2\n{SHORT}{}", route(&[echo.address()], ""))).await;
    let visitors = Visitors::come(proxy.address, Duration::from_millis(5));
    visitors.come_and_go(200).await;
    proxy.upgrade().await;
    assert_eq!(proxy.exit_code().await, Some(0));
    visitors.come_and_go(200).await;
    visitors.all_were_served().await;
}

#[tokio::test]
async fn the_number_of_workers_may_change() {
    let echo = Echo::start().await;
    let with = |workers: usize| format!("workers = {workers}\n{SHORT}{}", route(&[echo.address()], ""));
    for (before, after) in [(1, 3), (3, 1)] {
        let mut proxy = Proxy::upgradable(&with(before)).await;
        let visitors = Visitors::come(proxy.address, Duration::from_millis(10));
        proxy.rewrite(&with(after));
        let successor = proxy.upgrade().await;
        assert_eq!(proxy.exit_code().await, Some(0));
        proxy.wait_for_log(&[&format!("\"pid\":{successor}"), &format!("\"workers\":{after}")]).await;
        visitors.all_were_served().await;
    }
}

#[tokio::test]
async fn open_connections_of_the_old_process_go_on() {
    let backend = Backend::bind().await;
    let proxy = Proxy::upgradable(&format!("workers = 1\n{LONG}{}", route(&[&backend.address()], ""))).await;
    let mut open = [backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await];
    proxy.upgrade().await;
    let [_, (client, upstream)] = &mut open;
    expect_echo(client, upstream).await;
    let (mut newcomer, mut upstream_of_newcomer) = backend.open(proxy.address, "/").await;
    expect_echo(&mut newcomer, &mut upstream_of_newcomer).await;
}

#[tokio::test]
async fn open_connections_of_the_old_process_are_drained_with_1012_and_it_ends_with_0() {
    let backend = Backend::bind().await;
    let mut proxy = Proxy::upgradable(&format!("workers = 2\n{SHORT}{}", route(&[&backend.address()], ""))).await;
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(backend.open(proxy.address, "/").await);
    }
    proxy.upgrade().await;
    for (client, upstream) in &mut open {
        client.expect_close(1012).await;
        upstream.expect_close(1012).await;
        client.send(Frame::close(1012, "")).await;
        upstream.send(Frame::close(1012, "")).await;
    }
    drop(open);
    assert_eq!(proxy.exit_code().await, Some(0));
}

#[tokio::test]
async fn the_new_process_has_the_new_file_the_new_configuration_and_the_admin_api() {
    let backend = Backend::bind().await;
    let at = |path: &str| {
        let routes = format!("[[routes]]\nname = \"{path}\"\npath = \"/{path}\"\nupstream = \"back\"\n");
        format!("workers = 1\n{SHORT}{}{routes}", upstream("back", &[&backend.address()], ""))
    };
    let mut proxy = Proxy::upgradable(&at("old")).await;
    drop(backend.open(proxy.address, "/old").await);
    proxy.install(&format!("MARK=new exec {} \"$@\"", tidegate().display()));
    proxy.rewrite(&at("new"));
    let successor = proxy.upgrade().await;
    assert_eq!(proxy.exit_code().await, Some(0));
    let environment = fs::read(format!("/proc/{successor}/environ")).unwrap();
    assert!(environment.split(|byte| *byte == 0).any(|variable| variable == b"MARK=new"));
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
    let upgraded = |route| [("route", route), ("outcome", "upgraded")];
    let (mut client, mut upstream) = backend.open(proxy.address, "/new").await;
    expect_echo(&mut client, &mut upstream).await;
    let samples = proxy.until("tidegate_handshakes_total", &upgraded("new"), 1).await;
    assert_eq!(samples.count("tidegate_handshakes_total", &upgraded("old")), 0);
}

#[tokio::test]
async fn an_upgrade_may_follow_another() {
    let echo = Echo::start().await;
    let proxy = Proxy::upgradable(&format!("workers = 2\n{SHORT}{}", route(&[echo.address()], ""))).await;
    let visitors = Visitors::come(proxy.address, Duration::from_millis(10));
    let first = proxy.upgrade().await;
    let second = proxy.upgrade_of(first).await;
    assert_ne!(first, second);
    visitors.all_were_served().await;
}

#[tokio::test]
async fn listeners_may_come_and_go() {
    let echo = Echo::start().await;
    let listen = |addresses: &[&str]| {
        let tables: String = addresses.iter().map(|it| format!("[[listeners]]\nlisten = \"{it}\"\n")).collect();
        format!("workers = 1\n{SHORT}{}{tables}", route(&[echo.address()], ""))
    };
    let mut proxy = Proxy::upgradable(&listen(&["127.0.0.1:0", "127.0.0.2:0"])).await;
    let gone = proxy.wait_for_log(&["\"listening\"", "127.0.0.2:"]).await;
    let gone: SocketAddr = gone["address"].as_str().unwrap().parse().unwrap();
    visit(gone).await.unwrap();
    proxy.rewrite(&listen(&["127.0.0.3:0", &proxy.address.to_string()]));
    proxy.upgrade().await;
    assert_eq!(proxy.exit_code().await, Some(0));
    let added = proxy.wait_for_log(&["\"listening\"", "127.0.0.3:"]).await;
    visit(added["address"].as_str().unwrap().parse().unwrap()).await.unwrap();
    visit(proxy.address).await.unwrap();
    assert_eq!(visit(gone).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn the_new_process_gets_the_listening_sockets_and_no_others() {
    let backend = Backend::bind().await;
    let proxy = Proxy::upgradable(&format!("workers = 2\n{LONG}{}", route(&[&backend.address()], ""))).await;
    let _open = [backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await];
    let before = sockets(proxy.pid());
    let successor = proxy.upgrade().await;
    // A socket of two workers each, and that of the admin API.
    assert_eq!(before.intersection(&sockets(successor)).count(), 3);
}

/// That the old process goes on after an upgrade that fails for this reason.
async fn goes_on(proxy: &mut Proxy, backend: &Backend, reason: &str) {
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    proxy.signal(Signal::USR2);
    proxy.until(FAILURES, &[("reason", reason)], 1).await;
    proxy.wait_for_log(&["the upgrade has failed"]).await;
    expect_echo(&mut client, &mut upstream).await;
    let (mut newcomer, mut upstream_of_newcomer) = backend.open(proxy.address, "/").await;
    expect_echo(&mut newcomer, &mut upstream_of_newcomer).await;
    assert_eq!(proxy.admin("GET", "/readyz").await.status, 200);
}

#[tokio::test]
async fn a_wrong_configuration_leaves_the_old_process_serving_and_is_told() {
    let backend = Backend::bind().await;
    let config = format!("workers = 1\n{}", route(&[&backend.address()], ""));
    let mut proxy = Proxy::upgradable(&config).await;
    proxy.rewrite(&format!("nonsense = 1\n{config}"));
    goes_on(&mut proxy, &backend, "ended").await;
    proxy.wait_for_log(&["the upgrade has failed", "nonsense"]).await;
    proxy.rewrite(&config);
    proxy.upgrade().await;
}

#[tokio::test]
async fn a_new_process_that_cannot_bind_leaves_the_old_one_serving() {
    let backend = Backend::bind().await;
    let taken = Backend::bind().await;
    let config = |more: &str| {
        format!("workers = 1\n{}[[listeners]]\nlisten = \"127.0.0.1:0\"\n{more}", route(&[&backend.address()], ""))
    };
    let mut proxy = Proxy::upgradable(&config("")).await;
    proxy.rewrite(&config(&format!("[[listeners]]\nlisten = \"{}\"\n", taken.address())));
    goes_on(&mut proxy, &backend, "ended").await;
    proxy.wait_for_log(&["the upgrade has failed", &taken.address()]).await;
}

#[tokio::test]
async fn a_program_that_crashes_hangs_or_is_gone_leaves_the_old_process_serving() {
    let backend = Backend::bind().await;
    let config = format!("workers = 1\nupgrade_timeout = \"200ms\"\n{}", route(&[&backend.address()], ""));
    let mut proxy = Proxy::upgradable(&config).await;
    proxy.install("kill -SEGV $$");
    goes_on(&mut proxy, &backend, "ended").await;
    proxy.install("exec sleep 1000");
    goes_on(&mut proxy, &backend, "timeout").await;
    fs::remove_file(proxy.directory().join("tidegate")).unwrap();
    goes_on(&mut proxy, &backend, "start").await;
}

#[tokio::test]
async fn sigterm_during_an_upgrade_gives_it_up() {
    let backend = Backend::bind().await;
    let mut proxy = Proxy::upgradable(&format!("workers = 1\n{SHORT}{}", route(&[&backend.address()], ""))).await;
    proxy.install("exec sleep 1000");
    proxy.signal(Signal::USR2);
    let line = proxy.wait_for_log(&["a new process starts"]).await;
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code().await, Some(0));
    assert!(!fs::exists(format!("/proc/{}", line["pid"])).unwrap());
}
