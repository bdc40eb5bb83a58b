//! Upstreams.

use std::collections::BTreeMap;

use super::upstream_tls::upstream_tls;
use super::{Names, component, discover, endpoint, liveness, upstream_http2};
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Value},
    source::Place,
    types::Upstream,
    value,
};
use crate::exchange::Keeping;
use crate::http::Host;

pub(super) const UPSTREAM: Section = Section {
    title: "[upstreams.NAME]",
    about: "",
    keys: &[
        BALANCE,
        RETRIES,
        CONNECT_TIMEOUT,
        HOST,
        TLS,
        PROXY_PROTOCOL,
        upstream_http2::HTTP2,
        upstream_http2::HTTP2_MAX_STREAMS,
        upstream_http2::HTTP2_STREAM_WINDOW,
        upstream_http2::HTTP2_IDLE_TIMEOUT,
        KEEP_ALIVE,
        KEEP_ALIVE_CONNECTIONS,
        liveness::TCP_KEEPALIVE,
        liveness::TCP_USER_TIMEOUT,
        ENDPOINTS,
        DISCOVER,
    ],
};

const BALANCE: Key = Key {
    name: "balance",
    takes: "balancer",
    absent: Absent::Default("\"round-robin\""),
    example: "{ component = \"consistent-hash\", config = { key = \"header:x-user\" } }",
    meaning: "The component that picks an endpoint for each handshake.",
};

const RETRIES: Key = Key {
    name: "retries",
    takes: "whole number",
    absent: Absent::Default("1"),
    example: "2",
    meaning: "Further attempts for a handshake, 0 to 100, each on another endpoint while there is one: after a \
              refused or slow connection, a slow handshake, or an answer of 502, 503 or 504.",
};

const CONNECT_TIMEOUT: Key = Key {
    name: "connect_timeout",
    takes: "duration",
    absent: Absent::Default("\"3s\""),
    example: "\"1s\"",
    meaning: "How long resolving the host and connecting may take, over all of its addresses.",
};

const HOST: Key = Key {
    name: "host",
    takes: "`client`, `endpoint` or a host",
    absent: Absent::Default("\"client\""),
    example: "\"chat.internal:8080\"",
    meaning: "The `Host` of requests to it: what the client sent, which servers compare with `Origin`; host and \
              port of the endpoint's url; or this host.",
};

const TLS: Key = Key {
    name: "tls",
    takes: "table",
    absent: Absent::Means("the system's authorities are believed"),
    example: "{ ca = \"tls/upstreams.pem\" }",
    meaning: "How TLS is spoken to endpoints with `wss://`.",
};

pub(super) const PROXY_PROTOCOL: Key = Key {
    name: "proxy_protocol",
    takes: "`v2` or `off`",
    absent: Absent::Default("\"off\""),
    example: "\"v2\"",
    meaning: "Has each connection to it begin with a header of the PROXY protocol, before TLS too: it tells the client's \
              address, where the client has connected to, and that it speaks TLS. Each client then has a connection of its own.",
};

const KEEP_ALIVE: Key = Key {
    name: "keep_alive",
    takes: "duration or `off`",
    absent: Absent::Default("\"60s\""),
    example: "\"10s\"",
    meaning: "How long a connection to an endpoint is kept for the next plain request, or for less where the endpoint says \
              so. With `proxy_protocol` none is.",
};

const KEEP_ALIVE_CONNECTIONS: Key = Key {
    name: "keep_alive_connections",
    takes: "whole number",
    absent: Absent::Default("64"),
    example: "16",
    meaning: "The most connections that are kept so, for each endpoint and worker, 0 to 65535.",
};

const ENDPOINTS: Key = Key {
    name: "endpoints",
    takes: "tables",
    absent: Absent::Means("found by `discover`"),
    example: "[{ url = \"ws://127.0.0.1:9001\" }]",
    meaning: "At least one. An upstream has either these or `discover`.",
};

const DISCOVER: Key = Key {
    name: "discover",
    takes: "table",
    absent: Absent::Means("nowhere"),
    example: "{ file = \"endpoints.json\" }",
    meaning: "Where its endpoints are found, again and again while they change.",
};

pub(super) fn upstreams(value: &Value<'_>, names: &Names<'_>) -> Read<BTreeMap<String, Upstream>> {
    let entries = value.entries("tables", "write tables [upstreams.NAME]")?;
    let read: Vec<_> = entries.iter().map(|(name, place, value)| upstream(name, place, value, names)).collect();
    read.into_iter().collect()
}

fn upstream(name: &str, place: &Place, value: &Value<'_>, names: &Names<'_>) -> Read<(String, Upstream)> {
    let table = value.table(&UPSTREAM, "write a table [upstreams.NAME]")?;
    let valid = value::parse_name(name).map_err(|fault| table.refuse(place, fault.what, fault.instead));
    let balance = table.read(&BALANCE, |value| component::balancer(value, names));
    let retries = table.read(&RETRIES, |value| value::count(value, 0..=100));
    let connect_timeout = table.read(&CONNECT_TIMEOUT, value::duration);
    let host = table.read(&HOST, host);
    let tls = table.optional(&TLS, |value| upstream_tls(value, names.base));
    let proxy_protocol = table.read(&PROXY_PROTOCOL, |value| value::choice(value, &[("v2", true), ("off", false)]));
    let http2 = upstream_http2::http2(&table);
    let liveness = liveness::liveness(&table, false);
    let keep_alive = table.read(&KEEP_ALIVE, value::duration_or_off);
    let keep_alive_connections = table.read(&KEEP_ALIVE_CONNECTIONS, |value| value::count(value, 0..=65535));
    let endpoints = table.optional(&ENDPOINTS, endpoint::endpoints);
    let discover = table.optional(&DISCOVER, |value| discover::discover(value, names));
    let sources = [&ENDPOINTS, &DISCOVER].map(|key| table.value(key));
    match sources {
        [Some(_), Some(found)] => {
            return Err(found.refuse("its endpoints stand here, too", "leave `endpoints` or `discover` out"));
        }
        [None, None] => {
            let advice = format!("write `{} = {}`, or `discover`", ENDPOINTS.name, ENDPOINTS.example);
            return Err(table.refuse(&table.place(), "`endpoints` is missing", advice));
        }
        _ => {}
    }
    Ok((
        valid?.to_owned(),
        Upstream {
            balance: balance?,
            retries: retries?,
            connect_timeout: connect_timeout?,
            host: host?,
            tls: tls?,
            proxy_protocol: proxy_protocol?,
            http2: http2?,
            liveness: liveness?,
            keeping: Keeping {
                most: usize::try_from(keep_alive_connections?).unwrap_or(usize::MAX),
                time: keep_alive?,
            },
            endpoints: endpoints?.unwrap_or_default(),
            discover: discover?,
            place: value.place(),
        },
    ))
}

fn host(value: &Value<'_>) -> Read<Host> {
    const ADVICE: &str = "write \"client\", \"endpoint\" or a host such as \"chat.internal:8080\"";
    value.parsed("a host", ADVICE, |text| Host::parse(text).map_err(|error| Fault::new(error.to_string(), ADVICE)))
}
