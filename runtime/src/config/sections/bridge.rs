//! The bridge of a route, between plain requests and WebSockets.

use crate::bridge::Reply;
use crate::config::{
    reader::{Absent, Key, Read, Section, Value},
    types::Bridge,
    value,
};

pub(super) const BRIDGE: Section = Section {
    title: "the bridge of a route",
    about: "A `POST` becomes one message to the upstream: its body, binary where its type is `application/octet-stream` and text where \
            it is anything else. WebSocket handshakes are served as ever. A message is sent at most once: 202 says that it was written \
            to the upstream's socket, 502 and 504 that it may have been, 503 that it was not. Networks, tokens, `authorize`, origins and \
            limits of the route hold for each request; filters see the messages of the connections, both ways.",
    keys: &[REPLY, TIMEOUT, CONNECTIONS, QUEUE],
};

const REPLY: Key = Key {
    name: "reply",
    takes: "`accepted`, `next` or `stream`",
    absent: Absent::Default("\"accepted\""),
    example: "\"next\"",
    meaning: "What the request is answered with: 202 once its message is written, and what the upstream says goes nowhere; the next \
              message of the upstream, which has the connection for this request alone meanwhile; or all further messages of the \
              upstream as server-sent events, on a connection of the request's own, until either side ends it. With `stream`, a `GET` \
              that accepts `text/event-stream` does the same without a message.",
};

const TIMEOUT: Key = Key {
    name: "timeout",
    takes: "duration",
    absent: Absent::Default("\"10s\""),
    example: "\"2s\"",
    meaning: "How long a request may take until its message is written or, with `next`, answered. Who has not had its turn by then gets \
              503, everybody else 504. Not for events.",
};

const CONNECTIONS: Key = Key {
    name: "connections",
    takes: "whole number",
    absent: Absent::Default("4"),
    example: "16",
    meaning: "Connections to the upstream that messages share, of all workers together; each worker has one at least. They are opened \
              when they are needed, with the path of the route, and stay. Not for events.",
};

const QUEUE: Key = Key {
    name: "queue",
    takes: "whole number",
    absent: Absent::Default("1000"),
    example: "100",
    meaning: "Requests that wait for their turn or are under way, of all workers together; further ones get 503 with `Retry-After`. \
              Not for events.",
};

/// Reads how plain requests become messages.
pub(super) fn bridge(value: &Value<'_>) -> Read<Bridge> {
    let table = value.table(&BRIDGE, "write { reply = \"accepted\" }")?;
    let replies = [("accepted", Reply::Accepted), ("next", Reply::Next), ("stream", Reply::Stream)];
    let reply = table.read(&REPLY, |value| value::choice(value, &replies));
    let timeout = table.read(&TIMEOUT, value::duration);
    let connections = table.read(&CONNECTIONS, |value| value::count(value, 1..=1000));
    let queue = table.read(&QUEUE, |value| value::count(value, 1..=1_000_000));
    if let (Ok(Reply::Stream), Some(value)) = (&reply, table.value(&CONNECTIONS)) {
        let what = "with `reply = \"stream\"` each request has a connection of its own";
        return Err(value.refuse(what, "remove it; `max_connections` of the route bounds them"));
    }
    Ok(Bridge { reply: reply?, timeout: timeout?, connections: connections? as usize, queue: queue? as usize })
}
