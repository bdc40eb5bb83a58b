//! Where the endpoints of an upstream are found.

mod consul;
mod dns;
mod etcd;
mod file;
mod server;

use toml::de::DeValue;

use super::Names;
use crate::config::{
    reader::{Absent, Key, Read, Section, Table, Value},
    types::{Discover, UpstreamTls},
    value,
};
use crate::discovery::{Source, Terms};

pub(super) use consul::CONSUL;
pub(super) use dns::DNS;
pub(super) use etcd::ETCD;
pub(super) use file::FILE;

/// A section of the configuration for each source, which its first key tells from the others, and who reads it.
const SOURCES: [(&Section, Reads); 4] =
    [(&FILE, file::read), (&DNS, dns::read), (&ETCD, etcd::read), (&CONSUL, consul::read)];

type Reads = fn(&Table<'_>, &Names<'_>) -> Read<(Source, Option<UpstreamTls>)>;

const EMPTY_GRACE: Key = Key {
    name: "empty_grace",
    takes: "duration or `off`",
    absent: Absent::Default("\"30s\""),
    example: "\"5m\"",
    meaning: "How long it is not believed that no endpoint is left at all, which is most often a mistake.",
};

/// Reads where endpoints are found.
pub(super) fn discover(value: &Value<'_>, names: &Names<'_>) -> Read<Discover> {
    const ADVICE: &str = "write { file = \"endpoints.json\" }, or another source";
    let DeValue::Table(keys) = value.node() else { return Err(value.mistyped("a table", ADVICE)) };
    let is_meant =
        |(section, _): &&(&Section, Reads)| section.keys.first().is_some_and(|key| keys.contains_key(key.name));
    let mut sources = SOURCES.iter().filter(is_meant);
    let (section, read) = match (sources.next(), sources.next()) {
        (Some(source), None) => *source,
        (None, _) => {
            let known: Vec<_> =
                SOURCES.iter().filter_map(|(section, _)| section.keys.first()).map(|key| key.name).collect();
            return Err(value.refuse("it says no source of endpoints", format!("the sources are {}", known.join(", "))));
        }
        (Some(_), Some(_)) => return Err(value.refuse("endpoints come from one source", "leave all but one out")),
    };
    let table = value.table(section, ADVICE)?;
    let source = read(&table, names);
    let empty_grace = table.read(&EMPTY_GRACE, value::duration_or_off);
    let (source, tls) = source?;
    Ok(Discover { terms: Terms { source, empty_grace: empty_grace? }, tls, place: value.place() })
}
