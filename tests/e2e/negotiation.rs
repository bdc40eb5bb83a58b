//! Subprotocols and extensions: negotiated end to end, never invented.

use tidegate_tests::config::{guest, route};
use tidegate_tests::{Backend, Frame, Head, Peer, Proxy, Reply, Request};

/// A handshake with `offer` through a route described by `rest`, answered with the header lines `answer`.
struct Negotiation {
    arrived: Head,
    reply: Reply,
    client: Peer,
    upstream: Peer,
    _proxy: Proxy,
}

async fn negotiate(rest: &str, offer: Request, answer: &[&str]) -> Negotiation {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&route(&[&backend.address()], rest)).await;
    let upstream = async {
        let (mut upstream, head) = backend.request().await;
        upstream.accept(&head, answer).await;
        (upstream, head)
    };
    let ((client, reply), (upstream, arrived)) = tokio::join!(Peer::handshake(proxy.address, &offer), upstream);
    Negotiation { arrived, reply, client, upstream, _proxy: proxy }
}

fn filtered() -> String {
    format!("filters = [\"script\"]\n{}", guest("script"))
}

const DEFLATE: &str = "permessage-deflate; client_no_context_takeover; client_max_window_bits";

#[tokio::test]
async fn the_clients_subprotocols_reach_the_upstream_and_its_choice_comes_back() {
    let offer = Request::upgrade("/").with("Sec-WebSocket-Protocol", "chat.v2, chat.v1");
    let negotiation = negotiate("", offer, &["Sec-WebSocket-Protocol: chat.v1"]).await;
    assert_eq!(negotiation.arrived.joined("sec-websocket-protocol"), "chat.v2, chat.v1");
    assert_eq!(negotiation.reply.status, 101);
    assert_eq!(negotiation.reply.header("sec-websocket-protocol"), "chat.v1");
}

#[tokio::test]
async fn an_upstream_may_choose_no_subprotocol() {
    let offer = Request::upgrade("/").with("Sec-WebSocket-Protocol", "chat");
    let negotiation = negotiate("", offer, &[]).await;
    assert_eq!(negotiation.reply.status, 101);
    assert_eq!(negotiation.reply.head.header("sec-websocket-protocol"), None);
}

#[tokio::test]
async fn a_subprotocol_that_was_not_offered_gets_the_client_502() {
    let offer = Request::upgrade("/").with("Sec-WebSocket-Protocol", "chat");
    assert_eq!(negotiate("", offer, &["Sec-WebSocket-Protocol: stomp"]).await.reply.status, 502);
}

#[tokio::test]
async fn a_subprotocol_that_nobody_asked_for_gets_the_client_502() {
    assert_eq!(negotiate("", Request::upgrade("/"), &["Sec-WebSocket-Protocol: chat"]).await.reply.status, 502);
}

#[tokio::test]
async fn a_relay_passes_the_offer_of_extensions_and_its_answer() {
    let offer = Request::upgrade("/").with("Sec-WebSocket-Extensions", DEFLATE);
    let negotiation = negotiate("", offer, &["Sec-WebSocket-Extensions: permessage-deflate"]).await;
    assert_eq!(negotiation.arrived.joined("sec-websocket-extensions"), DEFLATE);
    assert_eq!(negotiation.reply.status, 101);
    assert_eq!(negotiation.reply.header("sec-websocket-extensions"), "permessage-deflate");
}

#[tokio::test]
async fn a_relay_carries_compressed_frames_as_they_are() {
    let offer = Request::upgrade("/").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let mut negotiation = negotiate("", offer, &["Sec-WebSocket-Extensions: permessage-deflate"]).await;
    let hello = Frame::text("").with_reserved(4);
    let compressed = Frame { payload: vec![0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], ..hello };
    negotiation.client.send(compressed.clone()).await;
    negotiation.upstream.expect(compressed.clone()).await;
    negotiation.upstream.send(compressed.clone()).await;
    negotiation.client.expect(compressed).await;
}

#[tokio::test]
async fn a_filtered_route_offers_nothing_but_compression_and_passes_its_answer() {
    let offer = Request::upgrade("/")
        .with("Sec-WebSocket-Extensions", "x-other; a=1, permessage-deflate; server_max_window_bits=10")
        .with("Sec-WebSocket-Extensions", DEFLATE);
    let answer = "permessage-deflate; client_max_window_bits=12; client_no_context_takeover";
    let negotiation = negotiate(&filtered(), offer, &[&format!("Sec-WebSocket-Extensions: {answer}")]).await;
    let offered = format!("permessage-deflate; server_max_window_bits=10, {DEFLATE}");
    assert_eq!(negotiation.arrived.joined("sec-websocket-extensions"), offered);
    assert_eq!(negotiation.reply.status, 101);
    assert_eq!(negotiation.reply.header("sec-websocket-extensions"), answer);
}

#[tokio::test]
async fn a_filtered_route_without_an_offer_of_compression_offers_nothing() {
    let offer = Request::upgrade("/").with("Sec-WebSocket-Extensions", "x-other");
    let negotiation = negotiate(&filtered(), offer, &[]).await;
    assert_eq!(negotiation.arrived.header("sec-websocket-extensions"), None);
    assert_eq!(negotiation.reply.status, 101);
    assert_eq!(negotiation.reply.head.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn an_extension_that_was_withheld_gets_the_client_502() {
    let offer = Request::upgrade("/").with("Sec-WebSocket-Extensions", "x-other, permessage-deflate");
    assert_eq!(negotiate(&filtered(), offer, &["Sec-WebSocket-Extensions: x-other"]).await.reply.status, 502);
}

#[tokio::test]
async fn an_extension_that_was_not_offered_gets_the_client_502() {
    let answer = ["Sec-WebSocket-Extensions: permessage-deflate"];
    assert_eq!(negotiate("", Request::upgrade("/"), &answer).await.reply.status, 502);
    let offer = Request::upgrade("/").with("Sec-WebSocket-Extensions", "x-other");
    assert_eq!(negotiate("", offer, &answer).await.reply.status, 502);
}
