//! The admin API.

use crate::config::{
    pattern,
    reader::{Absent, Key, Read, Section, Value},
    types::Admin,
    value,
};

pub(super) const ADMIN: Section = Section {
    title: "[admin]",
    about: "Without this table there is no admin API, and no metrics.",
    keys: &[LISTEN, HOSTS, MAX_CONNECTIONS, SEND_TIMEOUT],
};

const LISTEN: Key = Key {
    name: "listen",
    takes: "address",
    absent: Absent::Default("\"127.0.0.1:9900\""),
    example: "\"127.0.0.1:9900\"",
    meaning: "Where it listens. It asks for no password, so keep it private.",
};

const HOSTS: Key = Key {
    name: "hosts",
    takes: "list of hosts",
    absent: Absent::Default("[]"),
    example: "[\"tidegate.example.com\"]",
    meaning: "Names with a dot that it is asked by, without a port. An address, `localhost` and a name without a \
              dot need no entry; any other name is refused, because a web page could have made it lead here.",
};

const MAX_CONNECTIONS: Key = Key {
    name: "max_connections",
    takes: "whole number",
    absent: Absent::Default("64"),
    example: "64",
    meaning: "Connections that may be answered at a time: scrapers and operators need a handful. An idle one goes \
              for one that has come. Where all are being answered, probes are answered all the same and others \
              get 503.",
};

const SEND_TIMEOUT: Key = Key {
    name: "send_timeout",
    takes: "duration",
    absent: Absent::Default("\"30s\""),
    example: "\"30s\"",
    meaning: "How long a client may take to read an answer, before it is cut off: its place is for others.",
};

/// Reads what is said of the admin API.
pub(super) fn admin(value: &Value<'_>) -> Read<Admin> {
    let table = value.table(&ADMIN, "write a table [admin]")?;
    let place = table.value(&LISTEN).map_or_else(|| table.place(), |value| value.place());
    let listen = table.read(&LISTEN, value::address);
    let hosts = table.read(&HOSTS, |value| {
        const ADVICE: &str = "write a list such as [\"tidegate.example.com\"]";
        value.each("a list of hosts", ADVICE, |host| host.parsed("a host", ADVICE, pattern::parse_host))
    });
    let max_connections = table.read(&MAX_CONNECTIONS, |value| value::count(value, 1..=10_000));
    let send_timeout = table.read(&SEND_TIMEOUT, value::duration);
    Ok(Admin {
        listen: listen?,
        place,
        hosts: hosts?,
        max_connections: max_connections? as usize,
        send_timeout: send_timeout?,
    })
}
