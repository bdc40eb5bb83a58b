//! Listeners: which go together, and how they come and go in a reload.

use std::net::{SocketAddr, TcpListener};

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Finished, Frame, Http2, Peer, Proxy, Request, refused_address};
use tokio::net::TcpStream;

fn listeners(addresses: &[&str]) -> String {
    addresses.iter().map(|address| format!("[[listeners]]\nlisten = \"{address}\"\n")).collect()
}

async fn expect_echo((client, upstream): &mut (Peer, Peer)) {
    client.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
}

/// A port that nobody listens on, now.
fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

async fn is_refused(address: SocketAddr) {
    // A worker closes what it has when it has followed the reload.
    let mut look = tokio::time::interval(std::time::Duration::from_millis(5));
    tidegate_tests::within("a listener to close", async {
        while TcpStream::connect(address).await.is_ok() {
            look.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_reload_opens_new_listeners_and_closes_those_that_are_gone() {
    let backend = Backend::bind().await;
    let route = route(&[&backend.address()], "");
    let proxy = Proxy::with_workers(2, &format!("{route}{}", listeners(&["127.0.0.1:0"]))).await;
    let mut old = backend.open(proxy.address, "/").await;
    proxy.rewrite(&format!("{route}{}", listeners(&["127.0.0.2:0"])));
    assert_eq!(proxy.reload().await.status, 200);
    let line = proxy.wait_for_log(&["\"listening\"", "127.0.0.2:"]).await;
    let address = line["address"].as_str().unwrap().parse().unwrap();
    for _ in 0..8 {
        expect_echo(&mut backend.open(address, "/").await).await;
    }
    proxy.wait_for_log(&["no longer listening", "127.0.0.1:"]).await;
    is_refused(proxy.address).await;
    expect_echo(&mut old).await;
}

#[tokio::test]
async fn a_listener_that_cannot_be_opened_leaves_everything_as_it_was() {
    let backend = Backend::bind().await;
    let taken = Backend::bind().await;
    let route = route(&[&backend.address()], "");
    let good = format!("{route}{}", listeners(&["127.0.0.1:0"]));
    let proxy = Proxy::with_workers(2, &good).await;
    let mut old = backend.open(proxy.address, "/").await;
    let port = free_port();
    proxy.rewrite(&format!("{route}{}", listeners(&[&format!("127.0.0.1:{port}"), &taken.address()])));
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 422, "{reply:?}");
    assert!(reply.body.contains(&taken.address()) && reply.body.contains("another process listens there"), "{reply:?}");
    let body: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    let problem = &body["problems"][0];
    assert!(problem["line"].as_u64() > Some(0) && problem["key"] == "listeners[1].listen", "{reply:?}");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    expect_echo(&mut old).await;
    expect_echo(&mut backend.open(proxy.address, "/").await).await;
}

#[tokio::test]
async fn a_listener_that_stays_takes_its_new_settings_and_keeps_its_port() {
    let proxy =
        Proxy::with_workers(2, &format!("{}{}", route(&[&refused_address()], ""), listeners(&["127.0.0.1:0"]))).await;
    let long = Request::upgrade("/").with("X-Padding", &"x".repeat(2 << 10));
    assert_eq!(proxy.answer(&long).await.status, 502);
    let small = "[[listeners]]\nlisten = \"127.0.0.1:0\"\nmax_header_bytes = \"1KiB\"\n";
    proxy.rewrite(&format!("{}{small}", route(&[&refused_address()], "")));
    assert_eq!(proxy.reload().await.status, 200);
    let mut look = tokio::time::interval(std::time::Duration::from_millis(5));
    tidegate_tests::within("the new settings", async {
        while proxy.answer(&long).await.status != 431 {
            look.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_listener_may_become_one_of_the_same_port_in_a_reload() {
    let backend = Backend::bind().await;
    let route = route(&[&backend.address()], "");
    let port = free_port();
    let proxy = Proxy::with_workers(2, &format!("{route}{}", listeners(&[&format!("0.0.0.0:{port}")]))).await;
    let mut old = backend.open(([127, 0, 0, 2], port).into(), "/").await;
    proxy.rewrite(&format!("{route}{}", listeners(&[&format!("127.0.0.1:{port}")])));
    assert_eq!(proxy.reload().await.status, 200);
    is_refused(([127, 0, 0, 2], port).into()).await;
    expect_echo(&mut backend.open(([127, 0, 0, 1], port).into(), "/").await).await;
    expect_echo(&mut old).await;
}

#[tokio::test]
async fn who_is_connected_to_a_listener_that_goes_is_told_to_come_back_elsewhere() {
    let backend = Backend::bind().await;
    let route = route(&[&backend.address()], "http = true");
    let port = free_port();
    let going = format!("[[listeners]]\nlisten = \"127.0.0.1:{port}\"\nhttp2 = \"prior-knowledge\"\n");
    let proxy = Proxy::with_workers(2, &format!("{route}{}{going}", listeners(&["127.0.0.1:0"]))).await;
    let address = ([127, 0, 0, 1], port).into();
    let (idle, mut client) = (Http2::connect(address).await, Http2::connect(address).await);
    let (mut opened, mut upstream) = tokio::join!(client.open("/"), backend.accept());
    let (mut kept, mut staying) = (Peer::connect(address).await, Peer::connect(proxy.address).await);
    let ask = async |client: &mut Peer| {
        let answering = async {
            let mut upstream = backend.connection().await;
            upstream.read_request().await;
            upstream.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello").await;
        };
        let request = Request::new("GET", "/");
        tokio::join!(client.exchange(&request), answering).0.header("connection").to_owned()
    };
    assert_eq!((ask(&mut kept).await, ask(&mut staying).await), (String::new(), String::new()));

    proxy.rewrite(&format!("{route}{}", listeners(&["127.0.0.1:0"])));
    assert_eq!(proxy.reload().await.status, 200);
    idle.is_sent_away().await;
    assert_eq!((ask(&mut kept).await, ask(&mut staying).await), ("close".to_owned(), String::new()));
    // What is open goes on, and its connection ends with it.
    opened.peer.send(Frame::text("still here")).await;
    upstream.expect(Frame::text("still here")).await;
    drop((opened, upstream));
    client.is_sent_away().await;
}

#[tokio::test]
async fn a_dry_run_says_that_listeners_would_change_and_opens_none() {
    let route = route(&[&refused_address()], "");
    let config = |addresses: &[&str]| format!("watch = false\n{route}{}", listeners(addresses));
    let proxy = Proxy::start(&config(&["127.0.0.1:0"])).await;
    let port = free_port();
    proxy.rewrite(&config(&["127.0.0.1:0", &format!("127.0.0.1:{port}")]));
    let reply = proxy.admin("POST", "/api/v1/reload?dry_run=true").await;
    assert!(reply.body.contains("applicable") && reply.body.contains("listeners"), "{reply:?}");
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn another_number_of_workers_waits_for_an_upgrade_and_holds_nothing_else_up() {
    let backend = Backend::bind().await;
    let config = |workers: usize, rest: &str| format!("workers = {workers}\n{}", route(&[&backend.address()], rest));
    let proxy = Proxy::upgradable(&format!("drain_time = \"0s\"\n{}", config(1, ""))).await;
    proxy.rewrite(&format!("drain_time = \"0s\"\n{}", config(2, "max_connections = 1")));
    assert_eq!(proxy.reload().await.status, 200);
    proxy.wait_for_log(&["`workers` changes with an upgrade"]).await;
    let _only = backend.open(proxy.address, "/").await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 503);
    let successor = proxy.upgrade().await;
    let line = proxy.wait_for_log(&["\"ready\"", &successor.to_string()]).await;
    assert_eq!(line["workers"], 2);
}

#[tokio::test]
async fn an_upgrade_takes_the_listeners_of_the_last_reload_over() {
    let backend = Backend::bind().await;
    let route = route(&[&backend.address()], "");
    let config = |addresses: &[&str]| format!("workers = 2\ndrain_time = \"10h\"\n{route}{}", listeners(addresses));
    let port = free_port();
    let fixed = format!("127.0.0.1:{port}");
    let proxy = Proxy::upgradable(&config(&["127.0.0.1:0"])).await;
    proxy.rewrite(&config(&[&fixed]));
    assert_eq!(proxy.reload().await.status, 200);
    proxy.upgrade().await;
    for _ in 0..8 {
        expect_echo(&mut backend.open(fixed.parse().unwrap(), "/").await).await;
    }
}

#[tokio::test]
async fn all_of_ipv4_and_all_of_ipv6_go_together_on_one_port() {
    let backend = Backend::bind().await;
    let port = free_port();
    let both = listeners(&[&format!("[::]:{port}"), &format!("0.0.0.0:{port}")]);
    let _proxy = Proxy::with_workers(2, &format!("{}{both}", route(&[&backend.address()], ""))).await;
    expect_echo(&mut backend.open(([127, 0, 0, 1], port).into(), "/").await).await;
    expect_echo(&mut backend.open(([0, 0, 0, 0, 0, 0, 0, 1_u16], port).into(), "/").await).await;
}

#[tokio::test]
async fn all_of_ipv6_alone_takes_ipv4_too() {
    let backend = Backend::bind().await;
    let port = free_port();
    let config = format!("{}{}", route(&[&backend.address()], ""), listeners(&[&format!("[::]:{port}")]));
    let _proxy = Proxy::start(&config).await;
    expect_echo(&mut backend.open(([127, 0, 0, 1], port).into(), "/").await).await;
}

#[tokio::test]
async fn listeners_that_exclude_each_other_are_a_problem_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tidegate.toml");
    for (one, other) in
        [("0.0.0.0:8080", "127.0.0.1:8080"), ("[::1]:8080", "[::]:8080"), ("[::ffff:127.0.0.1]:8080", "0.0.0.0:8080")]
    {
        let text = format!("{}{}", route(&[&refused_address()], ""), listeners(&[one, other]));
        let line = text.lines().count();
        std::fs::write(&file, &text).unwrap();
        for command in ["check", "run"] {
            let finished = Finished::run(directory.path(), &[command, "--config", "tidegate.toml"]).await;
            assert_eq!(finished.code, Some(2), "{finished:?}");
            let text = finished.text();
            assert!(
                text.contains(other) && text.contains(one) && text.contains(&format!("tidegate.toml:{line}")),
                "{text}"
            );
            assert!(!text.contains("another process"), "{text}");
        }
    }
}

#[tokio::test]
async fn a_taken_port_is_told_before_anything_is_compiled() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("x.wasm"), "not wasm").unwrap();
    let broken = "filters = [\"x\"]\n[components.x]\npath = \"x.wasm\"\n";
    let text = format!("{}{}", route(&[&refused_address()], broken), listeners(&[&address]));
    std::fs::write(directory.path().join("tidegate.toml"), &text).unwrap();
    let finished = Finished::run(directory.path(), &["run", "--config", "tidegate.toml"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    let line = text.lines().position(|line| line.contains(&address)).unwrap() + 1;
    let place = format!("tidegate.toml:{line}:10: listeners[0].listen");
    let told = format!("{place}: cannot listen on {address}: another process listens there");
    assert!(finished.stderr.contains(&told), "{finished:?}");
}
