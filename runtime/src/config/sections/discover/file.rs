//! Endpoints in a file of their own.

use super::EMPTY_GRACE;
use crate::config::{
    reader::{Absent, Key, Read, Section, Table},
    sections::{Names, tls::file_such_as},
    types::UpstreamTls,
};
use crate::discovery::Source;

pub(in crate::config::sections) const FILE: Section = Section {
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

pub(super) fn read(table: &Table<'_>, names: &Names<'_>) -> Read<(Source, Option<UpstreamTls>)> {
    const ADVICE: &str = "write text such as \"endpoints.json\"";
    let path = table.read(&PATH, |value| file_such_as(value, names.base, ADVICE))?.path;
    Ok((Source::File(path), None))
}
