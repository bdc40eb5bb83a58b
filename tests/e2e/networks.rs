//! Which networks clients may come from, by a listener and by a route.

use tidegate_tests::config::{route, upstream};
use tidegate_tests::{Authority, Backend, Peer, Proxy, Request};

fn listening(keys: &str) -> String {
    format!("[[listeners]]\nlisten = \"127.0.0.1:0\"\n{keys}\n")
}

fn from(client: &str) -> Request {
    Request::upgrade("/").with("X-Forwarded-For", client)
}

#[tokio::test]
async fn a_listener_keeps_out_whom_it_denies_and_whom_it_does_not_allow() {
    let backend = Backend::bind().await;
    for keys in ["deny = [\"127.0.0.0/8\"]", "allow = [\"192.0.2.0/24\"]"] {
        let proxy = Proxy::start(&(route(&[&backend.address()], "") + &listening(keys))).await;
        let reply = proxy.answer(&Request::upgrade("/")).await;
        assert_eq!(reply.status, 403, "{reply:?}");
        proxy.until("tidegate_connections_refused_total", &[("reason", "network_refused")], 1).await;
    }
    let keys = "allow = [\"127.0.0.0/8\"]\ndeny = [\"127.0.1.0/24\"]";
    let proxy = Proxy::start(&(route(&[&backend.address()], "") + &listening(keys))).await;
    let _open = backend.open(proxy.address, "/").await;
}

#[tokio::test]
async fn who_is_kept_out_and_speaks_tls_is_closed_without_a_handshake() {
    let (authority, backend) = (Authority::new(), Backend::bind().await);
    let issued = authority.issue("a", &["a.example"]);
    let keys = format!("deny = [\"127.0.0.1\"]\ntls = {{ certificates = [{}] }}", issued.toml());
    let proxy = Proxy::start(&(route(&[&backend.address()], "") + &listening(&keys))).await;
    assert!(authority.trust().connect(proxy.address, "a.example").await.is_err());
    proxy.until("tidegate_connections_refused_total", &[("reason", "network_refused")], 1).await;
}

#[tokio::test]
async fn a_listener_asks_the_client_that_a_trusted_proxy_tells_and_not_the_proxy() {
    let backend = Backend::bind().await;
    let keys = "allow = [\"192.0.2.0/24\"]\nmax_connections_per_client = 1";
    let text = "trusted_proxies = [\"127.0.0.1\"]\n".to_owned() + &route(&[&backend.address()], "") + &listening(keys);
    let proxy = Proxy::with_workers(2, &text).await;
    let open = backend.open_with(proxy.address, &from("192.0.2.1"), &[]).await;
    let _other = backend.open_with(proxy.address, &from("192.0.2.2"), &[]).await;
    // Who would be a second of the first client, who comes from elsewhere, and who is not told of.
    for (request, status, outcome, reason) in [
        (from("192.0.2.1"), 429, "limited", "max_connections_per_client of the listener"),
        (from("198.51.100.1"), 403, "network_refused", "network"),
        (from("192.0.2.3, 198.51.100.1"), 403, "network_refused", "network"),
        (Request::upgrade("/"), 403, "network_refused", "network"),
    ] {
        let reply = proxy.answer(&request).await;
        assert_eq!(reply.status, status, "{reply:?}");
        let line = proxy.wait_for_access(|line| line["status"] == status && line["outcome"] == outcome).await;
        assert!(line["reason"].as_str().unwrap().contains(reason), "{line}");
    }
    drop(open);
    proxy.wait_for_access(|line| line["outcome"] == "upgraded").await;
    // Its place is given back a moment after its line is written.
    let again = async {
        loop {
            let (peer, reply) = Peer::handshake(proxy.address, &from("192.0.2.1")).await;
            if reply.status == 101 {
                return peer;
            }
        }
    };
    tokio::join!(again, backend.accept());
}

#[tokio::test]
async fn a_route_keeps_out_clients_by_what_trusted_proxies_say_of_them() {
    let backend = Backend::bind().await;
    let text = format!(
        "trusted_proxies = [\"127.0.0.1\"]\n{}[[routes]]\nname = \"inner\"\npath = \"/inner\"\nupstream = \"back\"\n\
         allow = [\"10.0.0.0/8\", \"2001:db8::/32\"]\ndeny = [\"10.1.0.0/16\"]\n[[routes]]\nname = \"open\"\nupstream = \"back\"\n",
        upstream("back", &[&backend.address()], "")
    );
    let proxy = Proxy::start(&text).await;
    let inner = |client: &str| Request::upgrade("/inner").with("X-Forwarded-For", client);
    for allowed in ["10.0.0.1", "2001:db8::1"] {
        backend.open_with(proxy.address, &inner(allowed), &[]).await;
    }
    for denied in ["10.1.0.1", "192.0.2.1", "::1"] {
        let reply = proxy.answer(&inner(denied)).await;
        assert_eq!(reply.status, 403, "{denied} {reply:?}");
    }
    backend.open_with(proxy.address, &from("192.0.2.1"), &[]).await;
    let refused = [("route", "inner"), ("outcome", "network_refused")];
    proxy.until("tidegate_handshakes_total", &refused, 3).await;
}

#[tokio::test]
async fn a_reload_keeps_out_who_comes_and_leaves_who_is_there() {
    let backend = Backend::bind().await;
    let text = route(&[&backend.address()], "");
    let proxy = Proxy::start(&(text.clone() + &listening(""))).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    proxy.rewrite(&(text + &listening("deny = [\"127.0.0.1\"]")));
    assert_eq!(proxy.reload().await.status, 200);
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 403);
    client.send(tidegate_tests::Frame::text("still here")).await;
    upstream.expect(tidegate_tests::Frame::text("still here")).await;
}
