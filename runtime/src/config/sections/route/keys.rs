//! The keys of a route.

use super::super::access::{ALLOW, DENY};
use super::super::per_client::{HANDSHAKES_PER_SECOND_PER_CLIENT, MAX_CONNECTIONS_PER_CLIENT};
use crate::config::reader::{
    Absent::{self, Default, Means, Missing},
    Key, Section,
};

pub(in crate::config) const ROUTE: Section = Section {
    title: "[[routes]]",
    about: "",
    keys: &[
        NAME,
        HOSTS,
        PATH,
        PATH_PREFIX,
        WHEN,
        FILTERS,
        UPSTREAM,
        SERVICES,
        ANSWER,
        REDIRECT,
        HTTP,
        HTTP_UPSTREAM,
        REQUEST_TIMEOUT,
        MAX_BODY_SIZE,
        BRIDGE,
        ALLOW,
        DENY,
        ALLOWED_ORIGINS,
        TOKEN,
        AUTHORIZE,
        HANDSHAKE_TIMEOUT,
        PING_INTERVAL,
        PONG_TIMEOUT,
        PING_CLIENT,
        PING_UPSTREAM,
        MAX_INACTIVITY,
        MAX_LIFETIME,
        MESSAGE_TIMEOUT,
        CLOSE_TIMEOUT,
        MAX_MESSAGE_SIZE,
        MAX_COMPRESSION_RATIO,
        MAX_FRAME_SIZE,
        MAX_FRAGMENTS,
        CONTROL_FRAMES_PER_SECOND,
        MAX_CONNECTIONS,
        HANDSHAKES_PER_SECOND,
        MAX_CONNECTIONS_PER_CLIENT,
        HANDSHAKES_PER_SECOND_PER_CLIENT,
        FORWARDED_HEADERS,
        ON_CHANGE,
        GROUP_ID_HEADER,
        REQUEST_HEADERS,
        RESPONSE_HEADERS,
    ],
};

pub(in crate::config) const NAME: Key =
    key("name", "name", Missing, "\"chat\"", "Unique; names the route in metrics and logs.");

pub(in crate::config) const HOSTS: Key = key(
    "hosts",
    "list of hosts",
    Means("any host"),
    "[\"chat.example.com\", \"*.chat.example.com\"]",
    "Hosts without a port. `*.` in front stands for one or more labels.",
);

pub(in crate::config) const PATH: Key = key(
    "path",
    "path",
    Means("any path"),
    "\"/ws\"",
    "Exactly this path: `/ws/` is another one than `/ws`. Not beside `path_prefix`.",
);

pub(in crate::config) const PATH_PREFIX: Key = key(
    "path_prefix",
    "path",
    Means("any path"),
    "\"/ws/chat\"",
    "Whole segments that the path begins with: `/ws/chat` does not match `/ws/chatter`.",
);

pub(in crate::config) const WHEN: Key = key(
    "when",
    "list of predicates",
    Default("[]"),
    "[{ component = \"conditions\", config = { all = [] } }]",
    "Predicates that must all hold; else the next route is tried.",
);

pub(in crate::config) const FILTERS: Key = key(
    "filters",
    "list of filters",
    Default("[]"),
    "[\"rate-limit\"]",
    "Filters in the order of client messages; messages of the upstream take the reverse order.",
);

pub(in crate::config) const UPSTREAM: Key = key(
    "upstream",
    "name",
    Means("`services` says it"),
    "\"chat\"",
    "Where connections go: an `[upstreams.NAME]` table. Either this, `services`, `answer`, `redirect` or a `bridge` to an application.",
);

pub(in crate::config) const SERVICES: Key = key(
    "services",
    "table",
    Means("`upstream` says it"),
    "{ upstreams = { chat = \"chat\" } }",
    "Where connections go, by the service that the request names. Either this or `upstream`.",
);

pub(in crate::config) const ANSWER: Key = key(
    "answer",
    "table",
    Means("requests go to the upstream"),
    "{ status = 200, body = \"ok\\n\" }",
    "What every request gets, in the place of an upstream.",
);

pub(in crate::config) const REDIRECT: Key = key(
    "redirect",
    "table",
    Means("requests are served"),
    "{ to = \"https://{host}{path}?{query}\" }",
    "Where every request is sent, in the place of an upstream.",
);

pub(in crate::config) const BRIDGE: Key = key(
    "bridge",
    "table",
    Means("plain requests get 426"),
    "{ reply = \"next\", timeout = \"2s\" }",
    "How plain requests become messages to the upstream; or, with `to = \"http\"`, WebSockets become plain requests to an application.",
);

pub(in crate::config) const ALLOWED_ORIGINS: Key = key(
    "allowed_origins",
    "list of origins",
    Means("any origin"),
    "[\"https://chat.example.com\"]",
    "The `Origin` headers that are admitted, as browsers write them; `https://*.example.com` for all names below a host, and \
     `same-origin` for the host and the scheme that were asked, which trusted proxies may tell (`X-Forwarded-Proto` and \
     `-Host`).",
);

pub(in crate::config) const AUTHORIZE: Key = key(
    "authorize",
    "table",
    Means("nobody is asked"),
    "{ url = \"http://auth.internal/verify\", copy = [\"x-user\"] }",
    "Another server that is asked whether each client may come in.",
);

pub(in crate::config) const TOKEN: Key = key(
    "token",
    "table",
    Means("none is asked for"),
    "{ name = \"users\", from = [\"header:authorization\", \"subprotocol:bearer\"] }",
    "The token that who comes has to have: without one that holds, 401. The connection is closed with 1008 when the token \
     expires, unless a filter renews it.",
);

pub(in crate::config) const HANDSHAKE_TIMEOUT: Key = key(
    "handshake_timeout",
    "duration",
    Default("\"10s\""),
    "\"5s\"",
    "How long the upstream may take to answer the handshake. The client's part is the listener's.",
);

pub(in crate::config) const HTTP: Key = key(
    "http",
    "boolean",
    Default("false"),
    "true",
    "Whether plain requests are carried to the upstream, too: those that are no opening handshake. Without it they get 426.",
);

pub(in crate::config) const HTTP_UPSTREAM: Key = key(
    "http_upstream",
    "upstream",
    Means("the one of WebSockets"),
    "\"chat\"",
    "Where plain requests go instead. Needs `http = true`.",
);

pub(in crate::config) const REQUEST_TIMEOUT: Key = key(
    "request_timeout",
    "duration or `off`",
    Default("\"60s\""),
    "\"5m\"",
    "How long the first byte of the answer to a plain request may take; what comes after it may take any time. The time \
     begins anew while the body of the request goes up. Then 504, or 408 where the client has stopped sending.",
);

pub(in crate::config) const MAX_BODY_SIZE: Key = key(
    "max_body_size",
    "size or `off`",
    Default("\"off\""),
    "\"10MiB\"",
    "The largest body of a plain request; 413 for a larger one. No body is kept in memory, whatever its size.",
);

pub(in crate::config) const PING_INTERVAL: Key =
    key("ping_interval", "duration or `off`", Default("\"off\""), "\"10s\"", "How often the proxy pings.");

pub(in crate::config) const PONG_TIMEOUT: Key = key(
    "pong_timeout",
    "duration or `off`",
    Default("\"off\""),
    "\"30s\"",
    "How long a pong may take before the connection is closed with 1011. Needs `ping_interval`. The time begins \
     when the ping has left: inside a long frame there is no place for one. It stands still while nothing is \
     read from that side, because a filter delays or the other side is slow, and begins again with each part of \
     a frame that comes, behind which a pong has to wait.",
);

pub(in crate::config) const PING_CLIENT: Key =
    key("ping_client", "boolean", Default("true"), "false", "Whether the client is pinged.");

pub(in crate::config) const PING_UPSTREAM: Key =
    key("ping_upstream", "boolean", Default("true"), "false", "Whether the upstream is pinged.");

pub(in crate::config) const MAX_INACTIVITY: Key = key(
    "max_inactivity",
    "duration or `off`",
    Default("\"off\""),
    "\"60s\"",
    "How long a connection may carry no data message before it is closed with 1001. Pings are no activity. While a \
     filter's delay holds a message back it stands still, and a peer that takes what waits for it is active.",
);

pub(in crate::config) const MAX_LIFETIME: Key = key(
    "max_lifetime",
    "duration or `off`",
    Default("\"off\""),
    "\"1h\"",
    "How long a connection may live before it is closed with 1001, give or take 10 percent.",
);

pub(in crate::config) const MESSAGE_TIMEOUT: Key = key(
    "message_timeout",
    "duration or `off`",
    Default("\"30s\""),
    "\"10s\"",
    "How long a message may take to come that a filter waits for, and a second more for each 64KiB that have come; \
     one that takes longer closes with 1008. The time stands still while the proxy does not read from its sender.",
);

pub(in crate::config) const CLOSE_TIMEOUT: Key = key(
    "close_timeout",
    "duration",
    Default("\"5s\""),
    "\"2s\"",
    "How long a closing handshake and the delivery of what is under way may take. When the proxy closes, by a \
     drain or a timer, what a filter delays goes out in its time before the close frame, and what is left of it \
     at the end of this time goes out then. A peer that has ended its sending half without a close frame has \
     this time for what it has sent, and as long as the other side takes something of it; what a filter still \
     delays then is lost, as is everything delayed of a peer that resets its connection.",
);

pub(in crate::config) const MAX_MESSAGE_SIZE: Key = key(
    "max_message_size",
    "size",
    Default("\"16MiB\""),
    "\"1MiB\"",
    "The most that a message may hold which a filter wants whole, inflated if it came compressed, up to 1GiB; a \
     larger one closes with 1009.",
);

pub(in crate::config) const MAX_COMPRESSION_RATIO: Key = key(
    "max_compression_ratio",
    "whole number or `off`",
    Default("\"off\""),
    "500",
    "How many times its size a compressed message may inflate to whose payload a filter wants; beyond 32KiB, one \
     that inflates further closes with 1009. Honest messages may inflate as far as deflate goes, 1030 times, and \
     `max_message_size` bounds what is held.",
);

pub(in crate::config) const MAX_FRAME_SIZE: Key = key(
    "max_frame_size",
    "size or `off`",
    Default("\"off\""),
    "\"64MiB\"",
    "The most that a single frame may announce; a larger one closes with 1009.",
);

pub(in crate::config) const MAX_FRAGMENTS: Key = key(
    "max_fragments",
    "whole number or `off`",
    Default("4096"),
    "100",
    "Fragments of less than 64 bytes that one message may have; one more closes with 1008. A filter sees the message \
     and not its fragments, so a limit on messages does not count them; those of more bytes weigh by their bytes.",
);

pub(in crate::config) const CONTROL_FRAMES_PER_SECOND: Key = key(
    "control_frames_per_second",
    "whole number or `off`",
    Default("100"),
    "10",
    "Pings and pongs that each side may send in a second, and at once; one more closes with 1008. Time in which a \
     side was not read, as behind a delay, is to its credit. Filters do not see them.",
);

pub(in crate::config) const MAX_CONNECTIONS: Key = key(
    "max_connections",
    "whole number or `off`",
    Default("\"off\""),
    "10000",
    "Connections that the route holds at most; further handshakes are refused. Those that were there before a reload \
     count.",
);

pub(in crate::config) const HANDSHAKES_PER_SECOND: Key = key(
    "handshakes_per_second",
    "whole number or `off`",
    Default("\"off\""),
    "500",
    "Handshakes that are admitted in a second, and at once; further ones are refused. A reload does not begin anew.",
);

pub(in crate::config) const FORWARDED_HEADERS: Key = key(
    "forwarded_headers",
    "boolean",
    Default("true"),
    "false",
    "Whether `X-Forwarded-For`, `-Proto`, `-Host` and `Forwarded` are appended for the upstream. What peers say in \
     them that are not trusted is removed in any case.",
);

pub(in crate::config) const ON_CHANGE: Key = key(
    "on_change",
    "`swap`, `keep` or `drain`",
    Default("\"swap\""),
    "\"drain\"",
    "What open connections do when a reload changes the route, its upstream other than in its endpoints, a \
     component that they use, or `trusted_proxies`: changed filters take over between two messages with the state their former versions saved; \
     or all goes on as it began; or they are closed with 1012 over `drain_time`, unless only handshakes are \
     concerned.",
);

pub(in crate::config) const GROUP_ID_HEADER: Key = key(
    "group_id_header",
    "header or `off`",
    Default("\"x-group-id\""),
    "\"x-channel\"",
    "The header of the channel's group id, which is forwarded as it is or generated where it is absent.",
);

pub(in crate::config) const REQUEST_HEADERS: Key = key(
    "request_headers",
    "table",
    Default("{}"),
    "{ set = { x-user = \"{attribute.token.sub}\" }, remove = [\"x-debug\"] }",
    "What is done to the fields of requests for the upstream, after the edits of filters.",
);

pub(in crate::config) const RESPONSE_HEADERS: Key = key(
    "response_headers",
    "table",
    Default("{}"),
    "{ set = { strict-transport-security = \"max-age=31536000\" }, remove = [\"server\"] }",
    "What is done to the fields of every answer on this route, the 101 and refusals too, after the edits of filters.",
);

const fn key(
    name: &'static str,
    takes: &'static str,
    absent: Absent,
    example: &'static str,
    meaning: &'static str,
) -> Key {
    Key { name, takes, absent, example, meaning }
}
