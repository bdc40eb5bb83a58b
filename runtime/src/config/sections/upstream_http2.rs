//! HTTP/2 towards upstreams.

use super::http2::limits;
use super::upstream::PROXY_PROTOCOL;
use crate::config::{
    reader::{Absent, Key, Read, Table},
    value,
};
use crate::transport::Http2Limits;

pub(super) const HTTP2: Key = Key {
    name: "http2",
    takes: "`true` or `false`",
    absent: Absent::Default("false"),
    example: "true",
    meaning: "Has its endpoints asked for WebSockets over HTTP/2, where they say that they know them over it (RFC 8441): a few \
              connections of each worker then carry many. With `wss://` it is agreed on by ALPN, with `ws://` tried by prior \
              knowledge; an endpoint that does not say so is asked over HTTP/1.1, and after a minute once more whether it does. Plain \
              requests go over HTTP/1.1 in any case. Takes no `proxy_protocol`.",
};

pub(super) const HTTP2_MAX_STREAMS: Key = Key {
    name: "http2_max_streams",
    takes: "whole number",
    absent: Absent::Default("100"),
    example: "250",
    meaning: "The most streams that a connection over HTTP/2 to an endpoint has at a time, 1 to 1000, and no more than the endpoint \
              takes; for further ones there are further connections. With more there are fewer connections, and the loss of one \
              costs more WebSockets. Needs `http2`.",
};

pub(super) const HTTP2_STREAM_WINDOW: Key = Key {
    name: "http2_stream_window",
    takes: "size",
    absent: Absent::Default("\"64KiB\""),
    example: "\"256KiB\"",
    meaning: "How much an endpoint may send on one stream ahead of what its client has taken, 16KiB to 16MiB: as much is held for a \
              stream that stalls. One with more is faster over long ways. Needs `http2`.",
};

pub(super) const HTTP2_IDLE_TIMEOUT: Key = Key {
    name: "http2_idle_timeout",
    takes: "duration",
    absent: Absent::Default("\"1m\""),
    example: "\"5m\"",
    meaning: "How long a connection over HTTP/2 to an endpoint is kept without a stream. Needs `http2`.",
};

const LIMITS: [&Key; 3] = [&HTTP2_MAX_STREAMS, &HTTP2_STREAM_WINDOW, &HTTP2_IDLE_TIMEOUT];

/// What connections over HTTP/2 to an upstream's endpoints are allowed; `None`: there are none.
pub(super) fn http2(table: &Table<'_>) -> Read<Option<Http2Limits>> {
    let is_spoken = table.read(&HTTP2, |value| {
        let is_spoken = value::boolean(value)?;
        if is_spoken && table.value(&PROXY_PROTOCOL).is_some() {
            let advice = "remove one of the two";
            return Err(value.refuse(
                "a header of the PROXY protocol is about one client, and the connection would carry many",
                advice,
            ));
        }
        Ok(is_spoken)
    });
    let limits = limits(table, LIMITS);
    let (is_spoken, limits) = (is_spoken?, limits?);
    match LIMITS.iter().find_map(|key| table.value(key)).filter(|_| !is_spoken) {
        Some(value) => Err(value.refuse("no endpoint is asked over HTTP/2", "write `http2 = true` too, or remove it")),
        None => Ok(is_spoken.then_some(limits)),
    }
}
