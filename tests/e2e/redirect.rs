//! A listener in clear text that sends everything to where TLS is spoken.

use tidegate_tests::config::route;
use tidegate_tests::{Backend, Peer, Proxy, Request};

async fn proxy(redirect: &str) -> Proxy {
    let backend = Backend::bind().await;
    let listener = format!("[[listeners]]\nlisten = \"127.0.0.1:0\"\nredirect = {redirect:?}\n");
    Proxy::start(&(route(&[&backend.address()], "") + &listener)).await
}

#[tokio::test]
async fn each_request_is_answered_with_its_own_url_over_tls() {
    let proxy = proxy("https").await;
    let mut client = Peer::connect(proxy.address).await;
    // All on one connection, a handshake among them.
    for (request, location) in [
        (Request::new("GET", "/a?b=c").replacing("Host", "Chat.example.com"), "https://chat.example.com/a?b=c"),
        (Request::upgrade("/ws").replacing("Host", "chat.example.com:80"), "https://chat.example.com/ws"),
        (
            Request::new("GET", "//evil.example/").replacing("Host", "chat.example.com"),
            "https://chat.example.com//evil.example/",
        ),
    ] {
        let reply = client.exchange(&request).await;
        assert_eq!((reply.status, reply.header("location")), (308, location), "{reply:?}");
    }
    let line = proxy.access_line().await;
    assert_eq!((&line["outcome"], &line["status"]), (&"redirected".into(), &308.into()), "{line}");
    proxy.until("tidegate_handshakes_total", &[("outcome", "redirected")], 3).await;
}

#[tokio::test]
async fn the_url_has_the_port_at_which_tls_is_spoken() {
    let proxy = proxy("https:8443").await;
    let reply = proxy.answer(&Request::new("GET", "/").replacing("Host", "chat.example.com:8080")).await;
    assert_eq!((reply.status, reply.header("location")), (308, "https://chat.example.com:8443/"), "{reply:?}");
}

#[tokio::test]
async fn what_names_no_host_is_sent_nowhere() {
    let proxy = proxy("https").await;
    let reply = proxy.answer(&Request::new("GET", "/").without("Host")).await;
    assert_eq!(reply.status, 400, "{reply:?}");
}
