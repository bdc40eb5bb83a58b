//! Logging.

use tracing::Level;

use crate::config::{
    reader::{Absent, Key, Read, Section, Value},
    value,
};
use crate::log;

pub(super) const LOG: Section = Section { title: "[log]", about: "", keys: &[LEVEL, FORMAT, ACCESS, ACCESS_ON_OPEN] };

const LEVEL: Key = Key {
    name: "level",
    takes: "`error`, `warn`, `info`, `debug` or `trace`",
    absent: Absent::Default("\"info\""),
    example: "\"warn\"",
    meaning: "The least severe events that are logged.",
};

const FORMAT: Key = Key {
    name: "format",
    takes: "`text` or `json`",
    absent: Absent::Default("\"text\""),
    example: "\"json\"",
    meaning: "Lines for people, or one JSON object on each line.",
};

const ACCESS: Key = Key {
    name: "access",
    takes: "boolean",
    absent: Absent::Default("true"),
    example: "false",
    meaning: "Whether every connection leaves a line when it ends.",
};

const ACCESS_ON_OPEN: Key = Key {
    name: "access_on_open",
    takes: "boolean",
    absent: Absent::Default("false"),
    example: "true",
    meaning: "Whether a connection leaves a line when it opens, too. Not without `access`.",
};

/// Reads what is logged.
pub(super) fn log(value: &Value<'_>) -> Read<log::Settings> {
    const LEVELS: [(&str, Level); 5] = [
        ("error", Level::ERROR),
        ("warn", Level::WARN),
        ("info", Level::INFO),
        ("debug", Level::DEBUG),
        ("trace", Level::TRACE),
    ];
    const FORMATS: [(&str, log::Format); 2] = [("text", log::Format::Text), ("json", log::Format::Json)];
    let table = value.table(&LOG, "write a table [log]")?;
    let level = table.read(&LEVEL, |value| value::choice(value, &LEVELS));
    let format = table.read(&FORMAT, |value| value::choice(value, &FORMATS));
    let access = table.read(&ACCESS, value::boolean);
    let access_on_open = table.read(&ACCESS_ON_OPEN, value::boolean);
    if let (Ok(false), Ok(true), Some(value)) = (&access, &access_on_open, table.value(&ACCESS_ON_OPEN)) {
        return Err(value.refuse("`access` is false", "leave one of the two out"));
    }
    Ok(log::Settings { level: level?, format: format?, access: access?, access_on_open: access_on_open? })
}
