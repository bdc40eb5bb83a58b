//! A complete file and what it means.

use std::{path::PathBuf, time::Duration};

use super::{LEAST, accept, refuse, snapshot};
use crate::component::{Isolation, OnFailure};
use crate::config::{ComponentSource, MemorySize, Target, load};
use crate::route::{HostPattern, Origin, Origins, PathPattern};

const SAMPLE: &str = r#"
[admin]
listen = "127.0.0.1:9900"

[[listeners]]
listen = "0.0.0.0:8080"

[components.shout]
path = "filters/shout.wasm"

[upstreams.chat]
balance = "round-robin"
retries = 2
connect_timeout = "3s"
endpoints = [
  { url = "ws://127.0.0.1:9001", weight = 50, warmup = "30s", zone = "a", metadata = { version = "2", os = "x" } },
  { url = "ws://127.0.0.1:9002", weight = 50, enabled = false },
]

[[routes]]
name = "chat"
hosts = ["chat.example.com", "*.chat.example.com"]     # absent: any
path_prefix = "/ws/chat"
when = [{ component = "conditions", config = { all = [{ header = "x-tenant", op = "=", value = "gold" }] } }]
filters = ["shout", { component = "rate-limit", config = { messages_per_second = 50, burst = 100 }, on_failure = "close" }]
upstream = "chat"
allowed_origins = ["https://chat.example.com"]
ping_interval = "10s"
pong_timeout = "30s"
max_inactivity = "60s"
max_message_size = "1MiB"
"#;

#[test]
fn the_sample_means_what_it_says() {
    let config = accept(SAMPLE);

    assert_eq!(config.admin.map(|admin| admin.listen), "127.0.0.1:9900".parse().ok());
    assert_eq!(config.listeners[0].listen.to_string(), "0.0.0.0:8080");

    let upstream = &config.upstreams["chat"];
    assert_eq!((upstream.balance.component.as_str(), upstream.retries), ("round-robin", 2));
    assert_eq!(upstream.connect_timeout, Duration::from_secs(3));
    let endpoints: Vec<_> =
        upstream.endpoints.iter().map(|it| (it.address.url(), it.weight, it.warmup, it.enabled)).collect();
    assert_eq!(
        endpoints,
        [("ws://127.0.0.1:9001", 50, Some(Duration::from_secs(30)), true), ("ws://127.0.0.1:9002", 50, None, false),]
    );
    assert_eq!(upstream.endpoints[0].zone.as_deref(), Some("a"));
    let metadata = [("os", "x"), ("version", "2")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    assert_eq!(upstream.endpoints[0].metadata, metadata.into());

    let [route] = &config.routes[..] else { panic!("{:?}", config.routes) };
    assert_eq!(
        route.hosts,
        [HostPattern::Exact("chat.example.com".to_owned()), HostPattern::Subdomains("chat.example.com".to_owned())]
    );
    assert_eq!(route.path, PathPattern::prefix("/ws/chat").unwrap());
    assert_eq!(route.when[0].component, "conditions");
    assert_eq!(route.when[0].config.reveal(), r#"{"all":[{"header":"x-tenant","op":"=","value":"gold"}]}"#);
    let filters: Vec<_> =
        route.filters.iter().map(|it| (it.component.as_str(), it.config.reveal(), it.on_failure)).collect();
    assert_eq!(
        filters,
        [
            ("shout", "{}", OnFailure::Close),
            ("rate-limit", r#"{"burst":100,"messages_per_second":50}"#, OnFailure::Close),
        ]
    );
    assert_eq!(route.target, Target::Upstream("chat".to_owned()));
    assert_eq!(route.allowed_origins, Some(Origins::new([Origin::Exact("https://chat.example.com".into())])));
    assert_eq!(route.timers.ping_interval, Some(Duration::from_secs(10)));
    assert_eq!(route.timers.pong_timeout, Some(Duration::from_secs(30)));
    assert_eq!(route.timers.max_inactivity, Some(Duration::from_secs(60)));
    assert_eq!(route.limits.max_message_size, 1 << 20);
}

#[test]
fn every_component_in_use_is_listed_with_its_source() {
    let config = accept(SAMPLE);
    let sources: Vec<_> = config.components.iter().map(|(name, it)| (name.as_str(), it.source.clone())).collect();
    assert_eq!(
        sources,
        [
            ("conditions", ComponentSource::Standard),
            ("rate-limit", ComponentSource::Standard),
            ("round-robin", ComponentSource::Standard),
            ("shout", ComponentSource::File(PathBuf::from("/etc/tidegate/filters/shout.wasm"))),
        ]
    );
}

#[test]
fn a_standard_component_may_have_other_budgets_without_a_path() {
    let config = accept(&format!("{LEAST}[components.round-robin]\ndeadline = \"1ms\"\nisolation = \"connection\""));
    let component = &config.components["round-robin"];
    assert_eq!(component.source, ComponentSource::Standard);
    assert_eq!(component.limits.deadline, Duration::from_millis(1));
    assert_eq!(component.limits.isolation, Isolation::Connection);
}

#[test]
fn a_cache_directory_is_relative_to_the_configuration() {
    let config = accept(&format!("cache_directory = \"compiled\"\n{LEAST}"));
    let cache = config.cache_directory.expect("a cache directory");
    assert_eq!((cache.path, cache.place.line), (PathBuf::from("/etc/tidegate/compiled"), 1));
}

#[test]
fn assembly_memory_is_a_size_or_a_share_of_what_there_is() {
    let read = |text: &str| accept(&format!("assembly_memory = {text}\n{LEAST}")).assembly_memory;
    assert_eq!(read("\"64MiB\""), MemorySize::Bytes(64 << 20));
    assert_eq!(read("4096"), MemorySize::Bytes(4096));
    assert_eq!((read("\"1%\""), read("\"100%\"")), (MemorySize::Percent(1), MemorySize::Percent(100)));
    for refused in ["\"0%\"", "\"101%\"", "\"2.5%\"", "\"-1%\"", "\"%\"", "\"10 %\"", "0", "\"off\"", "true"] {
        let problems = refuse(&format!("assembly_memory = {refused}\n{LEAST}"));
        let about = problems.iter().any(|problem| problem.key == "assembly_memory" && problem.line == 1);
        assert!(about, "{refused}: {problems}");
    }
}

#[test]
fn services_name_upstreams_by_header_or_prefix() {
    let config = accept(
        r#"
        [[listeners]]
        listen = "[::]:0"
        [upstreams.a]
        endpoints = [{ url = "127.0.0.1:9001" }]
        [[routes]]
        name = "services"
        [routes.services]
        headers = ["Service_Id"]
        prefixes = { "/chat/" = "chat", "/" = "other" }
        upstreams = { chat = "a", other = "a" }
        "#,
    );
    let Target::Services(services) = &config.routes[0].target else { panic!("{:?}", config.routes[0].target) };
    assert_eq!(services.headers, ["service_id"]);
    let prefixes: Vec<_> =
        services.prefixes.iter().map(|(prefix, service)| (prefix.to_string(), service.as_str())).collect();
    assert_eq!(prefixes, [("/".to_owned(), "other"), ("/chat".to_owned(), "chat")]);
    assert_eq!(services.upstreams["chat"], "a");
}

#[test]
fn the_json_of_a_component_holds_every_toml_type() {
    let config = accept(&LEAST.replace(
        "endpoints",
        "balance = { component = 'random', config = { t = 'x\"y', i = 0x10, f = 1e3, b = true, d = 2026-01-02T03:04:05Z, \
         l = [1, 'a'], o = { k = -1 } } }\nendpoints",
    ));
    assert_eq!(
        config.upstreams["chat"].balance.config.reveal(),
        r#"{"b":true,"d":"2026-01-02T03:04:05Z","f":1000.0,"i":16,"l":[1,"a"],"o":{"k":-1},"t":"x\"y"}"#
    );
}

#[test]
fn a_comment_or_a_moved_line_makes_no_other_configuration() {
    let moved = format!("# a comment\n\n{}", LEAST.replace("\"0.0.0.0:8080\"", "  '0.0.0.0:8080'  # here"));
    assert_eq!(accept(&moved), accept(LEAST));
    assert_ne!(accept(&LEAST.replace("9001", "9002")), accept(LEAST));
    assert_ne!(accept(&LEAST.replace("8080", "8081")), accept(LEAST));
}

#[test]
fn zero_and_off_really_are_off() {
    let with = |text: &str| accept(&format!("{LEAST}{text}")).routes.remove(0);
    let absent = with("");
    assert_eq!(with("ping_interval = 0\nmax_inactivity = '0s'\nmax_lifetime = 'off'"), absent);
    assert_eq!(with("max_frame_size = 'off'\nmax_connections = 'off'\nhandshakes_per_second = 'off'"), absent);
    assert_eq!(with("group_id_header = ''").group_id_header, None);
}

#[test]
fn all_endpoints_may_be_disabled_or_without_weight() {
    accept(&LEAST.replace("9001\"", "9001\", enabled = false"));
    accept(&LEAST.replace("9001\"", "9001\", weight = 0"));
}

#[test]
fn a_later_route_may_share_the_path_when_the_first_passes_on() {
    let second = "\n[[routes]]\nname = 'second'\nupstream = 'chat'\n";
    accept(&format!("{LEAST}when = ['conditions']{second}"));
    accept(&format!("{LEAST}path = '/a'{second}path_prefix = '/a'"));
    accept(&format!("{LEAST}hosts = ['a']{second}"));
    let problems = refuse(&format!("{LEAST}{second}when = ['conditions']"));
    assert_eq!(problems.len(), 1, "{problems}");
}

#[test]
fn a_later_stage_adds_to_the_same_report() {
    let config = accept(SAMPLE);
    let mut problems = config.problems();
    problems.add(&config.routes[0].filters[1].place, "the component says: burst is too large", "");
    problems.add(&config.components["shout"].place, "there is no such file", "build it first");
    let json = serde_json::to_string_pretty(&problems).unwrap();
    snapshot("a_later_stage_adds_to_the_same_report", &format!("{}\n{json}\n", problems.on_terminal("")));
}

#[test]
fn a_file_is_named_as_it_was_given() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tidegate.toml");
    std::fs::write(&path, SAMPLE).unwrap();
    let config = load(&path, super::STANDARD).unwrap();
    let shout = ComponentSource::File(directory.path().join("filters/shout.wasm"));
    assert_eq!(config.components["shout"].source, shout);

    std::fs::write(&path, b"# caf\xe9\n").unwrap();
    let problems = load(&path, super::STANDARD).unwrap_err().to_string();
    assert!(problems.starts_with(&format!("{}:1:6: the file is not UTF-8", path.display())), "{problems}");

    let missing = directory.path().join("missing.toml");
    let problems = load(&missing, super::STANDARD).unwrap_err().to_string();
    assert!(problems.starts_with(&format!("{}: the file cannot be read", missing.display())), "{problems}");
}

#[test]
fn no_text_is_a_panic() {
    const INSERTED: [&str; 15] =
        ["\"", "'''", "[", "]]", "{", "}", "=", ".", "\n", "\r", "\0", "é", "[[routes]]\n", "1e999", "\u{feff}"];
    let read = |text: &str| drop(super::read(text).map_err(|problems| problems.to_string()));
    for (at, inserted) in (0..SAMPLE.len()).zip(INSERTED.iter().cycle()) {
        let (before, after) = SAMPLE.split_at(at);
        read(before);
        read(after);
        read(&format!("{before}{inserted}{after}"));
    }
    for text in ["[".repeat(500), "a=[".repeat(500), "a={b=".repeat(500), "a.".repeat(500) + "a=1"] {
        read(&text);
    }
}
