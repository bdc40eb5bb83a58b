//! How many connections there may be, and what those beyond them hear.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Finished, Frame, Peer, Proxy, Reply, Request, refused_address, within};

const REFUSED: &str = "tidegate_connections_refused_total";
const FULL: &[(&str, &str)] = &[("reason", "max_connections")];
const NO_FILES: &[(&str, &str)] = &[("reason", "open_files")];
const LISTENERS: &str = "[[listeners]]\nlisten = \"127.0.0.1:0\"\n[[listeners]]\nlisten = \"127.0.0.2:0\"\n";

async fn refused(address: SocketAddr) -> Reply {
    let reply = Peer::handshake(address, &Request::upgrade("/")).await.1;
    assert_eq!((reply.status, reply.header("retry-after"), reply.header("connection")), (503, "1", "close"));
    reply
}

/// Fills the five places over two listeners, and gives both ends of each.
async fn five(proxy: &Proxy, backend: &Backend, addresses: &[SocketAddr; 2]) -> Vec<(Peer, Peer)> {
    let mut open = Vec::new();
    for index in 0..5 {
        open.push(backend.open(addresses[index % 2], "/").await);
    }
    proxy.until("tidegate_connections_active", &[("route", "main")], 5).await;
    open
}

async fn exactly_five_of(workers: usize) {
    let backend = Backend::bind().await;
    let config = format!("max_connections = 5\n{}{LISTENERS}", route(&[&backend.address()], ""));
    let proxy = Proxy::with_workers(workers, &config).await;
    let second = proxy.wait_for_log(&["\"listening\"", "127.0.0.2:"]).await;
    let addresses = [proxy.address, second["address"].as_str().unwrap().parse().unwrap()];
    let mut open = five(&proxy, &backend, &addresses).await;
    for index in 0..20 {
        assert!(refused(addresses[index % 2]).await.body.contains("no place"));
    }
    proxy.until(REFUSED, FULL, 20).await;
    proxy.wait_for_log(&["connections are refused", "max_connections"]).await;
    let told = proxy.log().iter().filter(|line| line.to_string().contains("connections are refused")).count();
    assert_eq!(told, 1);

    let (mut client, mut upstream) = open.pop().unwrap();
    client.send(Frame::close(1000, "")).await;
    upstream.expect_close(1000).await;
    upstream.send(Frame::close(1000, "")).await;
    client.expect_close(1000).await;
    proxy.until("tidegate_connections_active", &[("route", "main")], 4).await;
    client.expect_end().await;
    let _another = backend.open(addresses[0], "/").await;
    refused(addresses[1]).await;
}

#[tokio::test]
async fn one_worker_serves_exactly_max_connections_and_refuses_the_rest_at_once() {
    exactly_five_of(1).await;
}

#[tokio::test]
async fn two_workers_serve_exactly_max_connections_and_refuse_the_rest_at_once() {
    exactly_five_of(2).await;
}

#[tokio::test]
async fn eight_workers_serve_exactly_max_connections_and_refuse_the_rest_at_once() {
    exactly_five_of(8).await;
}

#[tokio::test]
async fn a_reload_changes_how_many_connections_there_may_be() {
    let backend = Backend::bind().await;
    let config = |limit| format!("max_connections = {limit}\n{}", route(&[&backend.address()], ""));
    let proxy = Proxy::with_workers(2, &config(1)).await;
    let _first = backend.open(proxy.address, "/").await;
    refused(proxy.address).await;
    proxy.rewrite(&config(2));
    assert_eq!(proxy.reload().await.status, 200);
    let _second = backend.open(proxy.address, "/").await;
    refused(proxy.address).await;
    proxy.rewrite(&config(1));
    assert_eq!(proxy.reload().await.status, 200);
    refused(proxy.address).await;
}

/// The numbers of a process's descriptors.
fn descriptors(proxy: &Proxy) -> BTreeSet<u64> {
    let files = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap();
    files.map(|file| file.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
}

/// How many sockets the proxy has.
fn sockets(proxy: &Proxy) -> usize {
    let of_the_process = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).unwrap();
    let links = of_the_process.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    links.filter(|link| link.to_string_lossy().starts_with("socket:")).count()
}

/// Has clients that say nothing take all descriptors that are left up to a new limit.
async fn use_up(proxy: &Proxy) -> Vec<Peer> {
    let limit = descriptors(proxy).last().unwrap() + 1;
    proxy.limit_open_files(limit);
    let mut silent = Vec::new();
    let mut look = tokio::time::interval(std::time::Duration::from_millis(1));
    let full = async {
        loop {
            let count = descriptors(proxy).len();
            if count as u64 == limit {
                return silent;
            }
            // Other descriptors come and go meanwhile.
            let before = sockets(proxy);
            silent.push(Peer::connect(proxy.address).await);
            while sockets(proxy) == before {
                look.tick().await;
            }
        }
    };
    within("all descriptors to be taken", full).await
}

#[tokio::test]
async fn where_no_descriptor_is_left_a_client_is_told_so() {
    let backend = Backend::bind().await;
    let proxy = Proxy::with_workers(1, &route(&[&backend.address()], "")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let silent = use_up(&proxy).await;
    for _ in 0..3 {
        assert!(refused(proxy.address).await.body.contains("no place"));
    }
    drop(silent);
    proxy.limit_open_files(1024);
    proxy.until(REFUSED, NO_FILES, 3).await;
    proxy.wait_for_log(&["connections are refused", "open_files"]).await;
    let _another = backend.open(proxy.address, "/").await;
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

#[tokio::test]
async fn a_low_limit_of_open_files_leaves_each_connection_its_upstream() {
    let backend = Backend::bind().await;
    let proxy = Proxy::with_open_files(128, 2, &route(&[&backend.address()], "")).await;
    let line = proxy.wait_for_log(&["room for connections"]).await;
    let room = line["connections"].as_u64().unwrap();
    assert!((20..60).contains(&room), "{line}");
    let mut open = Vec::new();
    for _ in 0..room {
        open.push(backend.open(proxy.address, "/").await);
    }
    for _ in 0..20 {
        refused(proxy.address).await;
    }
    proxy.until(REFUSED, FULL, 20).await;
}

#[tokio::test]
async fn a_limit_of_open_files_that_is_too_low_ends_the_start_with_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let config = format!("{}[[listeners]]\nlisten = \"127.0.0.1:0\"\n", route(&[&refused_address()], ""));
    std::fs::write(directory.path().join("tidegate.toml"), config).unwrap();
    for limit in [20, 40, 44] {
        let arguments = ["run", "--config", "tidegate.toml", "--workers", "4"];
        let finished = Finished::run_with_open_files(limit, directory.path(), &arguments).await;
        assert_eq!(finished.code, Some(1), "{finished:?}");
        assert!(finished.text().contains(&format!("the limit of open files is {limit}")), "{finished:?}");
        assert_eq!(finished.text().lines().count(), 1, "{finished:?}");
    }
}

#[tokio::test]
async fn max_connections_that_do_not_fit_are_told_and_cut_down() {
    let config = format!("max_connections = 1000\n{}", route(&[&refused_address()], ""));
    let proxy = Proxy::with_open_files(256, 1, &config).await;
    let line = proxy.wait_for_log(&["does not fit"]).await;
    assert_eq!(line["max_connections"], 1000);
    assert!(line["connections"].as_u64().unwrap() < 128, "{line}");
}
