//! What an operator sees: lists, series, lines of the logs.

use std::path::Path;

use serde_json::Value;
use tidegate_tests::config::{guest, route, upstream};
use tidegate_tests::{Backend, Echo, Finished, Frame, Peer, Proxy, Request, Samples, refused_address};

const RELOADS: &str = "tidegate_reloads_total";
const APPLIED: &[(&str, &str)] = &[("outcome", "applied")];

async fn listed(proxy: &Proxy, query: &str) -> Value {
    let reply = proxy.admin("GET", &format!("/api/v1/connections?{query}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    serde_json::from_str(&reply.body).unwrap()
}

#[tokio::test]
async fn a_list_longer_than_a_slice_is_whole_and_its_limit_keeps_the_oldest() {
    const OPEN: usize = 1_100;
    let echo = Echo::start().await;
    let proxy = Proxy::start(&route(&[echo.address()], "")).await;
    let mut open = Vec::new();
    for _ in 0..OPEN {
        open.push(proxy.open("/").await);
    }

    let all = listed(&proxy, "limit=10000").await;
    let oldest = listed(&proxy, "limit=7&route=main").await;

    let all = (all["total"].as_u64().unwrap(), all["connections"].as_array().unwrap().clone());
    assert_eq!((all.0, all.1.len()), (OPEN as u64, OPEN));
    let ages: Vec<_> = all.1.iter().map(|connection| connection["age_seconds"].as_f64().unwrap()).collect();
    assert!(ages.is_sorted_by(|one, next| one >= next), "{ages:?}");
    let id = |connection: &Value| connection["connection"].as_str().unwrap().to_owned();
    let first: Vec<_> = all.1.iter().take(7).map(id).collect();
    assert_eq!(oldest["connections"].as_array().unwrap().iter().map(id).collect::<Vec<_>>(), first);
    assert_eq!(oldest["total"], OPEN);
    assert_eq!(listed(&proxy, "route=other").await["total"], 0);
}

/// How many series are about routes, upstreams and components.
fn series(metrics: &str) -> usize {
    metrics.lines().filter(|line| !line.starts_with('#') && line.contains('{')).count()
}

#[tokio::test]
async fn reloads_with_renamed_routes_leave_no_series_behind_once_the_last_connection_has_ended() {
    const RENAMED: u64 = 40;
    let echo = Echo::start().await;
    let config = |index: u64| {
        let to = upstream(&format!("back-{index}"), &[echo.address()], "");
        format!("{to}\n[[routes]]\nname = \"route-{index}\"\nupstream = \"back-{index}\"\n")
    };
    let proxy = Proxy::start(&config(0)).await;
    let mut first = proxy.open("/").await;
    let before = series(&proxy.admin("GET", "/metrics").await.body);
    for index in 1..=RENAMED {
        proxy.rewrite(&config(index));
        assert_eq!(proxy.reload().await.status, 200);
        // A connection that comes and goes leaves counts.
        let mut client = proxy.open("/").await;
        client.send(Frame::close(1000, "")).await;
        client.expect_close(1000).await;
        client.expect_end().await;
    }

    let told = proxy.admin("GET", "/metrics").await.body;
    let still = Samples::parse(&told);
    assert_eq!(still.count("tidegate_connections_active", &[("route", "route-0")]), 1, "{told}");
    first.send(Frame::close(1000, "")).await;
    first.expect_close(1000).await;
    first.expect_end().await;

    let closed = [("route", "route-0"), ("by", "client"), ("code", "1000")];
    proxy.until("tidegate_closes_total", &closed, 1).await;
    // One more scrape has shown what was counted last; from then on it is gone.
    proxy.until("tidegate_closes_total", &[("route", "route-0")], 0).await;
    let after = proxy.admin("GET", "/metrics").await.body;
    for gone in ["route-0", "back-0", "route-1", "back-1", "route-39", "back-39"] {
        assert!(!after.contains(&format!("\"{gone}\"")), "{gone} is in {after}");
    }
    // A route that has seen a close has one series more.
    assert!(series(&after) <= before + 1, "{} series, and {before} before", series(&after));
}

#[tokio::test]
async fn the_admin_api_is_asked_by_a_dotted_name_that_is_configured_and_by_no_other() {
    let admin = "[admin]\nlisten = \"127.0.0.1:0\"\nhosts = [\"tidegate.example.com\"]\n";
    let proxy = Proxy::start(&route(&[&refused_address()], admin)).await;
    for (host, status) in [("tidegate.example.com:9900", 200), ("Tidegate.Example.Com", 200), ("evil.example.com", 421)]
    {
        let request = Request::new("GET", "/metrics").replacing("Host", host);
        assert_eq!(tidegate_tests::request(proxy.admin, &request).await.status, status, "{host}");
    }
}

#[tokio::test]
async fn an_access_line_says_which_filter_refused() {
    let filters =
        "filters = [{ component = \"access\", config = { tokens = [{ token = \"secret\", user = \"ann\" }] } }]";
    let proxy = Proxy::start(&route(&[&refused_address()], filters)).await;
    proxy.answer(&Request::upgrade("/")).await;
    let line = proxy.access_line().await;
    assert_eq!((&line["outcome"], &line["filter"]), (&"filter_refused".into(), &"access".into()), "{line}");
    assert_eq!(line["reason"], "unauthorized", "{line}");
}

#[tokio::test]
async fn an_access_line_says_what_is_wrong_with_a_handshake() {
    let proxy = Proxy::start(&route(&[&refused_address()], "path = \"/ws\"\nmax_connections = 1")).await;
    for (request, outcome, word) in [
        (Request::upgrade("/ws").without("Sec-WebSocket-Key"), "malformed", "sec-websocket-key"),
        (Request::upgrade("/ws").without("Upgrade").without("Sec-WebSocket-Key"), "upgrade_required", "upgrade"),
        (Request::upgrade("/ws").replacing("Sec-WebSocket-Version", "8"), "upgrade_required", "version 13"),
    ] {
        proxy.answer(&request).await;
        let says = |line: &Value| line["reason"].as_str().is_some_and(|reason| reason.to_lowercase().contains(word));
        proxy.wait_for_access(|line| line["outcome"] == outcome && says(line)).await;
    }
}

#[tokio::test]
async fn an_access_line_names_the_endpoints_that_were_tried_and_how_each_failed() {
    let (first, second) = (refused_address(), refused_address());
    let proxy = Proxy::start(&format!(
        "{}[[routes]]\nname = \"main\"\nupstream = \"back\"\n",
        upstream("back", &[&first, &second], "retries = 1")
    ))
    .await;
    assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 502);
    let line = proxy.access_line().await;
    let tried = line["tried"].as_array().unwrap_or_else(|| panic!("nothing was tried: {line}"));
    let mut endpoints: Vec<_> = tried.iter().map(|one| one["endpoint"].as_str().unwrap().to_owned()).collect();
    endpoints.sort();
    let mut expected = [format!("ws://{first}"), format!("ws://{second}")];
    expected.sort();
    assert_eq!(endpoints, expected, "{line}");
    assert!(tried.iter().all(|one| one["outcome"] == "refused" && one["error"] != ""), "{line}");
}

#[tokio::test]
async fn an_access_line_of_a_head_that_came_too_late_says_which_time_ran_out() {
    let listener = "[[listeners]]\nlisten = \"127.0.0.1:0\"\nhandshake_timeout = \"50ms\"\n";
    let proxy = Proxy::start(&route(&[&refused_address()], listener)).await;
    let mut client = Peer::connect(proxy.address).await;
    client.write("GET / HTTP/1.1\r\n").await;
    assert_eq!(client.read_reply().await.status, 408);
    let line = proxy.access_line().await;
    assert_eq!((&line["outcome"], &line["status"]), (&"client_timeout".into(), &408.into()), "{line}");
    let reason = "the head of the request has not come within 50ms (handshake_timeout)";
    assert_eq!(line["reason"], reason, "{line}");
}

#[tokio::test]
async fn an_endpoint_whose_name_has_no_address_is_not_said_to_refuse() {
    let proxy = Proxy::start(&route(&["nowhere.invalid:9001"], "")).await;
    assert!(matches!(proxy.answer(&Request::upgrade("/")).await.status, 502 | 504));
    let line = proxy.access_line().await;
    assert_eq!(line["tried"][0]["outcome"], "unresolved", "{line}");
    // It was tried again once, as by default.
    proxy.until("tidegate_upstream_connects_total", &[("outcome", "unresolved")], 2).await;
    let view = proxy.admin("GET", "/api/v1/upstreams").await;
    assert!(!view.body.contains("refused"), "{view:?}");
}

#[tokio::test]
async fn a_connection_leaves_a_line_when_it_opens_where_that_is_wanted() {
    let echo = Echo::start().await;
    let log = "[log]\nformat = \"json\"\naccess_on_open = true\n";
    let proxy = Proxy::start(&route(&[echo.address()], log)).await;
    let client = proxy.open("/").await;
    let opened = proxy.access_lines(1).await.remove(0);
    assert_eq!((&opened["event"], &opened["status"]), (&"open".into(), &101.into()), "{opened}");
    drop(client);
    let ended = proxy.access_lines(2).await.remove(1);
    assert_eq!((&ended["event"], &ended["connection"]), (&Value::Null, &opened["connection"]), "{ended}");
}

#[tokio::test]
async fn a_line_about_a_failure_names_the_connection() {
    let backend = Backend::bind().await;
    let rest = format!("filters = [{{ component = \"hostile\", config = {{ do = \"trap\" }} }}]\n{}", guest("hostile"));
    let proxy = Proxy::start(&route(&[&backend.address()], &rest)).await;
    let (mut client, _upstream) = backend.open(proxy.address, "/").await;
    let id = listed(&proxy, "").await["connections"][0]["connection"].as_str().unwrap().to_owned();
    client.send(Frame::text("boom")).await;
    client.expect_close(1011).await;
    let line = proxy.wait_for_log(&["\"reason\":\"trap\""]).await;
    assert_eq!(line["connection"], id.as_str(), "{line}");
}

#[tokio::test]
async fn a_reload_says_what_has_changed_and_that_nothing_has_and_that_a_good_file_is_back() {
    let good = route(&[&refused_address()], "");
    let changed = format!("{good}max_connections = 7\n");
    let proxy = Proxy::start(&good).await;

    assert_eq!(proxy.reload().await.status, 200);
    proxy.wait_for_log(&["nothing has changed"]).await;

    proxy.rewrite(&changed);
    proxy.until(RELOADS, APPLIED, 1).await;
    let line = proxy.wait_for_log(&["configuration reloaded"]).await;
    assert_eq!(line["changes"], "route main changed (settings)", "{line}");

    proxy.rewrite(&format!("{changed}nonsense = 1\n"));
    proxy.until(RELOADS, &[("outcome", "rejected")], 1).await;
    proxy.rewrite(&changed);
    proxy.wait_for_log(&["the file says again what is in force"]).await;

    proxy.rewrite(&format!("{changed}nonsense = 1\n"));
    proxy.until(RELOADS, &[("outcome", "rejected")], 2).await;
    proxy.rewrite(&good);
    proxy.wait_for_log(&["what was rejected is mended"]).await;
}

#[tokio::test]
async fn the_level_of_the_log_is_set_while_the_proxy_runs() {
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    let admin = proxy.admin.to_string();
    let level = |arguments: &'static [&'static str]| {
        let arguments = [&["log-level"], arguments, &["--admin", &admin]].concat();
        async move { Finished::run(Path::new("/"), &arguments).await }
    };
    let told = level(&[]).await;
    assert_eq!((told.code, told.stdout.trim()), (Some(0), "info"), "{told:?}");
    let told = level(&["debug"]).await;
    assert_eq!((told.code, told.stdout.trim()), (Some(0), "debug"), "{told:?}");
    proxy.answer(&Request::upgrade("/")).await;
    proxy.wait_for_log(&["no attempt to reach the upstream succeeded"]).await;
    assert_eq!(level(&["loud"]).await.code, Some(2));
}

#[tokio::test]
async fn access_lines_that_nobody_takes_are_counted_and_the_log_says_so_once() {
    for (redirection, error) in [("> /dev/full", "No space left"), ("> >(true)", "Broken pipe")] {
        let proxy = Proxy::redirected(redirection, &route(&[&refused_address()], "")).await;
        for lost in 1..=3 {
            assert_eq!(proxy.answer(&Request::upgrade("/")).await.status, 502);
            proxy.until("tidegate_log_lines_dropped_total", &[("log", "access")], lost).await;
        }
        let line = proxy.wait_for_log(&["lines of a log are lost", error]).await;
        assert_eq!(line["log"], "access", "{line}");
        assert_eq!(proxy.log().iter().filter(|line| line["message"] == "lines of a log are lost").count(), 1);
    }
}

#[tokio::test]
async fn a_client_that_leaves_within_its_request_is_told_and_one_that_says_nothing_is_counted() {
    const HANDSHAKES: &str = "tidegate_handshakes_total";
    let proxy = Proxy::start(&route(&[&refused_address()], "")).await;
    drop(Peer::connect(proxy.address).await);
    Peer::connect(proxy.address).await.reset();
    proxy.until(HANDSHAKES, &[("outcome", "no_request")], 2).await;
    for count in 1..=4 {
        let mut client = Peer::connect(proxy.address).await;
        client.write(["GET / HTTP/1.1\r\nHost: proxy.test\r\nUpgr", "G"][count % 2]).await;
        match count {
            1 | 2 => client.reset(),
            _ => drop(client),
        }
        proxy.until(HANDSHAKES, &[("outcome", "client_gone")], count as u64).await;
    }
    let lines = proxy.access_lines(4).await;
    for line in &lines {
        assert_eq!(line["reason"], "the client left before its request was there", "{line}");
        assert!(line.get("status").is_none(), "{line}");
    }
    assert_eq!(proxy.metrics().await.count(HANDSHAKES, &[("outcome", "no_request")]), 2);
}
