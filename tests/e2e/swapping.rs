//! A changed filter under open connections: who serves them from then on, with what state, and that no socket notices.

use tidegate_tests::config::{guest, route, upstream};
use tidegate_tests::{Backend, Echo, Frame, Peer, Proxy, Request};

const SWAPS: &str = "tidegate_component_swaps_total";
const CONNECTIONS: &str = "tidegate_component_connections";
const FAILURES: &str = "tidegate_component_failures_total";

/// One route through the counter.
fn counting(address: &str, config: &str, rest: &str) -> String {
    let filters = format!("filters = [{{ component = \"counter\", config = {{ {config} }} }}]\n{rest}");
    format!("{}\n{}", route(&[address], &filters), guest("counter"))
}

/// Waits until the files are in force, which the proxy may have noticed by itself.
async fn applied(proxy: &Proxy) {
    let reply = proxy.reload().await;
    assert_eq!(reply.status, 200, "{reply:?}");
}

/// The generations whose versions of the counter are kept.
async fn versions(proxy: &Proxy) -> Vec<u64> {
    let components = proxy.admin("GET", "/api/v1/components").await;
    let components: serde_json::Value = serde_json::from_str(&components.body).unwrap();
    let counter = components.as_array().unwrap().iter().find(|component| component["name"] == "counter").unwrap();
    let versions = counter["versions"].as_array().unwrap();
    versions.iter().map(|version| version["generation"].as_u64().unwrap()).collect()
}

fn swaps(outcome: &str) -> [(&str, &str); 3] {
    [("route", "main"), ("component", "counter"), ("outcome", outcome)]
}

fn served(generation: &str) -> [(&str, &str); 3] {
    [("route", "main"), ("component", "counter"), ("generation", generation)]
}

#[tokio::test]
async fn a_filter_with_another_configuration_goes_on_where_its_former_version_stood() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "label = 'a'", "")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("a1:x")).await;
    proxy.rewrite(&counting(&backend.address(), "label = 'b'", ""));
    applied(&proxy).await;
    proxy.until(SWAPS, &swaps("swapped"), 1).await;
    client.send(Frame::text("y")).await;
    upstream.expect(Frame::text("b2:y")).await;
    assert_eq!(versions(&proxy).await, [2], "the former version is still kept");
    upstream.send(Frame::text("untouched")).await;
    client.expect(Frame::text("untouched")).await;
}

#[tokio::test]
async fn a_rebuilt_component_takes_over_by_itself() {
    let backend = Backend::bind().await;
    let config = |address: &str| {
        let filters = "filters = [\"own\"]\n[components.own]\npath = \"own.wasm\"\ndeadline = \"1s\"";
        route(&[address], filters)
    };
    let before = route(&[&backend.address()], "");
    let proxy = Proxy::start(&before).await;
    proxy.place("own.wasm", tidegate_tests::guests::rebuilt("counter", 1));
    proxy.rewrite(&config(&backend.address()));
    proxy.until("tidegate_config_generation", &[], 2).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    for build in 2..5_u8 {
        client.send(Frame::text("x")).await;
        upstream.expect(Frame::text(format!("{}:x", build - 1))).await;
        proxy.place("own.wasm", tidegate_tests::guests::rebuilt("counter", build));
        let own = [("route", "main"), ("component", "own"), ("outcome", "swapped")];
        proxy.until(SWAPS, &own, u64::from(build) - 1).await;
    }
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("4:x")).await;
}

#[tokio::test]
async fn a_message_under_way_is_decided_by_one_version() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "label = 'a'", "")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("fir").unfinished()).await;
    client.send(Frame::ping("here")).await;
    upstream.expect(Frame::ping("here")).await;
    proxy.rewrite(&counting(&backend.address(), "label = 'b'", ""));
    applied(&proxy).await;
    proxy.until(SWAPS, &swaps("swapped"), 1).await;
    client.send(Frame::continuation("st")).await;
    upstream.expect(Frame::text("b1:first")).await;
}

#[tokio::test]
async fn with_keep_an_open_connection_stays_with_the_version_it_began_with() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "label = 'a'", "on_change = 'keep'")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    proxy.rewrite(&counting(&backend.address(), "label = 'b'", "on_change = 'keep'"));
    applied(&proxy).await;
    let (mut newcomer, mut its_upstream) = backend.open(proxy.address, "/").await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("a1:x")).await;
    newcomer.send(Frame::text("x")).await;
    its_upstream.expect(Frame::text("b1:x")).await;
    let metrics = proxy.metrics().await;
    assert_eq!(metrics.count(CONNECTIONS, &served("1")), 1);
    assert_eq!(metrics.count(CONNECTIONS, &served("2")), 1);
    assert_eq!(versions(&proxy).await, [1, 2]);
}

#[tokio::test]
async fn a_former_version_leaves_nothing_behind_when_its_last_connection_ends() {
    let backend = Backend::bind().await;
    let proxy = Proxy::start(&counting(&backend.address(), "label = 'a'", "on_change = 'keep'")).await;
    let (client, mut upstream) = backend.open(proxy.address, "/").await;
    let memory = |samples: &tidegate_tests::Samples| {
        samples.count("tidegate_component_memory_bytes", &[("component", "counter")])
    };
    let one = memory(&proxy.metrics().await);
    proxy.rewrite(&counting(&backend.address(), "label = 'b'", "on_change = 'keep'"));
    applied(&proxy).await;
    let (mut newcomer, mut its_upstream) = backend.open(proxy.address, "/").await;
    newcomer.send(Frame::text("x")).await;
    its_upstream.expect(Frame::text("b1:x")).await;
    assert_eq!(memory(&proxy.metrics().await), 2 * one);
    drop(client);
    upstream.expect_close(1001).await;
    drop(upstream);
    let samples = proxy.until("tidegate_connections_active", &[("route", "main")], 1).await;
    assert_eq!(memory(&samples), one);
    assert_eq!(samples.count(CONNECTIONS, &served("1")), 0);
}

#[tokio::test]
async fn with_drain_an_open_connection_is_closed_with_1012() {
    let backend = Backend::bind().await;
    let draining = |label: &str| {
        let rest = "on_change = 'drain'";
        format!("drain_time = \"10ms\"\n{}", counting(&backend.address(), &format!("label = '{label}'"), rest))
    };
    let proxy = Proxy::start(&draining("a")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    proxy.rewrite(&draining("b"));
    applied(&proxy).await;
    client.expect_close(1012).await;
    upstream.expect_close(1012).await;
}

#[tokio::test]
async fn a_route_that_did_not_change_is_not_touched() {
    let backend = Backend::bind().await;
    let both = |label: &str| {
        let main = counting(&backend.address(), &format!("label = '{label}'"), "");
        let other = "[[routes]]\nname = \"other\"\npath = \"/other\"\nupstream = \"back\"\non_change = \"drain\"\n\
                     filters = [{ component = \"counter\", config = { label = \"o\" } }]";
        format!("drain_time = \"0s\"\n{main}\n{other}\n")
    };
    let proxy = Proxy::start(&both("a")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/other").await;
    proxy.rewrite(&both("b"));
    applied(&proxy).await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("o1:x")).await;
    let metrics = proxy.metrics().await;
    let other = [("route", "other"), ("component", "counter"), ("generation", "1")];
    assert_eq!(metrics.count(CONNECTIONS, &other), 1);
}

#[tokio::test]
async fn filters_that_are_alike_keep_their_own_places() {
    let backend = Backend::bind().await;
    let counter = "{ component = \"counter\", config = { label = 'a' } }";
    let chain = route(&[&backend.address()], &format!("filters = [{counter}, {counter}]\n{}", guest("counter")));
    let proxy = Proxy::start(&chain).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    for generation in 2..5 {
        let other = format!("[[routes]]\nname = \"other\"\npath = \"/{generation}\"\nupstream = \"back\"\n");
        proxy.rewrite(&format!("{chain}\n{other}"));
        applied(&proxy).await;
        client.send(Frame::text("x")).await;
        let count = generation - 1;
        upstream.expect(Frame::text(format!("a{count}:a{count}:x"))).await;
    }
    assert_eq!(proxy.metrics().await.count(SWAPS, &swaps("swapped")), 0);
}

#[tokio::test]
async fn another_upstream_moves_new_connections_only() {
    let (old, new) = (Backend::bind().await, Backend::bind().await);
    let proxy = Proxy::start(&counting(&old.address(), "label = 'a'", "")).await;
    let (mut client, mut upstream) = old.open(proxy.address, "/").await;
    proxy.rewrite(&counting(&new.address(), "label = 'a'", ""));
    applied(&proxy).await;
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("a1:x")).await;
    let (mut newcomer, mut its_upstream) = new.open(proxy.address, "/").await;
    newcomer.send(Frame::text("x")).await;
    its_upstream.expect(Frame::text("a1:x")).await;
    assert_eq!(proxy.metrics().await.count(SWAPS, &swaps("swapped")), 0);
}

#[tokio::test]
async fn a_version_that_does_not_take_over_leaves_the_former_one_in_its_place() {
    for (how, reason) in [("refuse_to_resume = true", "resume"), ("fail_to_resume = true", "trap")] {
        let backend = Backend::bind().await;
        let proxy = Proxy::start(&counting(&backend.address(), "label = 'a'", "")).await;
        let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
        client.send(Frame::text("x")).await;
        upstream.expect(Frame::text("a1:x")).await;
        proxy.rewrite(&counting(&backend.address(), &format!("label = 'b', {how}"), ""));
        applied(&proxy).await;
        let metrics = proxy.until(SWAPS, &swaps("failed"), 1).await;
        assert_eq!(metrics.count(FAILURES, &[("component", "counter"), ("reason", reason)]), 1, "{how}");
        client.send(Frame::text("y")).await;
        upstream.expect(Frame::text("a2:y")).await;
        proxy.rewrite(&counting(&backend.address(), "label = 'c'", ""));
        applied(&proxy).await;
        proxy.until(SWAPS, &swaps("swapped"), 1).await;
        client.send(Frame::text("z")).await;
        upstream.expect(Frame::text("c3:z")).await;
    }
}

#[tokio::test]
async fn where_one_of_two_filters_does_not_take_over_none_does() {
    let backend = Backend::bind().await;
    let chain = |first: &str, second: &str| {
        let filter = |config: &str| format!("{{ component = \"counter\", config = {{ {config} }} }}");
        let filters = format!("filters = [{}, {}]\n{}", filter(first), filter(second), guest("counter"));
        route(&[&backend.address()], &filters)
    };
    let proxy = Proxy::start(&chain("label = 'a'", "label = 'b'")).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    proxy.rewrite(&chain("label = 'c'", "label = 'd', refuse_to_resume = true"));
    applied(&proxy).await;
    let metrics = proxy.until(SWAPS, &swaps("failed"), 1).await;
    assert_eq!(metrics.count(SWAPS, &swaps("swapped")), 0);
    client.send(Frame::text("x")).await;
    upstream.expect(Frame::text("b1:a1:x")).await;
}

#[tokio::test]
async fn filters_come_and_go_under_an_open_connection() {
    let backend = Backend::bind().await;
    let chain = |labels: &[&str]| {
        let filters: Vec<_> = labels
            .iter()
            .map(|label| format!("{{ component = \"counter\", config = {{ label = '{label}' }} }}"))
            .collect();
        format!(
            "{}\n{}",
            route(&[&backend.address()], &format!("filters = [{}]", filters.join(", "))),
            guest("counter")
        )
    };
    let proxy = Proxy::start(&chain(&["a"])).await;
    let (mut client, mut upstream) = backend.open(proxy.address, "/").await;
    let mut swapped = 0;
    for (labels, expected) in [(&["a"][..], "a1:x"), (&["a", "b"], "b1:a2:x"), (&["b"], "b2:x"), (&[], "x")] {
        proxy.rewrite(&chain(labels));
        proxy.reload().await;
        proxy.until(CONNECTIONS, &[("component", "counter")], labels.len() as u64).await;
        client.send(Frame::text("x")).await;
        upstream.expect(Frame::text(expected)).await;
        // With the last filter its series are gone, once they have been shown a last time.
        if !labels.is_empty() {
            swapped = proxy.metrics().await.count(SWAPS, &swaps("swapped"));
        }
    }
    assert_eq!(swapped, 1);
}

#[tokio::test]
async fn a_connection_that_was_read_by_nobody_stays_so_when_its_messages_are_compressed() {
    let backend = Backend::bind().await;
    let script = |direction: &str| {
        let config = format!("tag = '!', {direction} = 'off'");
        let filters = format!("filters = [{{ component = \"script\", config = {{ {config} }} }}]");
        format!("{}\n{}", route(&[&backend.address()], &filters), guest("script"))
    };
    let proxy = Proxy::start(&script("from_client")).await;
    let offer = Request::upgrade("/").with("Sec-WebSocket-Extensions", "permessage-deflate");
    let accepted = ["Sec-WebSocket-Extensions: permessage-deflate"];
    let (mut client, mut upstream) = backend.open_with(proxy.address, &offer, &accepted).await;
    proxy.rewrite(&script("from_upstream"));
    applied(&proxy).await;
    let failed = [("route", "main"), ("component", "script"), ("outcome", "failed")];
    proxy.until(SWAPS, &failed, 1).await;
    client.send(Frame::text("as it is")).await;
    upstream.expect(Frame::text("as it is")).await;
    upstream.send(Frame::text("marked")).await;
    client.expect(Frame::text("marked!")).await;
}

#[tokio::test]
async fn no_message_is_lost_repeated_or_reordered_by_reloads_under_traffic() {
    let (connections, reloads) = (scale("TIDEGATE_SWAP_CONNECTIONS", 16), scale("TIDEGATE_SWAP_RELOADS", 20));
    let echo = Echo::start().await;
    let config = |label: usize| {
        let filters = format!(
            "filters = [{{ component = \"own\", config = {{ label = 'v{label} ' }} }}]\n[components.own]\n\
             path = \"own.wasm\"\ndeadline = \"1s\"\n"
        );
        format!("{}{}", upstream("back", &[echo.address()], ""), "[[routes]]\nname = \"main\"\nupstream = \"back\"\n")
            + &filters
    };
    let proxy = Proxy::start(&route(&[echo.address()], "")).await;
    proxy.place("own.wasm", tidegate_tests::guests::rebuilt("counter", 0));
    proxy.rewrite(&config(0));
    proxy.until("tidegate_config_generation", &[], 2).await;

    let (stop, _) = tokio::sync::watch::channel(false);
    let mut talks = tokio::task::JoinSet::new();
    for _ in 0..connections {
        let client = proxy.open("/").await;
        talks.spawn(talk(client, stop.subscribe()));
    }
    let mut generation = 2;
    for reload in 1..=reloads {
        match reload % 4 {
            1 => proxy.rewrite(&config(reload)),
            2 => {
                proxy.place("own.wasm", tidegate_tests::guests::rebuilt("counter", u8::try_from(reload % 250).unwrap()))
            }
            3 => proxy.place("own.wasm", &tidegate_tests::guests::bytes("counter")[..1000]),
            _ => {
                proxy.place("own.wasm", tidegate_tests::guests::rebuilt("counter", u8::try_from(reload % 250).unwrap()))
            }
        }
        let reply = proxy.reload().await;
        assert_eq!(reply.body.contains("rejected"), reload % 4 == 3, "{reload}: {reply:?}");
        generation = proxy.metrics().await.count("tidegate_config_generation", &[]).max(generation);
    }
    assert!(generation > 2, "nothing was reloaded");
    stop.send_replace(true);
    let mut sent = 0;
    while let Some(count) = talks.join_next().await {
        sent += count.unwrap();
    }
    let samples = proxy.metrics().await;
    let label = [("route", "main"), ("from", "client"), ("kind", "text")];
    assert_eq!(samples.count("tidegate_messages_total", &label), sent);
    assert_eq!(samples.count(SWAPS, &[("route", "main"), ("component", "own"), ("outcome", "failed")]), 0);
    let swapped = samples.count(SWAPS, &[("route", "main"), ("component", "own"), ("outcome", "swapped")]);
    assert!(swapped >= connections as u64, "{swapped} swaps");
    #[expect(clippy::print_stdout, reason = "a figure for whoever asks with --nocapture")]
    {
        println!("{sent} messages on {connections} connections, {swapped} swaps, {} generations", generation - 2);
    }
}

/// Pipelines numbered messages until told to stop, checking that the counter counts each one once. Gives how many.
pub(crate) async fn talk(mut client: Peer, stop: tokio::sync::watch::Receiver<bool>) -> u64 {
    const WINDOW: u64 = 8;
    let (mut sent, mut received) = (0, 0);
    loop {
        while sent < received + WINDOW && !*stop.borrow() {
            client.send(Frame::text(format!("{sent}"))).await;
            sent += 1;
        }
        if received == sent {
            return sent;
        }
        let text = client.frame().await.as_text();
        let said = text.split_once(' ').map(|(_, said)| said);
        assert_eq!(said, Some(format!("{}:{received}", received + 1).as_str()), "{text}");
        received += 1;
    }
}

fn scale(variable: &str, default: usize) -> usize {
    std::env::var(variable).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}
