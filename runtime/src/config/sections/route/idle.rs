//! Keys of a route that nothing would come of, because of what else stands there.

use super::keys;
use crate::config::reader::{Key, Read, Table};

/// Refuses keys that could only be a mistake: who writes them believes that something holds which does not.
pub(super) fn idle(table: &Table<'_>, carries_requests: bool) -> Read<()> {
    let stands = |key: &&Key| table.value(key).is_some();
    if let Some(answer) = [keys::ANSWER, keys::REDIRECT].iter().find(stands) {
        let what = format!("a route with `{}` has no upstream and opens no connection", answer.name);
        let advice = "remove it; networks, origins, `token`, `authorize`, limits and `response_headers` may stand here";
        return none_of(table, &[OF_UPSTREAMS, OF_REQUESTS], &what, advice);
    }
    if carries_requests {
        return Ok(());
    }
    let what = "the route carries no plain requests";
    none_of(table, &[OF_REQUESTS], what, "write `http = true` too, or remove it")
}

/// Refuses all of these at once.
fn none_of(table: &Table<'_>, keys: &[&[Key]], what: &str, advice: &str) -> Read<()> {
    // All of them, and not only the first.
    let refuse = |key: &Key| Some(table.value(key)?.refuse(what, advice));
    let mut refused: Vec<_> = keys.iter().copied().flatten().filter_map(refuse).collect();
    refused.pop().map_or(Ok(()), Err)
}

/// What is about an upstream, or a connection to it.
const OF_UPSTREAMS: &[Key] = &[
    keys::HANDSHAKE_TIMEOUT,
    keys::PING_INTERVAL,
    keys::PONG_TIMEOUT,
    keys::PING_CLIENT,
    keys::PING_UPSTREAM,
    keys::MAX_INACTIVITY,
    keys::MAX_LIFETIME,
    keys::MESSAGE_TIMEOUT,
    keys::CLOSE_TIMEOUT,
    keys::MAX_MESSAGE_SIZE,
    keys::MAX_COMPRESSION_RATIO,
    keys::MAX_FRAME_SIZE,
    keys::MAX_FRAGMENTS,
    keys::CONTROL_FRAMES_PER_SECOND,
    keys::FORWARDED_HEADERS,
    keys::GROUP_ID_HEADER,
    keys::REQUEST_HEADERS,
    keys::ON_CHANGE,
];

/// What is about plain requests that go to an upstream.
const OF_REQUESTS: &[Key] = &[keys::REQUEST_TIMEOUT, keys::MAX_BODY_SIZE];
