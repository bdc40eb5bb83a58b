//! The reference, and that the reader keeps to it.

use std::{num::NonZeroUsize, time::Duration};

use super::{LEAST, accept, read};
use crate::{
    component,
    config::{MemorySize, reader::Absent, reference, sections},
    handshake::Networks,
    http::{Host, Paths},
    log,
    pipe::{Limits, Timers},
    session::AdmissionLimits,
    transport::Liveness,
};

#[test]
fn the_written_reference_is_what_the_reader_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        std::fs::write(path, reference()).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(written.trim_end(), reference().trim_end(), "TIDEGATE_BLESS=1 writes docs/configuration.md anew");
}

#[test]
fn absent_keys_have_the_defaults_of_the_reference() {
    let config = accept(LEAST);

    assert_eq!((config.workers, config.max_connections), (None::<NonZeroUsize>, None));
    assert_eq!((config.drain_time, config.upgrade_timeout), (Duration::from_secs(10), Duration::from_secs(60)));
    assert_eq!(config.reload_timeout, Duration::from_secs(300));
    assert_eq!((config.max_isolated_instances, config.assembly_memory), (None, MemorySize::Percent(25)));
    assert_eq!(config.trusted_proxies, Networks::default());
    assert_eq!((config.watch, &config.cache_directory), (true, &None));
    assert_eq!(config.admin, None);
    assert_eq!(config.log, log::Settings::default());
    assert_eq!(config.listeners[0].max_header_bytes, 16 << 10);
    assert_eq!(config.listeners[0].max_header_fields, 100);
    assert_eq!(config.listeners[0].paths, Paths::Canonical);
    assert_eq!(config.listeners[0].handshake_timeout, Duration::from_secs(10));

    let upstream = &config.upstreams["chat"];
    assert_eq!((upstream.balance.component.as_str(), upstream.balance.config.reveal()), ("round-robin", "{}"));
    assert_eq!((upstream.retries, upstream.connect_timeout), (1, Duration::from_secs(3)));
    assert_eq!((&upstream.host, upstream.liveness), (&Host::Client, Liveness::default()));
    assert_eq!(config.listeners[0].liveness, Liveness::default());
    let endpoint = &upstream.endpoints[0];
    assert_eq!((endpoint.weight, endpoint.warmup, endpoint.enabled), (100, None, true));
    assert_eq!((&endpoint.zone, endpoint.metadata.len()), (&None, 0));

    let limits = component::Limits {
        max_memory: 64 << 20,
        deadline: Duration::from_millis(10),
        log_lines_per_second: 100,
        isolation: component::Isolation::Worker,
        max_message_size: None,
        max_reply_size: 16 << 20,
        max_reply_messages: 4096,
        max_attachments: 256,
        max_attachment_size: 64 << 10,
        max_failures: None,
        failure_window: Duration::from_secs(60),
    };
    assert_eq!(config.components["round-robin"].limits, limits);

    let route = &config.routes[0];
    assert_eq!((&route.timers, &route.limits), (&Timers::default(), &Limits::default()));
    assert_eq!(route.handshake_timeout, Duration::from_secs(10));
    assert_eq!(route.admission, AdmissionLimits::default());
    assert_eq!(config.listeners[0].admission, AdmissionLimits::default());
    assert_eq!((route.forwarded_headers, &route.allowed_origins), (true, &None));
    assert!(route.request_headers.is_empty() && route.response_headers.is_empty() && config.errors.is_empty());
    assert_eq!(route.group_id_header.as_ref().map(|header| header.as_str()), Some("x-group-id"));
}

/// The header of each table, and what it needs besides.
const HEADERS: &[(&str, &str)] = &[
    ("the top of the file", ""),
    ("`client_prefixes`", "[client_prefixes]"),
    ("[admin]", "[admin]"),
    ("a token of the admin API", "[[admin.tokens]]"),
    ("[log]", "[log]"),
    ("[[listeners]]", "[[listeners]]"),
    ("the TLS of a listener", "[[listeners]]\n[listeners.tls]"),
    ("a certificate", "[[listeners]]\n[[listeners.tls.certificates]]"),
    ("a certificate by ACME", "[[listeners]]\n[listeners.tls]\n[listeners.tls.acme]"),
    ("the client authentication of a listener", "[[listeners]]\n[listeners.tls.client_auth]"),
    ("[tokens.NAME]", "[tokens.users]"),
    ("the token of a route", "[[routes]]\n[routes.token]"),
    ("the authorization of a route", "[[routes]]\n[routes.authorize]"),
    ("[components.NAME]", "[components.rate-limit]"),
    ("[upstreams.NAME]", "[upstreams.chat]"),
    ("[upstreams.NAME.tls]", "[upstreams.chat.tls]"),
    ("an endpoint", "[[upstreams.chat.endpoints]]"),
    ("endpoints in a file", "[upstreams.chat.discover]\nfile = 'endpoints.json'"),
    ("endpoints in the DNS", "[upstreams.chat.discover]\ndns = 'h:1'"),
    ("endpoints in etcd", "[upstreams.chat.discover]\netcd = 'http://h:1'\nprefix = '/x/'"),
    ("endpoints in Consul", "[upstreams.chat.discover]\nconsul = 'http://h:1'\nservice = 'chat'"),
    ("[[routes]]", "[[routes]]"),
    ("the header rules of a route", "[[routes]]\n[routes.request_headers]"),
    ("the answer of a route", "[[routes]]\n[routes.answer]"),
    ("the redirect of a route", "[[routes]]\n[routes.redirect]"),
    ("the bridge of a route", "[[routes]]\n[routes.bridge]"),
    ("the bridge of a route, to an application", "[[routes]]\n[routes.bridge]\nto = 'http'\nurl = 'https://h/events'"),
    ("services of a route", "[[routes]]\n[routes.services]"),
    ("a predicate or a balancer", "[upstreams.chat.balance]"),
    ("a filter", "[[routes]]\n[[routes.filters]]"),
    ("a candidate", "[[routes]]\n[[routes.filters]]\n[routes.filters.candidate]"),
];

/// The header of a section, with what else has to be there, but for one key.
fn header(title: &str, beside: &str) -> String {
    let header = HEADERS.iter().find(|(section, _)| *section == title).expect("the test knows every table").1;
    let lines = header.lines().filter(|line| !line.starts_with(&format!("{beside} =")));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_key_of_the_reference_takes_its_example() {
    for section in sections::ALL {
        for key in section.keys {
            // Tables of the top of the file have sections of their own.
            if key.takes.starts_with("table") && section.title == "the top of the file" {
                continue;
            }
            let text = format!("{}\n{} = {}\n", header(section.title, key.name), key.name, key.example);
            let problems = read(&text).map_or_else(|problems| problems.to_string(), |_| String::new());
            let names = |line: &str, end: &str| line.contains(&format!(".{}{end}", key.name));
            let about = |line: &str| {
                [":", ".", "["].iter().any(|end| names(line, end)) || line.contains(&format!(" {}:", key.name))
            };
            let is_elsewhere = |line: &str| {
                [
                    "no upstream",
                    "no route;",
                    "no pong",
                    "no plain",
                    "no client speaks",
                    "no endpoint is asked",
                    "only a file",
                    "no tokens",
                    "no variable",
                    "no unix socket",
                    "`trusted_proxies` is empty",
                ]
                .iter()
                .any(|it| line.contains(it))
            };
            let wrong = problems.lines().find(|line| about(line) && !is_elsewhere(line));
            assert_eq!(wrong, None);
        }
    }
}

#[test]
fn every_key_of_the_reference_is_read() {
    for section in sections::ALL {
        for key in section.keys {
            let text = format!("{}\n{} = 2026-01-01\n", header(section.title, key.name), key.name);
            let problems = super::refuse(&text);
            let refused = problems.iter().any(|problem| {
                problem.key.ends_with(key.name) && problem.message.starts_with("expected") && !problem.help.is_empty()
            });
            assert!(refused, "{} of {} took a date: {problems}", key.name, section.title);
        }
    }
}

#[test]
fn every_declared_default_is_a_toml_value() {
    let keys = sections::ALL.iter().flat_map(|section| section.keys);
    for key in keys {
        toml::de::DeValue::parse(key.example).unwrap();
        if let Absent::Default(default) = key.absent {
            toml::de::DeValue::parse(default).unwrap();
        }
    }
}
