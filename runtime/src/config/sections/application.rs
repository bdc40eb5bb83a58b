//! The bridge of a route in the other direction: an application that is told of WebSockets over HTTP.

use http::Uri;
use http::uri::{PathAndQuery, Scheme};

use super::{Names, authorize::headers, component, upstream_tls::upstream_tls};
use crate::bridge::{Form, Telling};
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Value},
    types::{Application, Endpoint, Upstream},
    value,
};
use crate::exchange::Keeping;
use crate::http::Host;
use crate::transport::Liveness;
use crate::upstream::Address;

pub(super) const APPLICATION: Section = Section {
    title: "the bridge of a route, to an application",
    about: "With `to = \"http\"` the route has no `upstream`: a `POST` to `url` tells an application that a WebSocket opens, of each of \
            its messages, and that it has closed, one after the other for each connection and each at most once. What it answers goes \
            to the client, and what it sends to `POST /api/v1/connections/ID/messages` of the admin API. It is asked before the \
            client has its answer: 2xx opens the connection, anything else is relayed. An answer of 4xx to a message closes the \
            connection with 1008 (413 with 1009), one of 429 or 503 with 1013, of 5xx with 1011 (502 and 504 with 1014); none \
            with 1014. Tokens, `authorize`, filters, limits and timers of the route are as ever.",
    keys: &[TO, URL, BODY, TIMEOUT, QUEUE, HEADERS, MAX_ANSWER_SIZE, CONNECT_TIMEOUT, KEEP_ALIVE, TLS],
};

const TO: Key = Key {
    name: "to",
    takes: "`http`",
    absent: Absent::Missing,
    example: "\"http\"",
    meaning: "What the bridge leads to: plain requests.",
};

const URL: Key = Key {
    name: "url",
    takes: "url",
    absent: Absent::Missing,
    example: "\"http://app.internal/events\"",
    meaning: "Where events are posted, `http` or `https`.",
};

const BODY: Key = Key {
    name: "body",
    takes: "`json` or `raw`",
    absent: Absent::Default("\"json\""),
    example: "\"raw\"",
    meaning: "What the body of an event is: an object that says all about it; or the message itself, with the rest in fields \
              (`X-Tidegate-Connection`, `-Event`, `-Sequence`, and for the end `-Code`, `-Reason`, `-Initiator`), and those of the \
              handshake as they are.",
};

const TIMEOUT: Key = Key {
    name: "timeout",
    takes: "duration",
    absent: Absent::Default("\"10s\""),
    example: "\"2s\"",
    meaning: "How long an event may take, from its turn to the end of its answer. An application that cannot be reached is tried again \
              for so long, but for a handshake: it has been told nothing.",
};

const QUEUE: Key = Key {
    name: "queue",
    takes: "whole number",
    absent: Absent::Default("16"),
    example: "100",
    meaning: "Messages of a connection that wait for their turn, in each direction; none waits behind more than 64KiB. A client that \
              sends more is not read, and who pushes more gets 503 with `Retry-After`.",
};

const HEADERS: Key = Key {
    name: "headers",
    takes: "list of headers",
    absent: Absent::Default("[]"),
    example: "[\"authorization\", \"cookie\"]",
    meaning: "Fields of the handshake that go with every event, beside `X-Request-Id`, `Traceparent`, `Tracestate` and what \
              `request_headers` sets. The first has all of them.",
};

const MAX_ANSWER_SIZE: Key = Key {
    name: "max_answer_size",
    takes: "size",
    absent: Absent::Default("\"1MiB\""),
    example: "\"64KiB\"",
    meaning: "The largest body of an answer, 1B to 1GiB. It is held in memory.",
};

const CONNECT_TIMEOUT: Key = Key {
    name: "connect_timeout",
    takes: "duration",
    absent: Absent::Default("\"3s\""),
    example: "\"1s\"",
    meaning: "How long resolving the host and connecting may take.",
};

const KEEP_ALIVE: Key = Key {
    name: "keep_alive",
    takes: "duration or `off`",
    absent: Absent::Default("\"4s\""),
    example: "\"50s\"",
    meaning: "How long a connection to it is kept for the next event, or for less where it says so. Shorter than it keeps one by \
              itself, which is 5s mostly: an event on its way when it closes is lost.",
};

const TLS: Key = Key {
    name: "tls",
    takes: "table",
    absent: Absent::Means("the system's authorities are believed"),
    example: "{ ca = \"tls/internal.pem\" }",
    meaning: "How TLS is spoken to an `https` url: the keys of `[upstreams.NAME.tls]`.",
};

/// Whether a bridge leads to an application: it has some key that no other has.
pub(super) fn is_meant(value: &Value<'_>) -> bool {
    let shared = |name: &str| [TIMEOUT.name, QUEUE.name].contains(&name);
    let own = |name: &str| !shared(name) && APPLICATION.keys.iter().any(|key| key.name == name);
    value.node().as_table().is_some_and(|table| table.keys().any(|name| own(name.get_ref())))
}

/// Reads what an application is told.
pub(super) fn application(value: &Value<'_>, names: &Names<'_>) -> Read<Application> {
    let table = value.table(&APPLICATION, "write { to = \"http\", url = \"http://app.internal/events\" }")?;
    let to = table.read(&TO, |value| value::choice(value, &[("http", ())]));
    let url = table.read(&URL, |value| value.parsed("a url", ADVICE, url));
    let form = table.read(&BODY, |value| value::choice(value, &[("json", Form::Json), ("raw", Form::Raw)]));
    let timeout = table.read(&TIMEOUT, value::duration);
    let queue = table.read(&QUEUE, |value| value::count(value, 1..=10_000));
    let headers = table.read(&HEADERS, headers);
    let max_answer_size = table.read(&MAX_ANSWER_SIZE, |value| value::size_within(value, (1, "1B"), (1 << 30, "1GiB")));
    let connect_timeout = table.read(&CONNECT_TIMEOUT, value::duration);
    let keep_alive = table.read(&KEEP_ALIVE, value::duration_or_off);
    let tls = table.optional(&TLS, |value| upstream_tls(value, names.base));
    if let (Ok((address, _)), Some(value)) = (&url, table.value(&TLS))
        && !address.is_secure()
    {
        return Err(value.refuse("no TLS is spoken to an `http` url", "write `https://`, or remove `tls`"));
    }
    to?;
    let (address, target) = url?;
    let endpoint = Endpoint {
        address,
        weight: 1,
        warmup: None,
        enabled: true,
        zone: None,
        metadata: Default::default(),
        place: table.value(&URL).map_or_else(|| value.place(), |value| value.place()),
    };
    let upstream = Upstream {
        balance: component::usual_balancer(value, names)?,
        retries: 0,
        connect_timeout: connect_timeout?,
        host: Host::Endpoint,
        tls: tls?,
        proxy_protocol: false,
        http2: None,
        liveness: Liveness::default(),
        keeping: Keeping { most: MOST_KEPT, time: keep_alive? },
        endpoints: vec![endpoint],
        discover: None,
        place: value.place(),
    };
    let telling = Telling {
        target,
        form: form?,
        timeout: timeout?,
        queue: queue? as usize,
        headers: headers?,
        max_answer_size: max_answer_size?,
    };
    Ok(Application { upstream: Box::new(upstream), telling })
}

/// Where it is, and what is asked there.
fn url(text: &str) -> Result<(Address, PathAndQuery), Fault> {
    let fault = || Fault::new("nobody could be told anything there", ADVICE);
    let url: Uri = text.parse().map_err(|_| fault())?;
    let scheme = url.scheme().filter(|scheme| [&Scheme::HTTP, &Scheme::HTTPS].contains(scheme)).ok_or_else(fault)?;
    let authority = url.authority().ok_or_else(fault)?;
    let address = Address::of_http(&format!("{scheme}://{authority}")).map_err(|_| fault())?;
    let target = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Ok((address, target))
}

const ADVICE: &str = "write \"http://\" or \"https://\", a host and a path, without a user";
/// As for any other upstream.
const MOST_KEPT: usize = 64;
