//! HTTP/2 on listeners.

use crate::config::{
    reader::{Absent, Key, Read, Table},
    value,
};
use crate::transport::Http2Limits;

pub(super) const HTTP2: Key = Key {
    name: "http2",
    takes: "`alpn`, `prior-knowledge` or `off`",
    absent: Absent::Means("`alpn` where clients speak TLS, and `off` in clear text"),
    example: "\"prior-knowledge\"",
    meaning: "Whether clients may speak HTTP/2 (RFC 9113) here, with many WebSockets on one connection (RFC 8441). `alpn` is for \
              listeners that speak TLS: who offers `h2` gets it, and HTTP/1.1 who offers only that, or nothing. `prior-knowledge` \
              is for those in clear text: who begins with the preface of HTTP/2 speaks it, on the same port as all who do not. `off`: \
              nobody does.",
};

pub(super) const HTTP2_MAX_STREAMS: Key = Key {
    name: "http2_max_streams",
    takes: "whole number",
    absent: Absent::Default("100"),
    example: "250",
    meaning: "The most streams that a connection over HTTP/2 has at a time, 1 to 1000: WebSockets, and requests under way. Those \
              beyond it are refused with `REFUSED_STREAM`. A stream counts on its route as a connection does; `max_connections` \
              of listeners and of `[server]` counts the connections that carry them.",
};

pub(super) const HTTP2_STREAM_WINDOW: Key = Key {
    name: "http2_stream_window",
    takes: "size",
    absent: Absent::Default("\"64KiB\""),
    example: "\"256KiB\"",
    meaning: "How much a client may send on one stream ahead of what its upstream has taken, 16KiB to 16MiB: as much is held for a \
              stream that stalls. One with more is faster over long ways.",
};

pub(super) const HTTP2_IDLE_TIMEOUT: Key = Key {
    name: "http2_idle_timeout",
    takes: "duration",
    absent: Absent::Default("\"1m\""),
    example: "\"5m\"",
    meaning: "How long a connection over HTTP/2 may be without a stream, after which it is ended with GOAWAY.",
};

const LIMITS: [&Key; 3] = [&HTTP2_MAX_STREAMS, &HTTP2_STREAM_WINDOW, &HTTP2_IDLE_TIMEOUT];

/// Reads limits by these keys of a table: of streams, of a stream's window, of the time without a stream.
pub(super) fn limits(table: &Table<'_>, [max_streams, stream_window, idle_timeout]: [&Key; 3]) -> Read<Http2Limits> {
    let max_streams = table.read(max_streams, |value| value::count(value, 1..=1000));
    let stream_window =
        table.read(stream_window, |value| value::size_within(value, (16 << 10, "16KiB"), (16 << 20, "16MiB")));
    let idle_timeout = table.read(idle_timeout, value::duration);
    Ok(Http2Limits {
        max_streams: max_streams?,
        stream_window: u32::try_from(stream_window?).unwrap_or(u32::MAX),
        idle_timeout: idle_timeout?,
    })
}

/// What a listener's connections over HTTP/2 are allowed; `None`: there are none.
pub(super) fn http2(table: &Table<'_>, speaks_tls: bool) -> Read<Option<Http2Limits>> {
    let wanted = table.optional(&HTTP2, |value| {
        let wanted = value::choice(value, &[("alpn", Some(true)), ("prior-knowledge", Some(false)), ("off", None)])?;
        match wanted {
            Some(true) if !speaks_tls => {
                let advice = "write \"prior-knowledge\", or add `tls`";
                Err(value.refuse("ALPN is a part of TLS, which this listener does not speak", advice))
            }
            Some(false) if speaks_tls => {
                let advice = "write \"alpn\", which is also the default";
                Err(value.refuse("over TLS the two sides agree on HTTP/2 by ALPN", advice))
            }
            wanted => Ok(wanted.is_some()),
        }
    });
    let limits = limits(table, LIMITS);
    let is_spoken = wanted?.unwrap_or(speaks_tls);
    let limits = limits?;
    let given: Vec<_> = LIMITS.iter().filter_map(|key| table.value(key)).collect();
    match given.first().filter(|_| !is_spoken) {
        Some(value) => {
            let advice = if speaks_tls {
                "remove `http2 = \"off\"`, or this"
            } else {
                "write `http2 = \"prior-knowledge\"` too, or remove it"
            };
            Err(value.refuse("no client speaks HTTP/2 at this listener", advice))
        }
        None => Ok(is_spoken.then_some(limits)),
    }
}
