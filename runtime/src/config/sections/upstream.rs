//! Upstreams and their endpoints.

use std::collections::{BTreeMap, HashMap};

use super::{Names, component, liveness};
use crate::config::{
    address::EndpointUrl,
    reader::{Absent, Fault, Key, Read, Section, Value},
    source::Place,
    types::{Endpoint, Upstream},
    value,
};
use crate::upstream::Host;

pub(super) const UPSTREAM: Section = Section {
    title: "[upstreams.NAME]",
    about: "",
    keys: &[
        Key {
            name: "balance",
            takes: "balancer",
            absent: Absent::Default("\"round-robin\""),
            example: "{ component = \"consistent-hash\", config = { key = \"header:x-user\" } }",
            meaning: "The component that picks an endpoint for each handshake.",
        },
        Key {
            name: "retries",
            takes: "whole number",
            absent: Absent::Default("1"),
            example: "2",
            meaning: "Further attempts for a handshake, 0 to 100, each on another endpoint while there is one: after a \
                      refused or slow connection, a slow handshake, or an answer of 502, 503 or 504.",
        },
        Key {
            name: "connect_timeout",
            takes: "duration",
            absent: Absent::Default("\"3s\""),
            example: "\"1s\"",
            meaning: "How long resolving the host and connecting may take, over all of its addresses.",
        },
        Key {
            name: "host",
            takes: "`client`, `endpoint` or a host",
            absent: Absent::Default("\"client\""),
            example: "\"chat.internal:8080\"",
            meaning: "The `Host` of requests to it: what the client sent, which servers compare with `Origin`; host and \
                      port of the endpoint's url; or this host.",
        },
        liveness::TCP_KEEPALIVE,
        liveness::TCP_USER_TIMEOUT,
        Key {
            name: "endpoints",
            takes: "tables",
            absent: Absent::Missing,
            example: "[{ url = \"ws://127.0.0.1:9001\" }]",
            meaning: "At least one.",
        },
    ],
};

pub(super) const ENDPOINT: Section = Section {
    title: "an endpoint",
    about: "",
    keys: &[
        Key {
            name: "url",
            takes: "url",
            absent: Absent::Missing,
            example: "\"ws://127.0.0.1:9001\"",
            meaning: "`ws://host:port/path`; `http` means the same, as does no scheme. Without a path the request's \
                      path and query are kept; with one, it replaces the prefix that the route matched.",
        },
        Key {
            name: "weight",
            takes: "whole number",
            absent: Absent::Default("100"),
            example: "50",
            meaning: "Its share relative to the others', 0 to 65535. Warming up counts in whole weights, so that small \
                      ones grow in few steps.",
        },
        Key {
            name: "warmup",
            takes: "duration or `off`",
            absent: Absent::Default("\"off\""),
            example: "\"30s\"",
            meaning: "How long after its start its weight grows from 1.",
        },
        Key {
            name: "enabled",
            takes: "boolean",
            absent: Absent::Default("true"),
            example: "false",
            meaning: "A disabled endpoint is never picked, not even when it is alone.",
        },
    ],
};

pub(super) fn upstreams(value: &Value<'_>, names: &Names<'_>) -> Read<BTreeMap<String, Upstream>> {
    let entries = value.entries("tables", "write tables [upstreams.NAME]")?;
    let read: Vec<_> = entries.iter().map(|(name, place, value)| upstream(name, place, value, names)).collect();
    read.into_iter().collect()
}

fn upstream(name: &str, place: &Place, value: &Value<'_>, names: &Names<'_>) -> Read<(String, Upstream)> {
    let table = value.table(&UPSTREAM, "write a table [upstreams.NAME]")?;
    let valid = value::parse_name(name).map_err(|fault| table.refuse(place, fault.what, fault.instead));
    let balance = table.read("balance", |value| component::balancer(value, names));
    let retries = table.read("retries", |value| value::count(value, 0..=100));
    let connect_timeout = table.read("connect_timeout", value::duration);
    let host = table.read("host", host);
    let liveness = liveness::liveness(&table);
    let endpoints = table.read("endpoints", endpoints);
    Ok((
        valid?.to_owned(),
        Upstream {
            balance: balance?,
            retries: retries?,
            connect_timeout: connect_timeout?,
            host: host?,
            liveness: liveness?,
            endpoints: endpoints?,
            place: value.place(),
        },
    ))
}

fn host(value: &Value<'_>) -> Read<Host> {
    const ADVICE: &str = "write \"client\", \"endpoint\" or a host such as \"chat.internal:8080\"";
    value.parsed("a host", ADVICE, |text| Host::parse(text).map_err(|error| Fault::new(error.to_string(), ADVICE)))
}

/// All disabled, or all of weight 0, is no mistake: the first is how an upstream is taken out of service, and among
/// equal weights the choice is uniform.
fn endpoints(value: &Value<'_>) -> Read<Vec<Endpoint>> {
    const ADVICE: &str = "write [{ url = \"ws://127.0.0.1:9001\" }]";
    let endpoints = value.each("a list of endpoints", ADVICE, endpoint)?;
    if endpoints.is_empty() {
        let advice = "write at least one; `enabled = false` takes one out of service";
        return Err(value.refuse("an upstream without endpoints can serve nothing", advice));
    }
    let mut result = Ok(());
    let mut known: HashMap<&EndpointUrl, &Endpoint> = HashMap::with_capacity(endpoints.len());
    for endpoint in &endpoints {
        let known = known.entry(&endpoint.url).or_insert(endpoint);
        if !std::ptr::eq(*known, endpoint) {
            let line = known.place.seen_from(&endpoint.place);
            let what = format!("{} is the endpoint of {line} already", endpoint.url);
            result = Err(value.refuse_at(&endpoint.place, what, "write one of them, with the weight of both"));
        }
    }
    result.map(|()| endpoints)
}

fn endpoint(value: &Value<'_>) -> Read<Endpoint> {
    let table = value.table(&ENDPOINT, "write a table such as { url = \"ws://127.0.0.1:9001\" }")?;
    let url = table
        .read("url", |value| value.parsed("a url", "write text such as \"ws://127.0.0.1:9001\"", EndpointUrl::parse));
    let weight = table.read("weight", |value| value::count(value, 0..=65_535));
    let warmup = table.read("warmup", value::duration_or_off);
    let enabled = table.read("enabled", value::boolean);
    Ok(Endpoint { url: url?, weight: weight?, warmup: warmup?, enabled: enabled?, place: value.place() })
}
