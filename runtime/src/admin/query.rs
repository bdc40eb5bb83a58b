//! The queries that endpoints take.

use std::time::Duration;

use tracing::Level;

use super::view::{ConnectionsQuery, DrainCode, DrainQuery};
use crate::config;

/// A query that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidQuery {
    #[error("limit must be a number from 1 to {}", ConnectionsQuery::MAX_LIMIT)]
    Limit,
    #[error("route is not UTF-8 in percent-encoding")]
    Route,
    #[error("over must be a duration such as 30s or 1m30s, at most 365 days; 0 closes all at once")]
    Over,
    #[error("code must be 1012 or 1001")]
    Code,
    #[error("dry_run must be true or false")]
    DryRun,
    #[error("level must be error, warn, info, debug or trace")]
    Level,
    #[error("the query takes {0}, each once")]
    Unknown(&'static str),
    #[error("no query is taken here")]
    Any,
}

/// Reads the query of what takes none. What somebody means by one must not be passed over: `dry_run=true` least of all.
pub(super) fn none(query: &str) -> Result<(), InvalidQuery> {
    if query.is_empty() { Ok(()) } else { Err(InvalidQuery::Any) }
}

/// Reads `limit=10&route=chat`; both may be absent.
pub(super) fn connections(query: &str) -> Result<ConnectionsQuery, InvalidQuery> {
    let mut limit = None;
    let mut route = None;
    for pair in pairs(query) {
        match pair {
            Some(("limit", value)) if limit.is_none() => {
                let number = value.parse().ok().filter(|number| (1..=ConnectionsQuery::MAX_LIMIT).contains(number));
                limit = Some(number.ok_or(InvalidQuery::Limit)?);
            }
            Some(("route", value)) if route.is_none() => route = Some(decode(value).ok_or(InvalidQuery::Route)?),
            _ => return Err(InvalidQuery::Unknown("limit and route")),
        }
    }
    let defaults = ConnectionsQuery::default();
    Ok(ConnectionsQuery { limit: limit.unwrap_or(defaults.limit), route })
}

/// Reads `dry_run=true`, which may be absent. What is misspelt must not become a reload.
pub(super) fn reload(query: &str) -> Result<bool, InvalidQuery> {
    let mut dry_run = None;
    for pair in pairs(query) {
        match pair {
            Some(("dry_run", value)) if dry_run.is_none() => {
                dry_run = Some(value.parse().map_err(|_| InvalidQuery::DryRun)?);
            }
            _ => return Err(InvalidQuery::Unknown("dry_run")),
        }
    }
    Ok(dry_run.unwrap_or_default())
}

/// Reads `route=chat&over=30s&code=1001&dry_run=true`; all may be absent.
pub(super) fn drain(query: &str) -> Result<DrainQuery, InvalidQuery> {
    let mut route = None;
    let mut over: Option<Duration> = None;
    let mut code = None;
    let mut dry_run = None;
    for pair in pairs(query) {
        match pair {
            Some(("route", value)) if route.is_none() => route = Some(decode(value).ok_or(InvalidQuery::Route)?),
            Some(("over", value)) if over.is_none() => {
                over = Some(config::duration(value).map_err(|_| InvalidQuery::Over)?);
            }
            Some(("code", value)) if code.is_none() => {
                code = Some(value.parse().ok().and_then(DrainCode::of).ok_or(InvalidQuery::Code)?);
            }
            Some(("dry_run", value)) if dry_run.is_none() => {
                dry_run = Some(value.parse().map_err(|_| InvalidQuery::DryRun)?);
            }
            _ => return Err(InvalidQuery::Unknown("route, over, code and dry_run")),
        }
    }
    Ok(DrainQuery { route, over, code: code.unwrap_or_default(), dry_run: dry_run.unwrap_or_default() })
}

/// Reads `level=debug`, which must be there.
pub(super) fn log(query: &str) -> Result<Level, InvalidQuery> {
    let mut level = None;
    for pair in pairs(query) {
        match pair {
            // The parser of the library knows numbers, too.
            Some(("level", value)) if level.is_none() && value.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                level = Some(value.parse().map_err(|_| InvalidQuery::Level)?);
            }
            Some(("level", _)) if level.is_none() => return Err(InvalidQuery::Level),
            _ => return Err(InvalidQuery::Unknown("level")),
        }
    }
    level.ok_or(InvalidQuery::Level)
}

/// The pairs of a query; `None` for what is no pair.
fn pairs(query: &str) -> impl Iterator<Item = Option<(&str, &str)>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('='))
}

/// Undoes percent-encoding (RFC 3986 section 2.1), and `+` for a space as forms write it.
fn decode(value: &str) -> Option<String> {
    let mut bytes = value.bytes();
    let mut decoded = Vec::with_capacity(value.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            _ => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_gives_limit_and_route() {
        let cases = [
            ("", 100, None),
            ("limit=5", 5, None),
            ("route=chat&limit=10000", 10_000, Some("chat")),
            ("route=a%20b%2Bc+%c3%A9", 100, Some("a b+c é")),
        ];
        for (query, limit, route) in cases {
            assert_eq!(connections(query), Ok(ConnectionsQuery { limit, route: route.map(str::to_owned) }), "{query}");
        }
    }

    #[test]
    fn a_dry_run_is_told_from_a_reload_and_from_a_misspelt_query() {
        assert_eq!(reload("dry_run=true"), Ok(true));
        for query in ["", "dry_run=false"] {
            assert_eq!(reload(query), Ok(false), "{query}");
        }
        assert_eq!(reload("dry_run=1"), Err(InvalidQuery::DryRun));
        for query in ["dry_run", "dryrun=true", "dry_run=true&dry_run=false"] {
            assert_eq!(reload(query), Err(InvalidQuery::Unknown("dry_run")), "{query}");
        }
    }

    #[test]
    fn a_query_that_makes_no_sense_is_refused() {
        let cases = [
            ("limit=0", InvalidQuery::Limit),
            ("limit=10001", InvalidQuery::Limit),
            ("limit=-1", InvalidQuery::Limit),
            ("limit=", InvalidQuery::Limit),
            ("route=%2", InvalidQuery::Route),
            ("route=%zz", InvalidQuery::Route),
            ("route=%ff", InvalidQuery::Route),
            ("limit=1&limit=2", InvalidQuery::Unknown("limit and route")),
            ("routes=chat", InvalidQuery::Unknown("limit and route")),
            ("limit", InvalidQuery::Unknown("limit and route")),
        ];
        for (query, problem) in cases {
            assert_eq!(connections(query), Err(problem), "{query}");
        }
    }

    #[test]
    fn a_level_has_one_of_five_names() {
        for (query, level) in
            [("level=error", Level::ERROR), ("level=warn", Level::WARN), ("level=trace", Level::TRACE)]
        {
            assert_eq!(log(query), Ok(level), "{query}");
        }
        for query in ["", "level=", "level=3", "level=DEBUG", "level=off", "level=verbose"] {
            assert_eq!(log(query), Err(InvalidQuery::Level), "{query}");
        }
        for query in ["level=info&level=info", "level=info&route=chat", "info"] {
            assert_eq!(log(query), Err(InvalidQuery::Unknown("level")), "{query}");
        }
    }

    #[test]
    fn a_drain_is_told_what_how_fast_and_with_which_code() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let cases = [
            ("", DrainQuery::default()),
            ("dry_run=false&code=1012", DrainQuery::default()),
            ("over=1m30s", DrainQuery { over: seconds(90), ..DrainQuery::default() }),
            ("over=0", DrainQuery { over: seconds(0), ..DrainQuery::default() }),
            (
                "route=a%20b&code=1001&dry_run=true",
                DrainQuery {
                    route: Some("a b".to_owned()),
                    code: DrainCode::GoingAway,
                    dry_run: true,
                    ..DrainQuery::default()
                },
            ),
        ];
        for (query, expected) in cases {
            assert_eq!(drain(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn a_drain_that_makes_no_sense_is_refused() {
        let cases = [
            ("over=", InvalidQuery::Over),
            ("over=10", InvalidQuery::Over),
            ("over=366d", InvalidQuery::Over),
            ("code=1000", InvalidQuery::Code),
            ("code=", InvalidQuery::Code),
            ("dry_run=1", InvalidQuery::DryRun),
            ("route=%zz", InvalidQuery::Route),
            ("limit=1", InvalidQuery::Unknown("route, over, code and dry_run")),
            ("over=1s&over=2s", InvalidQuery::Unknown("route, over, code and dry_run")),
        ];
        for (query, problem) in cases {
            assert_eq!(drain(query), Err(problem), "{query}");
        }
    }
}
