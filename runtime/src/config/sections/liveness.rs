//! How sockets notice that their peer has vanished: keys that listeners and upstreams share.

use crate::config::{
    reader::{Absent, Key, Read, Table},
    value,
};
use crate::transport::Liveness;

pub(super) const TCP_KEEPALIVE: Key = Key {
    name: "tcp_keepalive",
    takes: "duration or `off`",
    absent: Absent::Default("\"1m\""),
    example: "\"30s\"",
    meaning: "After so much silence the kernel asks whether the peer's machine is still there, at least 1s. One that has \
              vanished without a word would hold its connection for ever. It is given up after as much again, or, unless \
              that is off, after `tcp_user_timeout`.",
};

pub(super) const TCP_USER_TIMEOUT: Key = Key {
    name: "tcp_user_timeout",
    takes: "duration or `off`",
    absent: Absent::Default("\"5m\""),
    example: "\"1m\"",
    meaning: "How long the peer's machine may leave unacknowledged what was sent, or take nothing because its program does \
              not read; then the connection is lost. Off: as long as the system lets it, some 15 minutes without an answer, \
              and for ever where it answers that it takes nothing.",
};

/// Reads both. A unix socket has neither.
pub(super) fn liveness(table: &Table<'_>, is_unix: bool) -> Read<Liveness> {
    let given = table.value(&TCP_KEEPALIVE).or(table.value(&TCP_USER_TIMEOUT));
    if let Some(given) = given.filter(|_| is_unix) {
        return Err(
            given.refuse("a unix socket has no TCP", "remove it: the system tells who on this machine has gone")
        );
    }
    let keepalive = table.read(&TCP_KEEPALIVE, value::duration_or_off);
    let user_timeout = table.read(&TCP_USER_TIMEOUT, value::duration_or_off);
    Ok(Liveness { keepalive: keepalive?, user_timeout: user_timeout? })
}
