//! What concerns the whole process: the top of the file.

use std::{num::NonZeroUsize, path::Path, time::Duration};

use toml::de::DeTable;

use super::{Names, access, admin, answer, component, listener, log, per_client, route, tokens, upstream};
use crate::config::{
    reader::{Absent, Fault, Key, Read, Report, Section, Table},
    secret::Secrets,
    source::Source,
    types::{CacheDirectory, Config, Inputs, Parts, Route},
    value,
};
use crate::handshake::Networks;

pub(super) const ROOT: Section = Section {
    title: "the top of the file",
    about: "Keys of the top of the file stand before its first table.",
    keys: &[
        INCLUDE,
        WORKERS,
        DRAIN_TIME,
        UPGRADE_TIMEOUT,
        RELOAD_TIMEOUT,
        MAX_CONNECTIONS,
        ASSEMBLY_MEMORY,
        WATCH,
        CACHE_DIRECTORY,
        MAX_ISOLATED_INSTANCES,
        TRUSTED_PROXIES,
        CLIENT_PREFIXES,
        ADMIN,
        LOG,
        LISTENERS,
        COMPONENTS,
        TOKENS,
        UPSTREAMS,
        ROUTES,
        ERRORS,
    ],
};

const INCLUDE: Key = Key {
    name: "include",
    takes: "list of paths",
    absent: Absent::Default("[]"),
    example: "[\"conf.d/*.toml\"]",
    meaning: "Further files of the configuration, relative to the file that includes them. The last part of a path \
              may have `*` for any characters and `?` for one, and stands for all files that match, in the order \
              of their names; names that begin with a dot are left out. They may hold all that this file may, \
              and `listeners`, `components`, `tokens`, `upstreams` and `routes` add up; any other key, and each name, \
              stands in one file alone.",
};

const WORKERS: Key = Key {
    name: "workers",
    takes: "whole number",
    absent: Absent::Means("one for each core"),
    example: "4",
    meaning: "Worker threads, 1 to 1024. The command line wins. Another number waits for an upgrade or a restart.",
};

const DRAIN_TIME: Key = Key {
    name: "drain_time",
    takes: "duration",
    absent: Absent::Default("\"10s\""),
    example: "\"30s\"",
    meaning: "The time over which draining closes connections; `0` closes all at once.",
};

const UPGRADE_TIMEOUT: Key = Key {
    name: "upgrade_timeout",
    takes: "duration",
    absent: Absent::Default("\"60s\""),
    example: "\"5m\"",
    meaning: "How long the new process of a binary upgrade may take to load everything; then it is ended, and \
              the old one goes on.",
};

const RELOAD_TIMEOUT: Key = Key {
    name: "reload_timeout",
    takes: "duration",
    absent: Absent::Default("\"5m\""),
    example: "\"30m\"",
    meaning: "How long a reload may take, at least 1s; then it is given up and what is in force stays. It counts as \
              soon as the file that says it is read. So long, because compiling yields to all other work: an \
              embedded interpreter takes half a minute of a core, and several times that where all are busy.",
};

const MAX_CONNECTIONS: Key = Key {
    name: "max_connections",
    takes: "whole number",
    absent: Absent::Means("what the limit of open files allows"),
    example: "100000",
    meaning: "Connections that the process holds at most, over all workers; those beyond it get 503 at once. Each \
              takes two of the open files, and more than fit are not held whatever stands here.",
};

const ASSEMBLY_MEMORY: Key = Key {
    name: "assembly_memory",
    takes: "size or percentage",
    absent: Absent::Default("\"25%\""),
    example: "\"512MiB\"",
    meaning: "Memory for messages that have begun and not ended, where filters wait for them, and for those that a \
              slow receiver or a filter's delay keeps waiting, over all connections, and for the bodies of bridges that wait to be \
              sent; a percentage is of what the \
              machine has, or its control group allows. Each worker has an equal share. Where it is full, the \
              messages that have waited longest close their connections with 1013, or get 503; a worker that holds only one \
              always has room for it.",
};

const WATCH: Key = Key {
    name: "watch",
    takes: "boolean",
    absent: Absent::Default("true"),
    example: "false",
    meaning: "Whether a reload follows by itself when the file or a component's file changes. Without it, it \
              takes a signal or the admin API, which a dry run can come before.",
};

const CACHE_DIRECTORY: Key = Key {
    name: "cache_directory",
    takes: "path",
    absent: Absent::Means("none: each start compiles all components"),
    example: "\"/var/cache/tidegate\"",
    meaning: "Where compiled components are kept, relative to the directory of the configuration; made if it is \
              not there. Off by default, because what is in it is native code that the process runs: it has to \
              belong to the user of the process, and nobody else may write to it. What was not used for 30 \
              days is removed, and of more than 1GiB what was not used for longest.",
};

const MAX_ISOLATED_INSTANCES: Key = Key {
    name: "max_isolated_instances",
    takes: "whole number",
    absent: Absent::Means("what address space and memory maps allow"),
    example: "1000",
    meaning: "Instances that serve one connection each (`isolation = \"connection\"`), over all components. A \
              connection for which there is none is refused with 503, or goes on without the filter, as its \
              `on_failure` says. The system allows some 8000, fewer where `vm.max_map_count` is low.",
};

const TRUSTED_PROXIES: Key = Key {
    name: "trusted_proxies",
    takes: "list of networks",
    absent: Absent::Default("[]"),
    example: "[\"10.0.0.0/8\", \"::1\"]",
    meaning: "Peers that are believed what they say about clients, in `X-Forwarded-*`, `Forwarded`, `X-Real-IP` \
              and others of the kind; what others say is removed. `unix:` stands for those that come by a unix socket.",
};

const CLIENT_PREFIXES: Key = Key {
    name: "client_prefixes",
    takes: "table",
    absent: Absent::Default("{}"),
    example: "{ v4 = 32, v6 = 64 }",
    meaning: "Which clients count as one, for `max_connections_per_client` and `handshakes_per_second_per_client`.",
};

const ADMIN: Key = Key {
    name: "admin",
    takes: "table",
    absent: Absent::Means("no admin API"),
    example: "{}",
    meaning: "The admin API.",
};

const LOG: Key =
    Key { name: "log", takes: "table", absent: Absent::Default("{}"), example: "{}", meaning: "What is logged." };

pub(super) const LISTENERS: Key = Key {
    name: "listeners",
    takes: "tables",
    absent: Absent::Missing,
    example: "[{ listen = \"0.0.0.0:8080\" }]",
    meaning: "The sockets that accept clients, at least one.",
};

pub(super) const COMPONENTS: Key = Key {
    name: "components",
    takes: "tables by name",
    absent: Absent::Default("{}"),
    example: "{}",
    meaning: "Components from files, and budgets. Standard components need no entry.",
};

pub(super) const TOKENS: Key = Key {
    name: "tokens",
    takes: "tables by name",
    absent: Absent::Default("{}"),
    example: "{}",
    meaning: "Tokens that routes may ask for: whose they are and what they have to say.",
};

pub(super) const UPSTREAMS: Key = Key {
    name: "upstreams",
    takes: "tables by name",
    absent: Absent::Default("{}"),
    example: "{}",
    meaning: "Sets of interchangeable endpoints.",
};

pub(super) const ROUTES: Key = Key {
    name: "routes",
    takes: "tables",
    absent: Absent::Missing,
    example: "[]",
    meaning: "Which handshakes go where, at least one. The most specific host and path is tried first.",
};

const ERRORS: Key = Key {
    name: "errors",
    takes: "table of files",
    absent: Absent::Default("{}"),
    example: "{ 503 = \"pages/busy.html\" }",
    meaning: "Files in the place of what the proxy itself says when it does not serve a request, by status, 400 to 599: 1MiB each at \
              most, relative to the directory of the configuration; the ends of their names say what they are. The status and all other \
              fields stay. They are read with the configuration, and again when they change.",
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

    let workers = root.optional(&WORKERS, |value| value::count(value, 1..=1024));
    let drain_time = root.read(&DRAIN_TIME, |value| Ok(value::duration_or_off(value)?.unwrap_or(Duration::ZERO)));
    let upgrade_timeout = root.read(&UPGRADE_TIMEOUT, value::duration);
    let reload_timeout = root.read(&RELOAD_TIMEOUT, |value| match value::duration(value)? {
        short if short < LEAST_RELOAD => {
            Err(value.refuse("a reload cannot be done in this time", "write a duration of at least \"1s\""))
        }
        duration => Ok(duration),
    });
    let max_connections = root.optional(&MAX_CONNECTIONS, |value| value::count(value, 1..=u32::MAX));
    let assembly_memory = root.read(&ASSEMBLY_MEMORY, value::memory_size);
    let watch = root.read(&WATCH, value::boolean);
    let cache_directory = root.optional(&CACHE_DIRECTORY, |value| {
        const ADVICE: &str = "write text such as \"/var/cache/tidegate\"";
        let path = value.parsed("the path of a directory", ADVICE, |path| match path {
            "" => Err(Fault::new("the path is empty", ADVICE)),
            path => Ok(base.join(path)),
        })?;
        Ok(CacheDirectory { path, place: value.place() })
    });
    let max_isolated_instances = root.optional(&MAX_ISOLATED_INSTANCES, |value| value::count(value, 1..=u32::MAX));
    let trusted_proxies = root.read(&TRUSTED_PROXIES, access::networks);
    let trusts = trusted_proxies.as_ref().is_ok_and(|networks| *networks != Networks::default());
    let prefixes = root.read(&CLIENT_PREFIXES, per_client::prefixes);
    // What is wrong with it is told already.
    let known_prefixes = prefixes.as_ref().copied().unwrap_or_default();
    let admin = root.optional(&ADMIN, |value| admin::admin(value, base));
    let log = root.read(&LOG, log::log);
    let listeners = listener::listeners(
        &root,
        listener::Context { base, prefixes: known_prefixes, trusts },
        admin.as_ref().ok().and_then(|admin| admin.as_ref().map(|admin| admin.listen.clone())),
    );
    let components = root.read(&COMPONENTS, |value| component::components(value, &names));
    let tokens = root.read(&TOKENS, |value| tokens::tokens(value, &names));
    let upstreams = root.read(&UPSTREAMS, |value| upstream::upstreams(value, &names));
    let routes = route::routes(&root, &names, known_prefixes);
    let upstreams = upstreams.map(|declared| {
        let applications = routes.iter().flatten().filter_map(Route::application);
        let implied = applications.map(|(name, application)| (name, (*application.upstream).clone()));
        declared.into_iter().chain(implied).collect()
    });
    let admin = match (admin, &routes) {
        (Ok(Some(admin)), Ok(routes)) => admin::check(&root, &admin, routes).map(|()| Some(admin)),
        (admin, _) => admin,
    };
    let errors = root.read(&ERRORS, |value| answer::errors(value, base));

    let (implied, mut parts) = names.into_found();
    let implied: Vec<_> =
        implied.into_iter().filter_map(|(name, place)| Some((name, component::implied(&root, place).ok()?))).collect();
    for (name, component) in &implied {
        parts.components.entry(name.clone()).or_insert_with(|| component.clone());
    }
    parts.cache_directory = cache_directory.as_ref().ok().cloned().flatten();
    let config = || {
        prefixes?;
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
            tokens: tokens?,
            upstreams: upstreams?,
            errors: errors?,
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

/// In which a configuration can be read that allows more.
const LEAST_RELOAD: Duration = Duration::from_secs(1);
