//! What concerns the whole process: the top of the file, the admin API, logging, listeners.

use std::{net::SocketAddr, num::NonZeroUsize, path::Path, time::Duration};

use toml::de::DeTable;
use tracing::Level;

use super::{Names, component, liveness, route, tls, upstream};
use crate::listener::Claim;
use crate::{
    config::{
        address::network,
        pattern,
        reader::{Absent, Fault, Key, Read, Report, Section, Table, Value},
        secret::Secrets,
        source::{Place, Source},
        types::{Admin, CacheDirectory, Config, Inputs, Listener, Parts},
        value,
    },
    http::Paths,
    log,
};

pub(super) const ROOT: Section = Section {
    title: "the top of the file",
    about: "Keys of the top of the file stand before its first table.",
    keys: &[
        Key {
            name: "include",
            takes: "list of paths",
            absent: Absent::Default("[]"),
            example: "[\"conf.d/*.toml\"]",
            meaning: "Further files of the configuration, relative to the file that includes them. The last part of a path \
                      may have `*` for any characters and `?` for one, and stands for all files that match, in the order \
                      of their names; names that begin with a dot are left out. They may hold all that this file may, \
                      and `listeners`, `components`, `upstreams` and `routes` add up; any other key, and each name, \
                      stands in one file alone.",
        },
        Key {
            name: "workers",
            takes: "whole number",
            absent: Absent::Means("one for each core"),
            example: "4",
            meaning: "Worker threads, 1 to 1024. The command line wins. Another number waits for an upgrade or a restart.",
        },
        Key {
            name: "drain_time",
            takes: "duration",
            absent: Absent::Default("\"10s\""),
            example: "\"30s\"",
            meaning: "The time over which draining closes connections; `0` closes all at once.",
        },
        Key {
            name: "upgrade_timeout",
            takes: "duration",
            absent: Absent::Default("\"60s\""),
            example: "\"5m\"",
            meaning: "How long the new process of a binary upgrade may take to load everything; then it is ended, and \
                      the old one goes on.",
        },
        Key {
            name: "reload_timeout",
            takes: "duration",
            absent: Absent::Default("\"5m\""),
            example: "\"30m\"",
            meaning: "How long a reload may take, at least 1s; then it is given up and what is in force stays. It counts as \
                      soon as the file that says it is read. So long, because compiling yields to all other work: an \
                      embedded interpreter takes half a minute of a core, and several times that where all are busy.",
        },
        Key {
            name: "max_connections",
            takes: "whole number",
            absent: Absent::Means("what the limit of open files allows"),
            example: "100000",
            meaning: "Connections that the process holds at most, over all workers; those beyond it get 503 at once. Each \
                      takes two of the open files, and more than fit are not held whatever stands here.",
        },
        Key {
            name: "assembly_memory",
            takes: "size or percentage",
            absent: Absent::Default("\"25%\""),
            example: "\"512MiB\"",
            meaning: "Memory for messages that have begun and not ended, where filters wait for them, and for those that a \
                      slow receiver or a filter's delay keeps waiting, over all connections; a percentage is of what the \
                      machine has, or its control group allows. Each worker has an equal share. Where it is full, the \
                      messages that have waited longest close their connections with 1013; a worker that holds only one \
                      always has room for it.",
        },
        Key {
            name: "watch",
            takes: "boolean",
            absent: Absent::Default("true"),
            example: "false",
            meaning: "Whether a reload follows by itself when the file or a component's file changes. Without it, it \
                      takes a signal or the admin API, which a dry run can come before.",
        },
        Key {
            name: "cache_directory",
            takes: "path",
            absent: Absent::Means("none: each start compiles all components"),
            example: "\"/var/cache/tidegate\"",
            meaning: "Where compiled components are kept, relative to the directory of the configuration; made if it is \
                      not there. Off by default, because what is in it is native code that the process runs: it has to \
                      belong to the user of the process, and nobody else may write to it. What was not used for 30 \
                      days is removed, and of more than 1GiB what was not used for longest.",
        },
        Key {
            name: "max_isolated_instances",
            takes: "whole number",
            absent: Absent::Means("what address space and memory maps allow"),
            example: "1000",
            meaning: "Instances that serve one connection each (`isolation = \"connection\"`), over all components. A \
                      connection for which there is none is refused with 503, or goes on without the filter, as its \
                      `on_failure` says. The system allows some 8000, fewer where `vm.max_map_count` is low.",
        },
        Key {
            name: "trusted_proxies",
            takes: "list of networks",
            absent: Absent::Default("[]"),
            example: "[\"10.0.0.0/8\", \"::1\"]",
            meaning: "Peers that are believed what they say about clients, in `X-Forwarded-*`, `Forwarded`, `X-Real-IP` \
                      and others of the kind; what others say is removed.",
        },
        Key {
            name: "admin",
            takes: "table",
            absent: Absent::Means("no admin API"),
            example: "{}",
            meaning: "The admin API.",
        },
        Key { name: "log", takes: "table", absent: Absent::Default("{}"), example: "{}", meaning: "What is logged." },
        Key {
            name: "listeners",
            takes: "tables",
            absent: Absent::Missing,
            example: "[{ listen = \"0.0.0.0:8080\" }]",
            meaning: "The sockets that accept clients, at least one.",
        },
        Key {
            name: "components",
            takes: "tables by name",
            absent: Absent::Default("{}"),
            example: "{}",
            meaning: "Components from files, and budgets. Standard components need no entry.",
        },
        Key {
            name: "upstreams",
            takes: "tables by name",
            absent: Absent::Default("{}"),
            example: "{}",
            meaning: "Sets of interchangeable endpoints.",
        },
        Key {
            name: "routes",
            takes: "tables",
            absent: Absent::Missing,
            example: "[]",
            meaning: "Which handshakes go where, at least one. The most specific host and path is tried first.",
        },
    ],
};

pub(super) const ADMIN: Section = Section {
    title: "[admin]",
    about: "Without this table there is no admin API, and no metrics.",
    keys: &[
        Key {
            name: "listen",
            takes: "address",
            absent: Absent::Default("\"127.0.0.1:9900\""),
            example: "\"127.0.0.1:9900\"",
            meaning: "Where it listens. It asks for no password, so keep it private.",
        },
        Key {
            name: "hosts",
            takes: "list of hosts",
            absent: Absent::Default("[]"),
            example: "[\"tidegate.example.com\"]",
            meaning: "Names with a dot that it is asked by, without a port. An address, `localhost` and a name without a \
                      dot need no entry; any other name is refused, because a web page could have made it lead here.",
        },
        Key {
            name: "max_connections",
            takes: "whole number",
            absent: Absent::Default("64"),
            example: "64",
            meaning: "Connections that may be answered at a time: scrapers and operators need a handful. An idle one goes \
                      for one that has come. Where all are being answered, probes are answered all the same and others \
                      get 503.",
        },
        Key {
            name: "send_timeout",
            takes: "duration",
            absent: Absent::Default("\"30s\""),
            example: "\"30s\"",
            meaning: "How long a client may take to read an answer, before it is cut off: its place is for others.",
        },
    ],
};

pub(super) const LOG: Section = Section {
    title: "[log]",
    about: "",
    keys: &[
        Key {
            name: "level",
            takes: "`error`, `warn`, `info`, `debug` or `trace`",
            absent: Absent::Default("\"info\""),
            example: "\"warn\"",
            meaning: "The least severe events that are logged.",
        },
        Key {
            name: "format",
            takes: "`text` or `json`",
            absent: Absent::Default("\"text\""),
            example: "\"json\"",
            meaning: "Lines for people, or one JSON object on each line.",
        },
        Key {
            name: "access",
            takes: "boolean",
            absent: Absent::Default("true"),
            example: "false",
            meaning: "Whether every connection leaves a line when it ends.",
        },
        Key {
            name: "access_on_open",
            takes: "boolean",
            absent: Absent::Default("false"),
            example: "true",
            meaning: "Whether a connection leaves a line when it opens, too. Not without `access`.",
        },
    ],
};

pub(super) const LISTENER: Section = Section {
    title: "[[listeners]]",
    about: "",
    keys: &[
        Key {
            name: "listen",
            takes: "address",
            absent: Absent::Missing,
            example: "\"0.0.0.0:8080\"",
            meaning: "An IP address and a port; port 0 takes a free one. `[::]` takes IPv4 too, unless something else \
                      here has its port with IPv4.",
        },
        Key {
            name: "max_header_bytes",
            takes: "size",
            absent: Absent::Default("\"16KiB\""),
            example: "\"32KiB\"",
            meaning: "The most that the head of a request may have, 1KiB to 1MiB; a larger one is refused. \
                      The head is read before the route is known.",
        },
        Key {
            name: "max_header_fields",
            takes: "whole number",
            absent: Absent::Default("100"),
            example: "200",
            meaning: "The most header fields that a request may have, 10 to 1000; more are refused. Browsers send about \
                      twenty.",
        },
        Key {
            name: "handshake_timeout",
            takes: "duration",
            absent: Absent::Default("\"10s\""),
            example: "\"5s\"",
            meaning: "How long a client may take to send the head of a request, of its first one together with its TLS \
                      handshake.",
        },
        Key {
            name: "paths",
            takes: "`canonical` or `strict`",
            absent: Absent::Default("\"canonical\""),
            example: "\"strict\"",
            meaning: "Which paths are taken. `canonical` brings each into the form in which routes are compared, and \
                      refuses with 400 what has none; `strict` also refuses dot segments, `//`, and encoded slashes \
                      and backslashes: for upstreams that decode a path before they look at its segments.",
        },
        Key {
            name: "tls",
            takes: "table",
            absent: Absent::Means("clients speak in clear text"),
            example: "{ certificates = [{ chain = \"tls/chain.pem\", key = \"tls/key.pem\" }] }",
            meaning: "Has clients speak TLS here (`wss://`, RFC 8446), and how.",
        },
        liveness::TCP_KEEPALIVE,
        liveness::TCP_USER_TIMEOUT,
    ],
};

/// Reads all files.
pub(in crate::config) fn read(
    report: &Report,
    source: &Source,
    document: &DeTable<'_>,
    standard: &[&str],
    base: &Path,
    secrets: &Secrets<'_>,
) -> (Read<Config>, Parts) {
    let root = Table::new(report, &ROOT, document, String::new(), 0..0);
    let names = Names::new(&root, standard, base, secrets);

    let workers = root.optional("workers", |value| value::count(value, 1..=1024));
    let drain_time = root.read("drain_time", |value| Ok(value::duration_or_off(value)?.unwrap_or(Duration::ZERO)));
    let upgrade_timeout = root.read("upgrade_timeout", value::duration);
    let reload_timeout = root.read("reload_timeout", |value| match value::duration(value)? {
        short if short < LEAST_RELOAD => {
            Err(value.refuse("a reload cannot be done in this time", "write a duration of at least \"1s\""))
        }
        duration => Ok(duration),
    });
    let max_connections = root.optional("max_connections", |value| value::count(value, 1..=u32::MAX));
    let assembly_memory = root.read("assembly_memory", value::memory_size);
    let watch = root.read("watch", value::boolean);
    let cache_directory = root.optional("cache_directory", |value| {
        const ADVICE: &str = "write text such as \"/var/cache/tidegate\"";
        let path = value.parsed("the path of a directory", ADVICE, |path| match path {
            "" => Err(Fault::new("the path is empty", ADVICE)),
            path => Ok(base.join(path)),
        })?;
        Ok(CacheDirectory { path, place: value.place() })
    });
    let max_isolated_instances = root.optional("max_isolated_instances", |value| value::count(value, 1..=u32::MAX));
    let trusted_proxies = root.read("trusted_proxies", |value| {
        const ADVICE: &str = "write networks such as [\"10.0.0.0/8\"]";
        let networks = value.each("a list of networks", ADVICE, |value| value.parsed("a network", ADVICE, network))?;
        Ok(networks.into_iter().collect())
    });
    let admin = root.optional("admin", admin);
    let log = root.read("log", log);
    let listeners =
        listeners(&root, base, admin.as_ref().ok().and_then(|admin| admin.as_ref().map(|admin| admin.listen)));
    let components = root.read("components", |value| component::components(value, &names));
    let upstreams = root.read("upstreams", |value| upstream::upstreams(value, &names));
    let routes = route::routes(&root, &names);

    let (implied, mut parts) = names.into_found();
    let implied: Vec<_> =
        implied.into_iter().filter_map(|(name, place)| Some((name, component::implied(&root, place).ok()?))).collect();
    for (name, component) in &implied {
        parts.components.entry(name.clone()).or_insert_with(|| component.clone());
    }
    parts.cache_directory = cache_directory.as_ref().ok().cloned().flatten();
    let config = || {
        Ok(Config {
            workers: workers?.and_then(non_zero),
            drain_time: drain_time?,
            upgrade_timeout: upgrade_timeout?,
            reload_timeout: reload_timeout?,
            max_connections: max_connections?.and_then(non_zero),
            assembly_memory: assembly_memory?,
            watch: watch?,
            cache_directory: cache_directory?,
            max_isolated_instances: max_isolated_instances?.and_then(non_zero),
            trusted_proxies: trusted_proxies?,
            admin: admin?,
            log: log?,
            listeners: listeners?,
            components: components.map(|_| parts.components.clone())?,
            upstreams: upstreams?,
            routes: routes?,
            inputs: Inputs::default(),
            source: source.clone(),
        })
    };
    (config(), parts)
}

fn non_zero(count: u32) -> Option<NonZeroUsize> {
    NonZeroUsize::new(usize::try_from(count).ok()?)
}

fn admin(value: &Value<'_>) -> Read<Admin> {
    let table = value.table(&ADMIN, "write a table [admin]")?;
    let place = table.value("listen").map_or_else(|| table.place(), |value| value.place());
    let listen = table.read("listen", value::address);
    let hosts = table.read("hosts", |value| {
        const ADVICE: &str = "write a list such as [\"tidegate.example.com\"]";
        value.each("a list of hosts", ADVICE, |host| host.parsed("a host", ADVICE, pattern::parse_host))
    });
    let max_connections = table.read("max_connections", |value| value::count(value, 1..=10_000));
    let send_timeout = table.read("send_timeout", value::duration);
    Ok(Admin {
        listen: listen?,
        place,
        hosts: hosts?,
        max_connections: max_connections? as usize,
        send_timeout: send_timeout?,
    })
}

fn log(value: &Value<'_>) -> Read<log::Settings> {
    const LEVELS: [(&str, Level); 5] = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    const FORMATS: [(&str, log::Format); 2] = [("text", log::Format::Text), ("json", log::Format::Json)];
    let table = value.table(&LOG, "write a table [log]")?;
    let level = table.read("level", |value| value::choice(value, &LEVELS));
    let format = table.read("format", |value| value::choice(value, &FORMATS));
    let access = table.read("access", value::boolean);
    let access_on_open = table.read("access_on_open", value::boolean);
    if let (Ok(false), Ok(true), Some(value)) = (&access, &access_on_open, table.value("access_on_open")) {
        return Err(value.refuse("`access` is false", "leave one of the two out"));
    }
    Ok(log::Settings { level: level?, format: format?, access: access?, access_on_open: access_on_open? })
}

fn listeners(root: &Table<'_>, base: &Path, admin: Option<SocketAddr>) -> Read<Vec<Listener>> {
    let Some(value) = root.value("listeners") else {
        let place = Place { key: "listeners".to_owned(), ..Place::default() };
        let advice = "add a table [[listeners]] with `listen = \"0.0.0.0:8080\"`";
        return Err(root.refuse(&place, "there is no listener", advice));
    };
    let listeners = value.each("tables", "write tables [[listeners]]", |value| listener(value, base))?;
    if listeners.is_empty() {
        return Err(value.refuse("there is no listener", "add a table [[listeners]] with `listen = \"0.0.0.0:8080\"`"));
    }
    // `[::]` leaves IPv4 to the others.
    let overlap = |one, other| {
        let claim = |address| Claim { address, only_v6: true };
        claim(one).overlaps(&claim(other))
    };
    let mut taken: Vec<(SocketAddr, String)> = Vec::new();
    taken.extend(admin.map(|address| (address, "the admin API".to_owned())));
    let mut result = Ok(());
    for listener in &listeners {
        let address = listener.listen;
        if let Some((other, holder)) = taken.iter().find(|(other, _)| overlap(address, *other)) {
            let what = match *other == address {
                true => format!("{address} is the address of {holder} already"),
                false => format!("{address} cannot be listened on beside {other}, the address of {holder}"),
            };
            result = Err(root.refuse(&listener.place, what, "choose another port, or remove one of the two"));
        }
        taken.push((address, format!("the listener of {}", listener.place.seen_from(&Place::default()))));
    }
    result.map(|()| listeners)
}

fn listener(value: &Value<'_>, base: &Path) -> Read<Listener> {
    let table = value.table(&LISTENER, "write a table [[listeners]]")?;
    let place = table.value("listen").map_or_else(|| value.place(), |value| value.place());
    let listen = table.read("listen", value::address);
    let max_header_bytes =
        table.read("max_header_bytes", |value| value::size_within(value, (1 << 10, "1KiB"), (1 << 20, "1MiB")));
    let max_header_fields = table.read("max_header_fields", |value| value::count(value, 10..=1000));
    let handshake_timeout = table.read("handshake_timeout", value::duration);
    let paths = table
        .read("paths", |value| value::choice(value, &[("canonical", Paths::Canonical), ("strict", Paths::Strict)]));
    let tls = table.optional("tls", |value| tls::tls(value, base));
    let liveness = liveness::liveness(&table);
    Ok(Listener {
        listen: listen?,
        max_header_bytes: max_header_bytes?,
        max_header_fields: usize::try_from(max_header_fields?).unwrap_or(usize::MAX),
        paths: paths?,
        handshake_timeout: handshake_timeout?,
        tls: tls?,
        liveness: liveness?,
        place,
    })
}

/// In which a configuration can be read that allows more.
const LEAST_RELOAD: Duration = Duration::from_secs(1);
