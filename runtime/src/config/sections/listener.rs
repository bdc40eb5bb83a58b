//! Listeners.

use std::path::Path;

use super::server::LISTENERS;
use super::tls::tls;
use super::{access, http2, liveness, per_client, rights};
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Table, Value, quoted},
    source::Place,
    types::Listener,
    value,
};
use crate::{
    answers::Redirect,
    http::Paths,
    listener::{Address, Claim},
    session::{AdmissionLimits, Prefixes},
};

pub(super) const LISTENER: Section = Section {
    title: "[[listeners]]",
    about: "",
    keys: &[
        LISTEN,
        rights::MODE,
        rights::OWNER,
        rights::GROUP,
        MAX_HEADER_BYTES,
        MAX_HEADER_FIELDS,
        HANDSHAKE_TIMEOUT,
        PATHS,
        PROXY_PROTOCOL,
        REDIRECT,
        access::ALLOW,
        access::DENY,
        MAX_CONNECTIONS,
        per_client::MAX_CONNECTIONS_PER_CLIENT,
        per_client::HANDSHAKES_PER_SECOND_PER_CLIENT,
        TLS,
        http2::HTTP2,
        http2::HTTP2_MAX_STREAMS,
        http2::HTTP2_STREAM_WINDOW,
        http2::HTTP2_IDLE_TIMEOUT,
        liveness::TCP_KEEPALIVE,
        liveness::TCP_USER_TIMEOUT,
    ],
};

const LISTEN: Key = Key {
    name: "listen",
    takes: "address",
    absent: Absent::Missing,
    example: "\"0.0.0.0:8080\"",
    meaning: "An IP address and a port; port 0 takes a free one. `[::]` takes IPv4 too, unless something else \
              here has its port with IPv4. Or `unix:/run/tidegate.sock`, a unix socket by its absolute path: a file that a dead \
              process has left there is replaced, and anything else refused.",
};

const MAX_HEADER_BYTES: Key = Key {
    name: "max_header_bytes",
    takes: "size",
    absent: Absent::Default("\"16KiB\""),
    example: "\"32KiB\"",
    meaning: "The most that the head of a request may have, 1KiB to 1MiB; a larger one is refused. \
              The head is read before the route is known.",
};

const MAX_HEADER_FIELDS: Key = Key {
    name: "max_header_fields",
    takes: "whole number",
    absent: Absent::Default("100"),
    example: "200",
    meaning: "The most header fields that a request may have, 10 to 1000; more are refused. Browsers send about \
              twenty.",
};

const HANDSHAKE_TIMEOUT: Key = Key {
    name: "handshake_timeout",
    takes: "duration",
    absent: Absent::Default("\"10s\""),
    example: "\"5s\"",
    meaning: "How long a client may take to send the head of a request, of its first one together with its TLS \
              handshake.",
};

const PATHS: Key = Key {
    name: "paths",
    takes: "`canonical` or `strict`",
    absent: Absent::Default("\"canonical\""),
    example: "\"strict\"",
    meaning: "Which paths are taken. `canonical` brings each into the form in which routes are compared, and \
              refuses with 400 what has none; `strict` also refuses dot segments, `//`, and encoded slashes \
              and backslashes: for upstreams that decode a path before they look at its segments.",
};

const PROXY_PROTOCOL: Key = Key {
    name: "proxy_protocol",
    takes: "`required` or `off`",
    absent: Absent::Default("\"off\""),
    example: "\"required\"",
    meaning: "Has each connection begin with a header of the PROXY protocol, version 1 or 2, before TLS too, which says who \
              the client is: that is the address for limits, logs, metrics and components. Only peers in `trusted_proxies` may \
              come; others, and those without a header, are closed.",
};

const REDIRECT: Key = Key {
    name: "redirect",
    takes: "`https`, or `https:` and a port",
    absent: Absent::Means("requests are served"),
    example: "\"https\"",
    meaning: "Has every request here answered with 308 and its own url with the scheme `https`, on the port 443 or another: \
              `https:8443`. Takes no listener that speaks TLS.",
};

const MAX_CONNECTIONS: Key = Key {
    name: "max_connections",
    takes: "whole number or `off`",
    absent: Absent::Default("\"off\""),
    example: "10000",
    meaning: "Connections that it holds at most, opening ones too; further ones get 503, those over TLS are closed.",
};

const TLS: Key = Key {
    name: "tls",
    takes: "table",
    absent: Absent::Means("clients speak in clear text"),
    example: "{ certificates = [{ chain = \"tls/chain.pem\", key = \"tls/key.pem\" }] }",
    meaning: "Has clients speak TLS here (`wss://`, RFC 8446), and how.",
};

/// What listeners depend on beside their own keys.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// The directory of the configuration.
    pub(super) base: &'a Path,
    /// What a client is.
    pub(super) prefixes: Prefixes,
    /// Whether there are trusted proxies.
    pub(super) trusts: bool,
}

/// Reads all listeners, and refuses what only shows when they are compared, also with the address of the admin API.
pub(super) fn listeners(root: &Table<'_>, context: Context<'_>, admin: Option<Address>) -> Read<Vec<Listener>> {
    let Some(value) = root.value(&LISTENERS) else {
        let place = Place { key: "listeners".to_owned(), ..Place::default() };
        let advice = "add a table [[listeners]] with `listen = \"0.0.0.0:8080\"`";
        return Err(root.refuse(&place, "there is no listener", advice));
    };
    let listeners = value.each("tables", "write tables [[listeners]]", |value| listener(value, context))?;
    if listeners.is_empty() {
        return Err(value.refuse("there is no listener", "add a table [[listeners]] with `listen = \"0.0.0.0:8080\"`"));
    }
    // `[::]` leaves IPv4 to the others.
    let overlap = |one: &Address, other: &Address| {
        let claim = |address: &Address| Claim { address: address.clone(), only_v6: true };
        claim(one).overlaps(&claim(other))
    };
    let mut taken: Vec<(Address, String)> = Vec::new();
    taken.extend(admin.map(|address| (address, "the admin API".to_owned())));
    let mut result = Ok(());
    for listener in &listeners {
        let address = &listener.listen;
        if let Some((other, holder)) = taken.iter().find(|(other, _)| overlap(address, other)) {
            let what = match other == address {
                true => format!("{address} is the address of {holder} already"),
                false => format!("{address} cannot be listened on beside {other}, the address of {holder}"),
            };
            let another = if address.is_unix() { "path" } else { "port" };
            let advice = format!("choose another {another}, or remove one of the two");
            result = Err(root.refuse(&listener.place, what, advice));
        }
        taken.push((address.clone(), format!("the listener of {}", listener.place.seen_from(&Place::default()))));
    }
    result.map(|()| listeners)
}

fn redirect(text: &str) -> Result<Redirect, Fault> {
    let port = match text.strip_prefix("https") {
        Some("") => Some(HTTPS),
        Some(rest) => rest.strip_prefix(':').and_then(|port| port.parse().ok()).filter(|port| *port != 0),
        None => None,
    };
    let fault = || Fault::new(format!("{} is no redirect", quoted(text)), "write \"https\", or \"https:8443\"");
    port.map(Redirect::to_tls).ok_or_else(fault)
}

fn listener(value: &Value<'_>, Context { base, prefixes, trusts }: Context<'_>) -> Read<Listener> {
    let table = value.table(&LISTENER, "write a table [[listeners]]")?;
    let place = table.value(&LISTEN).map_or_else(|| value.place(), |value| value.place());
    let listen = table.read(&LISTEN, value::listen);
    let rights = rights::rights(&table, listen.as_ref().ok());
    let is_unix = listen.as_ref().is_ok_and(Address::is_unix);
    let max_header_bytes =
        table.read(&MAX_HEADER_BYTES, |value| value::size_within(value, (1 << 10, "1KiB"), (1 << 20, "1MiB")));
    let max_header_fields = table.read(&MAX_HEADER_FIELDS, |value| value::count(value, 10..=1000));
    let handshake_timeout = table.read(&HANDSHAKE_TIMEOUT, value::duration);
    let paths =
        table.read(&PATHS, |value| value::choice(value, &[("canonical", Paths::Canonical), ("strict", Paths::Strict)]));
    let max_connections = table.read(&MAX_CONNECTIONS, value::count_or_off);
    let per_client = per_client::per_client(&table, prefixes);
    let tls = table.optional(&TLS, |value| tls(value, base));
    let http2 = http2::http2(&table, table.value(&TLS).is_some());
    let redirect = table.optional(&REDIRECT, |value| {
        if table.value(&TLS).is_some() {
            let advice = "remove `redirect`, and write it at a listener without `tls`";
            return Err(value.refuse("requests over TLS are at their place already", advice));
        }
        value.parsed("a redirect", "write \"https\"", redirect)
    });
    let is_introduced = table.read(&PROXY_PROTOCOL, |value| {
        let is_introduced = value::choice(value, &[("required", true), ("off", false)])?;
        if is_introduced && !trusts {
            let advice = "write `trusted_proxies = [\"10.0.0.0/8\"]` at the top, with the proxies in front";
            return Err(value.refuse("nobody could come, because `trusted_proxies` is empty", advice));
        }
        Ok(is_introduced)
    });
    let access = access::access(&table);
    let liveness = liveness::liveness(&table, is_unix);
    Ok(Listener {
        listen: listen?,
        rights: rights?,
        max_header_bytes: max_header_bytes?,
        max_header_fields: usize::try_from(max_header_fields?).unwrap_or(usize::MAX),
        paths: paths?,
        handshake_timeout: handshake_timeout?,
        admission: AdmissionLimits {
            max_connections: max_connections?,
            handshakes_per_second: None,
            per_client: per_client?,
        },
        access: access?,
        is_introduced: is_introduced?,
        redirect: redirect?,
        tls: tls?,
        http2: http2?,
        liveness: liveness?,
        place,
    })
}

/// The port of `https` (RFC 9110 section 4.2.2).
const HTTPS: u16 = 443;
