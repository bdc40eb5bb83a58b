//! What each client may have: keys that listeners and routes share, and what a client is.

use crate::config::{
    reader::{Absent, Key, Read, Section, Table, Value},
    value,
};
use crate::session::{ClientLimits, Prefixes};

pub(super) const MAX_CONNECTIONS_PER_CLIENT: Key = Key {
    name: "max_connections_per_client",
    takes: "whole number or `off`",
    absent: Absent::Default("\"off\""),
    example: "20",
    meaning: "Connections that the clients of one network (`client_prefixes`) may have at a time; further ones get 429.",
};

pub(super) const HANDSHAKES_PER_SECOND_PER_CLIENT: Key = Key {
    name: "handshakes_per_second_per_client",
    takes: "whole number or `off`",
    absent: Absent::Default("\"off\""),
    example: "5",
    meaning: "Handshakes of the clients of one network in a second, and at once; further ones get 429.",
};

pub(super) const CLIENT_PREFIXES: Section = Section {
    title: "`client_prefixes`",
    about: "How many bits of an address tell clients apart, for what each client may have.",
    keys: &[V4, V6],
};

const V4: Key = Key {
    name: "v4",
    takes: "whole number",
    absent: Absent::Default("32"),
    example: "24",
    meaning: "Bits of an IPv4 address, 0 to 32.",
};

const V6: Key = Key {
    name: "v6",
    takes: "whole number",
    absent: Absent::Default("64"),
    example: "56",
    meaning: "Bits of an IPv6 address, 0 to 128. Whoever has a network of 64 has all the addresses in it.",
};

/// Reads what a client is.
pub(super) fn prefixes(value: &Value<'_>) -> Read<Prefixes> {
    let table = value.table(&CLIENT_PREFIXES, "write { v4 = 32, v6 = 64 }")?;
    let v4 = table.read(&V4, |value| value::count(value, 0..=32));
    let v6 = table.read(&V6, |value| value::count(value, 0..=128));
    let bits = |count: u32| u8::try_from(count).unwrap_or(u8::MAX);
    Ok(Prefixes { v4: bits(v4?), v6: bits(v6?) })
}

/// Reads what each client may have of a listener or a route.
pub(super) fn per_client(table: &Table<'_>, prefixes: Prefixes) -> Read<ClientLimits> {
    let max_connections = table.read(&MAX_CONNECTIONS_PER_CLIENT, value::count_or_off);
    let handshakes_per_second = table.read(&HANDSHAKES_PER_SECOND_PER_CLIENT, value::count_or_off);
    Ok(ClientLimits { max_connections: max_connections?, handshakes_per_second: handshakes_per_second?, prefixes })
}
