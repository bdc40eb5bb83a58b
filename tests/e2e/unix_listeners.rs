//! Listeners that are unix sockets.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tidegate_tests::config::route;
use tidegate_tests::{Backend, Finished, Frame, Head, Peer, Proxy, Request, Signal, within};
use tokio::net::UnixListener;

/// A listener of TCP, as the harness wants one, and one of a unix socket with these keys.
fn listeners(socket: &Path, keys: &str) -> String {
    format!("[[listeners]]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nlisten = \"unix:{}\"\n{keys}\n", socket.display())
}

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("tidegate.sock");
    (folder, socket)
}

async fn open(socket: &Path, backend: &Backend, request: &Request) -> (Peer, Peer, Head) {
    let serve = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, &[]).await;
        (upstream, head)
    };
    let mut client = Peer::connect_unix(socket).await;
    let (reply, (upstream, head)) = tokio::join!(client.exchange(request), serve);
    assert_eq!(reply.status, 101, "{reply:?}");
    (client, upstream, head)
}

async fn status(socket: &Path, request: &Request) -> u16 {
    Peer::connect_unix(socket).await.exchange(request).await.status
}

async fn expect_echo(client: &mut Peer, upstream: &mut Peer) {
    client.send(Frame::text("hello")).await;
    upstream.expect(Frame::text("hello")).await;
}

async fn is_gone(socket: &Path) {
    let mut look = tokio::time::interval(std::time::Duration::from_millis(5));
    within("a file to go", async {
        while socket.exists() {
            look.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_of_a_unix_socket_has_no_address_and_nobody_is_told_one() {
    let ((_folder, socket), backend) = (folder(), Backend::bind().await);
    let proxy = Proxy::with_workers(2, &(route(&[&backend.address()], "") + &listeners(&socket, ""))).await;
    let request = Request::upgrade("/").with("X-Forwarded-For", "192.0.2.1");
    let (mut client, mut upstream, head) = open(&socket, &backend, &request).await;
    assert_eq!((head.header("x-forwarded-for"), head.header("x-forwarded-proto")), (None, Some("http")));
    assert!(head.header("forwarded").unwrap().starts_with("for=unknown;"), "{head:?}");
    expect_echo(&mut client, &mut upstream).await;
    let listed = proxy.admin("GET", "/api/v1/connections").await;
    assert!(listed.body.contains("\"client\": \"unix:\""), "{listed:?}");
    drop((client, upstream));
    assert_eq!(proxy.access_line().await["client"], "unix:");
}

#[tokio::test]
async fn what_a_trusted_peer_of_a_unix_socket_says_of_its_client_holds_for_limits_too() {
    let ((_folder, socket), backend) = (folder(), Backend::bind().await);
    let keys = "max_connections_per_client = 1\nallow = [\"192.0.2.0/24\"]";
    let text = route(&[&backend.address()], "") + &listeners(&socket, keys);
    let proxy = Proxy::with_workers(2, &format!("trusted_proxies = [\"unix:\"]\n{text}")).await;
    let from = |client: &str| Request::upgrade("/").with("X-Forwarded-For", client);
    let (client, upstream, head) = open(&socket, &backend, &from("192.0.2.1")).await;
    // The hop itself has nothing to add.
    assert_eq!(head.header("x-forwarded-for"), Some("192.0.2.1"));
    let _another = open(&socket, &backend, &from("192.0.2.2")).await;
    assert_eq!(status(&socket, &from("192.0.2.1")).await, 429);
    assert_eq!(status(&socket, &from("198.51.100.1")).await, 403);
    assert_eq!(status(&socket, &Request::upgrade("/")).await, 403);
    drop((client, upstream));
    proxy.wait_for_access(|line| line["client"] == "192.0.2.1:0" && line["outcome"] == "upgraded").await;
}

#[tokio::test]
async fn clients_of_a_unix_socket_count_as_one_where_nobody_says_who_they_are() {
    let ((_folder, socket), backend) = (folder(), Backend::bind().await);
    let keys = "max_connections_per_client = 1\nallow = [\"unix:\"]";
    let _proxy = Proxy::start(&(route(&[&backend.address()], "") + &listeners(&socket, keys))).await;
    let _first = open(&socket, &backend, &Request::upgrade("/")).await;
    assert_eq!(status(&socket, &Request::upgrade("/").with("X-Forwarded-For", "192.0.2.1")).await, 429);
}

#[tokio::test]
async fn the_file_has_its_mode_and_what_a_dead_process_left_is_replaced() {
    let ((_folder, socket), backend) = (folder(), Backend::bind().await);
    drop(UnixListener::bind(&socket).unwrap());
    let text = |keys: &str| route(&[&backend.address()], "") + &listeners(&socket, keys);
    let mode = || std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    let group = rustix::process::getgid().as_raw();
    let mut proxy = Proxy::start(&text(&format!("mode = \"0606\"\ngroup = {group}"))).await;
    assert_eq!(mode(), 0o606);
    proxy.rewrite(&text(""));
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(mode(), 0o660);
    let _open = open(&socket, &backend, &Request::upgrade("/")).await;
    proxy.signal(Signal::TERM);
    proxy.exit_code().await;
    assert!(!socket.exists());
}

#[tokio::test]
async fn a_live_socket_and_a_file_that_is_none_are_refused_in_words_and_stay() {
    let (folder, socket) = folder();
    let text = listeners(&socket, "")
        + "[log]\nformat = \"json\"\n[upstreams.back]\nendpoints = [{ url = \"ws://127.0.0.1:1\" }]\n\
           [[routes]]\nname = \"main\"\nupstream = \"back\"\n";
    std::fs::write(folder.path().join("tidegate.toml"), text).unwrap();
    let run = || Finished::run(folder.path(), &["run", "--config", "tidegate.toml"]);
    let live = UnixListener::bind(&socket).unwrap();
    let refused = run().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.text().contains("listeners[1].listen: cannot listen on unix:"), "{refused:?}");
    assert!(refused.text().contains("another process listens there; stop it"), "{refused:?}");
    assert!(socket.exists());
    drop(live);
    std::fs::remove_file(&socket).unwrap();
    std::fs::write(&socket, "precious").unwrap();
    let refused = run().await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.text().contains("there is a file that is no socket"), "{refused:?}");
    assert_eq!(std::fs::read(&socket).unwrap(), b"precious");
}

#[tokio::test]
async fn a_reload_opens_and_closes_unix_sockets_and_their_connections_go_on() {
    let ((folder, socket), backend) = (folder(), Backend::bind().await);
    let moved = folder.path().join("moved.sock");
    let text = |socket: &Path| route(&[&backend.address()], "") + &listeners(socket, "");
    let proxy = Proxy::with_workers(2, &text(&socket)).await;
    let (mut client, mut upstream, _) = open(&socket, &backend, &Request::upgrade("/")).await;
    proxy.rewrite(&text(&moved));
    assert_eq!(proxy.reload().await.status, 200);
    is_gone(&socket).await;
    let _new = open(&moved, &backend, &Request::upgrade("/")).await;
    expect_echo(&mut client, &mut upstream).await;
    // One that somebody has removed is made anew.
    std::fs::remove_file(&moved).unwrap();
    proxy.rewrite(&(text(&moved) + "\n"));
    proxy.reload().await;
    proxy.rewrite(&text(&moved).replace("127.0.0.1:0", "127.0.0.2:0"));
    assert_eq!(proxy.reload().await.status, 200);
    let _again = open(&moved, &backend, &Request::upgrade("/")).await;
}

#[tokio::test]
async fn all_workers_serve_what_comes_by_one_unix_socket() {
    let ((_folder, socket), backend) = (folder(), Backend::bind().await);
    let proxy = Proxy::with_workers(3, &(route(&[&backend.address()], "") + &listeners(&socket, ""))).await;
    let mut open_ones = Vec::new();
    for _ in 0..30 {
        open_ones.push(open(&socket, &backend, &Request::upgrade("/")).await);
    }
    let listed = proxy.admin("GET", "/api/v1/connections").await;
    let listed: serde_json::Value = serde_json::from_str(&listed.body).unwrap();
    let of = |worker: u64| {
        let connections = listed["connections"].as_array().unwrap().iter();
        connections.filter(|connection| connection["worker"] == worker).count()
    };
    assert!((0..3).all(|worker| (8..=12).contains(&of(worker))), "{} {} {}", of(0), of(1), of(2));
}

#[tokio::test]
async fn an_upgrade_hands_a_unix_socket_over_and_the_last_process_removes_its_file() {
    let ((_folder, socket), backend) = (folder(), Backend::bind().await);
    let text = format!("workers = 2\ndrain_time = \"10ms\"\n{}", route(&[&backend.address()], ""));
    let mut proxy = Proxy::upgradable(&(text + &listeners(&socket, ""))).await;
    let (mut client, _upstream, _) = open(&socket, &backend, &Request::upgrade("/")).await;
    let successor = proxy.upgrade().await;
    client.expect_close(1012).await;
    drop((client, _upstream));
    proxy.exit_code().await;
    assert!(socket.exists());
    let (mut client, mut upstream, _) = open(&socket, &backend, &Request::upgrade("/")).await;
    expect_echo(&mut client, &mut upstream).await;
    drop((client, upstream));
    Proxy::signal_to(successor, Signal::TERM);
    is_gone(&socket).await;
}
