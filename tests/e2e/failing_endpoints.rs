//! What the endpoints that do not answer cost the clients of those that do.

use std::collections::BTreeMap;

use tidegate_tests::{Echo, Frame, Peer, Proxy, Request, refused_address};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const POLICIES: [&str; 5] = ["round-robin", "least-connections", "p2c", "random", "consistent-hash"];

/// One upstream with these endpoints and keys, and one route to it.
fn config(keys: &str, addresses: &[String]) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|address| format!("{{ url = \"ws://{address}\" }}")).collect();
    let endpoints = endpoints.join(", ");
    format!("[upstreams.back]\n{keys}\nendpoints = [{endpoints}]\n[[routes]]\nname = \"main\"\nupstream = \"back\"\n")
}

/// A policy, with a key for the one that has keys.
fn balance(policy: &str) -> String {
    match policy {
        "consistent-hash" => {
            "balance = { component = \"consistent-hash\", config = { key = \"header:x-user\" } }".to_owned()
        }
        _ => format!("balance = \"{policy}\""),
    }
}

/// An address whose connection attempts the kernel ignores: its accept queue is full.
struct Silent {
    address: String,
    _listener: TcpListener,
    _filling: TcpStream,
}

impl Silent {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let address = listener.local_addr().unwrap();
        Self { address: address.to_string(), _filling: TcpStream::connect(address).await.unwrap(), _listener: listener }
    }
}

/// Opens connections one after the other and keeps them; gives how often each status came.
async fn handshakes(proxy: &Proxy, count: usize) -> (BTreeMap<u16, usize>, Vec<Peer>) {
    let (mut statuses, mut open) = (BTreeMap::new(), Vec::new());
    for number in 0..count {
        let request = Request::upgrade("/").with("X-User", &format!("user-{number}"));
        let (client, reply) = Peer::handshake(proxy.address, &request).await;
        *statuses.entry(reply.status).or_default() += 1;
        open.push(client);
    }
    (statuses, open)
}

/// Attempts that failed, by endpoint.
async fn failed_attempts(proxy: &Proxy) -> u64 {
    let outcomes = proxy.metrics().await.by_label("tidegate_upstream_connects_total", "outcome");
    outcomes.iter().filter(|(outcome, _)| *outcome != "connected").map(|(_, count)| count).sum()
}

#[tokio::test]
async fn two_dead_and_a_silent_one_of_ten_endpoints_cost_two_handshakes_at_most_and_with_three_retries_none() {
    for (policy, retries) in POLICIES.iter().flat_map(|policy| [(policy, 1), (policy, 3)]) {
        let mut echoes = Vec::new();
        for _ in 0..7 {
            echoes.push(Echo::start().await);
        }
        let silent = Silent::start().await;
        let mut addresses = vec![refused_address(), silent.address.clone()];
        addresses.extend(echoes.iter().map(|echo| echo.address().to_owned()));
        addresses.insert(5, refused_address());
        let keys = format!("{}\nretries = {retries}\nconnect_timeout = \"500ms\"", balance(policy));
        let proxy = Proxy::start(&config(&keys, &addresses)).await;

        let (statuses, _open) = handshakes(&proxy, 200).await;

        let refused = 200 - statuses.get(&101).copied().unwrap_or(0);
        assert!(refused <= if retries == 1 { 2 } else { 0 }, "{policy}, {retries} retries: {statuses:?}");
        let failed = failed_attempts(&proxy).await;
        assert!(failed <= 30, "{policy}, {retries} retries: {failed} attempts failed");
    }
}

#[tokio::test]
async fn no_client_of_a_consistent_hash_is_refused_for_ever() {
    let alive = Echo::start().await;
    let addresses = [refused_address(), alive.address().to_owned(), refused_address()];
    for user in 0..12 {
        // For each user a proxy that knows nothing of the endpoints from others.
        let proxy = Proxy::start(&config(&balance("consistent-hash"), &addresses)).await;
        let request = Request::upgrade("/").with("X-User", &format!("user-{user}"));
        let first = proxy.answer(&request).await.status;
        assert!([101, 502].contains(&first));
        assert_eq!(proxy.answer(&request).await.status, 101, "user {user} at the second time");
    }
}

#[tokio::test]
async fn all_workers_know_what_one_has_found_out() {
    let (alive, dead) = (Echo::start().await, refused_address());
    let addresses = [dead.clone(), alive.address().to_owned()];
    let proxy = Proxy::with_workers(4, &config("balance = \"random\"", &addresses)).await;
    let (statuses, _open) = handshakes(&proxy, 60).await;
    assert_eq!(statuses, BTreeMap::from([(101, 60)]));
    // Each handshake would have found out for itself half the time, each worker at least once.
    let failed = failed_attempts(&proxy).await;
    assert!((1..=3).contains(&failed), "{failed} attempts failed");
}

#[tokio::test]
async fn an_endpoint_that_answers_503_to_all_is_not_sought_for_having_no_connections() {
    let full = tidegate_tests::Backend::bind().await;
    let full = full.always_answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let alive = Echo::start().await;
    let proxy = Proxy::start(&config(&balance("least-connections"), &[full, alive.address().to_owned()])).await;
    let (statuses, _open) = handshakes(&proxy, 40).await;
    assert_eq!(statuses, BTreeMap::from([(101, 40)]));
    let failed = failed_attempts(&proxy).await;
    assert!((3..=6).contains(&failed), "{failed} attempts failed");
}

#[tokio::test]
async fn an_endpoint_that_stops_answering_and_one_that_is_back_are_told_of_once() {
    let alive = Echo::named("B").await;
    let address = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().to_string()
    };
    let proxy = Proxy::start(&config("", &[address.clone(), alive.address().to_owned()])).await;
    let url = format!("ws://{address}");
    let labels = [("upstream", "back"), ("endpoint", url.as_str())];

    let (statuses, _open) = handshakes(&proxy, 10).await;
    assert_eq!(statuses, BTreeMap::from([(101, 10)]));
    let line = proxy.wait_for_log(&["an endpoint stopped answering", &url]).await;
    assert_eq!((line["level"].as_str(), line["upstream"].as_str()), (Some("WARN"), Some("back")));
    assert!(line["reason"].as_str().unwrap().contains("refused"), "{line}");
    proxy.until("tidegate_upstream_endpoint_failing", &labels, 1).await;
    let view: serde_json::Value = serde_json::from_str(&proxy.admin("GET", "/api/v1/upstreams").await.body).unwrap();
    let endpoints = &view["upstreams"].get(0).unwrap_or(&view[0])["endpoints"];
    assert_eq!(endpoints[0]["failing"]["last_failure"], "refused", "{view}");
    assert!(endpoints[1].get("failing").is_none(), "{view}");

    let _back = Echo::named_at(&address, "A").await;
    // One of the handshakes after a while finds out.
    while proxy.metrics().await.count("tidegate_upstream_endpoint_failing", &labels) == 1 {
        let mut client = proxy.open("/").await;
        client.send(Frame::text("")).await;
        client.frame().await;
    }
    let line = proxy.wait_for_log(&["an endpoint answers again", &url]).await;
    assert_eq!(line["level"], "WARN");
    let told = proxy.log().iter().filter(|line| line.to_string().contains(&url)).count();
    assert_eq!(told, 2);
}
