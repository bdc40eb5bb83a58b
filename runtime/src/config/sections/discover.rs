//! Where the endpoints of an upstream are found.

use std::path::Path;

use toml::de::DeValue;

use super::tls::file_such_as;
use crate::config::{
    reader::{Absent, Key, Read, Section, Table, Value},
    value,
};
use crate::discovery::{Source, Terms};

/// Each source has a section of its own, which its first key tells from the others.
const SOURCES: [&Section; 1] = [&FILE];

pub(super) const FILE: Section = Section {
    title: "endpoints in a file",
    about: "`discover = { file = \"endpoints.json\" }`: a list of endpoints in JSON, or a table with the list as `endpoints`, in JSON or, where the \
            name ends in `.toml`, in TOML. An endpoint is its url, or a table of `url`, `weight`, `warmup`, `started` (RFC 3339, or \
            milliseconds of Unix time), `enabled`, `zone` and `metadata`, of which only `url` has to be there. The file is watched; while it cannot be \
            read, what it said last stays. A change is no reload.",
    keys: &[PATH, EMPTY_GRACE],
};

const PATH: Key = Key {
    name: "file",
    takes: "path",
    absent: Absent::Missing,
    example: "\"endpoints.json\"",
    meaning: "The file, relative to this one. It need not be there yet.",
};

const EMPTY_GRACE: Key = Key {
    name: "empty_grace",
    takes: "duration or `off`",
    absent: Absent::Default("\"30s\""),
    example: "\"5m\"",
    meaning: "How long it is not believed that no endpoint is left at all, which is most often a mistake.",
};

/// Reads where endpoints are found; paths are relative to `base`.
pub(super) fn discover(value: &Value<'_>, base: &Path) -> Read<Terms> {
    const ADVICE: &str = "write { file = \"endpoints.json\" }";
    let DeValue::Table(keys) = value.node() else { return Err(value.mistyped("a table", ADVICE)) };
    let source = |section: &&&Section| section.keys.first().is_some_and(|key| keys.contains_key(key.name));
    let mut sources = SOURCES.iter().filter(source);
    let section = match (sources.next(), sources.next()) {
        (Some(section), None) => *section,
        (None, _) => return Err(value.refuse("it says no source of endpoints", ADVICE)),
        (Some(_), Some(_)) => return Err(value.refuse("endpoints come from one source", "leave all but one out")),
    };
    let table = value.table(section, ADVICE)?;
    let source = file(&table, base);
    let empty_grace = table.read(&EMPTY_GRACE, value::duration_or_off);
    Ok(Terms { source: source?, empty_grace: empty_grace? })
}

fn file(table: &Table<'_>, base: &Path) -> Read<Source> {
    const ADVICE: &str = "write text such as \"endpoints.json\"";
    table.read(&PATH, |value| file_such_as(value, base, ADVICE)).map(|file| Source::File(file.path))
}
