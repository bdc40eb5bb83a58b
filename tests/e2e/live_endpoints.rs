//! Other endpoints in an upstream: routes and open connections have nothing to do with them.

use serde_json::{Value, json};
use tidegate_tests::config::guest;
use tidegate_tests::{Backend, Echo, Frame, Peer, Proxy, Request};

/// A route to endpoints at these addresses that comes into force when it is told to.
fn to(addresses: &[&str], upstream: &str, route: &str) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{ url = \"ws://{address}\" }}")).collect();
    format!(
        "watch = false\n{}[upstreams.back]\n{upstream}\nendpoints = [{}]\n\
         [[routes]]\nname = \"main\"\nupstream = \"back\"\nfilters = [\"counter\"]\n{route}\n",
        guest("counter"),
        endpoints.join(", ")
    )
}

fn parsed(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

async fn apply(proxy: &Proxy, config: &str) {
    proxy.rewrite(config);
    let reply = proxy.reload().await;
    assert_eq!(parsed(&reply.body)["outcome"], "applied", "{reply:?}");
}

/// Opens a WebSocket, sends its first message, and says which named echo it reached.
async fn named(proxy: &Proxy) -> (String, Peer) {
    let (mut client, reply) = Peer::handshake(proxy.address, &Request::upgrade("/")).await;
    assert_eq!(reply.status, 101, "{reply:?}");
    let name = said(&mut client).await;
    (name.trim_end_matches("1:").to_owned(), client)
}

/// Sends a message; the answer is the name of the echo with the count of messages that the filter keeps.
async fn said(client: &mut Peer) -> String {
    client.send(Frame::text("")).await;
    client.frame().await.as_text()
}

/// The endpoints as the admin API shows them: url and connections.
async fn shown(proxy: &Proxy) -> Vec<(String, u64)> {
    let upstreams = parsed(&proxy.admin("GET", "/api/v1/upstreams").await.body);
    let endpoints = upstreams[0]["endpoints"].as_array().unwrap().iter();
    endpoints.map(|it| (it["url"].as_str().unwrap().to_owned(), it["connections_active"].as_u64().unwrap())).collect()
}

#[tokio::test]
async fn a_reload_that_only_changes_endpoints_leaves_every_route_and_its_connections_alone() {
    for on_change in ["drain", "swap", "keep"] {
        let (a, b) = (Echo::named("A").await, Echo::named("B").await);
        let route = format!("on_change = \"{on_change}\"");
        let config = |addresses: &[&str]| to(addresses, "", &route);
        let proxy = Proxy::start(&config(&[a.address()])).await;
        let (name, mut client) = named(&proxy).await;
        assert_eq!(name, "A");

        proxy.rewrite(&config(&[b.address()]));
        let planned = parsed(&proxy.admin("POST", "/api/v1/reload?dry_run=true").await.body);
        let upstreams = json!([{ "name": "back", "change": "changed", "because": ["endpoints"] }]);
        let expected = json!({ "settings": [], "components": [], "upstreams": upstreams, "routes": [] });
        assert_eq!(planned["changes"], expected, "{on_change}");
        apply(&proxy, &config(&[b.address()])).await;

        assert_eq!(named(&proxy).await.0, "B", "{on_change}");
        assert_eq!(said(&mut client).await, "A2:", "{on_change}");
        let urls: Vec<_> = shown(&proxy).await.into_iter().map(|(url, _)| url).collect();
        assert_eq!(urls, [format!("ws://{}", b.address())]);
        let metrics = proxy.metrics().await;
        assert_eq!(metrics.count("tidegate_component_swaps_total", &[]), 0, "{on_change}");
        assert_eq!(metrics.count("tidegate_config_generation", &[]), 2, "{on_change}");
    }
}

#[tokio::test]
async fn an_endpoint_that_comes_back_still_has_the_connections_that_it_had() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let config = |addresses: &[&str]| to(addresses, "balance = \"least-connections\"", "");
    let proxy = Proxy::start(&config(&[a.address()])).await;
    let mut open = vec![named(&proxy).await, named(&proxy).await];
    apply(&proxy, &config(&[b.address()])).await;
    assert_eq!(named(&proxy).await.0, "B");
    proxy.until("tidegate_upstream_connections_active", &[("endpoint", &format!("ws://{}", b.address()))], 0).await;

    apply(&proxy, &config(&[b.address(), a.address()])).await;

    let urls = [&b, &a].map(|echo| format!("ws://{}", echo.address()));
    assert_eq!(shown(&proxy).await, urls.into_iter().zip([0, 2]).collect::<Vec<_>>());
    for _ in 0..4 {
        open.push(named(&proxy).await);
    }
    let names: String = open.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names.matches('A').count(), 3, "{names}");
    assert_eq!(names.get(..4), Some("AABB"));
}

#[tokio::test]
async fn an_upstream_that_goes_and_comes_back_still_has_the_connections_that_it_had() {
    let (a, b) = (Echo::named("A").await, Echo::named("B").await);
    let config = to(&[a.address()], "", "");
    let elsewhere = to(&[b.address()], "", "").replace("back", "other");
    let proxy = Proxy::start(&config).await;
    let (_, mut client) = named(&proxy).await;
    apply(&proxy, &elsewhere).await;
    assert_eq!(named(&proxy).await.0, "B");
    apply(&proxy, &config).await;
    assert_eq!(shown(&proxy).await, [(format!("ws://{}", a.address()), 1)]);
    assert_eq!(said(&mut client).await, "A2:");
}

#[tokio::test]
async fn a_handshake_under_way_goes_on_with_the_endpoints_that_there_are_by_then() {
    let (silent, b) = (Backend::bind().await, Echo::named("B").await);
    let config = |address: &str| to(&[address], "retries = 1", "");
    let proxy = Proxy::start(&config(&silent.address())).await;
    let opening = tokio::spawn({
        let address = proxy.address;
        async move { Peer::handshake(address, &Request::upgrade("/")).await }
    });
    let (upstream, _) = silent.request().await;
    apply(&proxy, &config(b.address())).await;
    upstream.reset();
    let (mut client, reply) = opening.await.unwrap();
    assert_eq!(reply.status, 101, "{reply:?}");
    assert_eq!(said(&mut client).await, "B1:");
}
