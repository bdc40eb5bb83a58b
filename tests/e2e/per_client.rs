//! What each client may have, of a listener and of a route.

use std::io::Write;

use tidegate_tests::config::{route, upstream};
use tidegate_tests::{Authority, Backend, Frame, Peer, Proxy, Request, within};

fn listening(keys: &str) -> String {
    format!("[[listeners]]\nlisten = \"127.0.0.1:0\"\n{keys}\n")
}

async fn answer(proxy: &Proxy) -> tidegate_tests::Reply {
    Peer::connect(proxy.address).await.exchange(&Request::upgrade("/")).await
}

#[tokio::test]
async fn a_client_beyond_its_share_of_a_listener_is_told_so_and_gets_its_place_back() {
    let backend = Backend::bind().await;
    let text = route(&[&backend.address()], "") + &listening("max_connections_per_client = 2");
    let proxy = Proxy::with_workers(2, &text).await;
    let (one, mut other) = (backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await);
    let reply = answer(&proxy).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "1"), "{reply:?}");
    let refused = [("reason", "max_connections_per_client")];
    proxy.until("tidegate_connections_refused_total", &refused, 1).await;
    other.0.send(Frame::text("still here")).await;
    other.1.expect(Frame::text("still here")).await;

    // A reload counts those that are there.
    proxy.rewrite(&(text.clone() + "max_header_fields = 50\n"));
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(answer(&proxy).await.status, 429);
    drop(one);
    // Its place is given back a moment after its line is written.
    let asking = async {
        loop {
            let mut client = Peer::connect(proxy.address).await;
            if client.exchange(&Request::upgrade("/")).await.status == 101 {
                return client;
            }
        }
    };
    let mut third = within("a place", async { tokio::join!(asking, backend.accept()) }).await;
    third.0.send(Frame::text("let in")).await;
    third.1.expect(Frame::text("let in")).await;
}

#[tokio::test]
async fn a_listener_holds_as_many_connections_as_it_may() {
    let backend = Backend::bind().await;
    let text = route(&[&backend.address()], "") + &listening("max_connections = 1");
    let proxy = Proxy::start(&text).await;
    let _held = backend.open(proxy.address, "/").await;
    let reply = answer(&proxy).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, "1"), "{reply:?}");
    proxy.until("tidegate_connections_refused_total", &[("reason", "listener_max_connections")], 1).await;
}

#[tokio::test]
async fn who_speaks_tls_and_is_not_let_in_is_closed_without_a_handshake() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let keys = format!("max_connections_per_client = 1\ntls = {{ certificates = [{}] }}", issued.toml());
    let proxy = Proxy::start(&(route(&[&backend.address()], "") + &listening(&keys))).await;
    let trust = authority.trust();
    let _held = trust.connect(proxy.address, "a.example").await.unwrap();
    assert!(trust.connect(proxy.address, "a.example").await.is_err());
    proxy.until("tidegate_connections_refused_total", &[("reason", "max_connections_per_client")], 1).await;
}

#[tokio::test]
async fn a_route_counts_clients_by_what_trusted_proxies_say_of_them() {
    let backend = Backend::bind().await;
    let text = format!(
        "trusted_proxies = [\"127.0.0.1\"]\nclient_prefixes = {{ v4 = 24 }}\n{}[[routes]]\nname = \"main\"\n\
         upstream = \"back\"\nmax_connections_per_client = 1\n",
        upstream("back", &[&backend.address()], "")
    );
    let proxy = Proxy::with_workers(2, &text).await;
    let from = |client: &str| Request::upgrade("/").with("X-Forwarded-For", client);
    let _first = backend.open_with(proxy.address, &from("192.0.2.1"), &[]).await;
    // The same network, and another.
    let (_, reply) = Peer::handshake(proxy.address, &from("192.0.2.200")).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "1"), "{reply:?}");
    let _second = backend.open_with(proxy.address, &from("192.0.3.1"), &[]).await;
    let line = proxy.wait_for_access(|line| line["status"] == 429).await;
    assert!(line["reason"].as_str().unwrap().contains("max_connections_per_client"), "{line}");
    assert_eq!(line["outcome"], "limited", "{line}");
}

#[tokio::test]
async fn a_route_admits_so_many_handshakes_of_a_client_at_once() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], "handshakes_per_second_per_client = 2")).await;
    let _held = [backend.open(proxy.address, "/").await, backend.open(proxy.address, "/").await];
    // Half a second from now there would be one more.
    let replies = [answer(&proxy).await.status, answer(&proxy).await.status];
    assert!(replies.contains(&429), "{replies:?}");
}

#[tokio::test]
async fn however_many_networks_come_they_cost_little_memory_and_each_has_its_own_share() {
    let networks: u32 =
        std::env::var("TIDEGATE_CLIENT_NETWORKS").map_or(10_000, |count| count.parse().expect("a number of networks"));
    // Who has a share is not let in all the same: there is no endpoint.
    let proxy = Proxy::start(
        "trusted_proxies = [\"127.0.0.1\"]\n\
         [upstreams.back]\nendpoints = [{ url = \"ws://127.0.0.1:1\", enabled = false }]\n\
         [[routes]]\nname = \"main\"\nupstream = \"back\"\n\
         handshakes_per_second_per_client = 1\nmax_connections_per_client = 1\n",
    )
    .await;
    let ask = async |client: &mut Peer, network: u32| {
        let from = format!("2001:db8:{:x}:{:x}::1", network >> 16, network & 0xffff);
        client.exchange(&Request::upgrade("/").with("X-Forwarded-For", &from)).await.status
    };
    let mut client = Peer::connect(proxy.address).await;
    for network in 0..1_000 {
        assert_ne!(ask(&mut client, network).await, 429);
    }
    let before = proxy.resident();
    for network in 1_000..1_000 + networks {
        assert_ne!(ask(&mut client, network).await, 429, "{network}");
    }
    let grown = proxy.resident().saturating_sub(before);
    // Seen with --nocapture.
    let _ = writeln!(std::io::stdout(), "{networks} networks, {grown} bytes");
    assert!(grown < 16 << 20, "{grown} bytes");
    // Who comes again within a second is told so.
    let statuses = [ask(&mut client, 0xffff_ffff).await, ask(&mut client, 0xffff_ffff).await];
    assert!(statuses[0] != 429 && statuses[1] == 429, "{statuses:?}");
}
