//! The queries that endpoints take.

use std::time::Duration;

use tracing::Level;

use super::view::{CloseQuery, ConnectionsQuery, DrainCode, DrainQuery};
use crate::config;
use crate::session::Criteria;

/// A query that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidQuery {
    #[error("limit must be a number from 1 to {}", ConnectionsQuery::MAX_LIMIT)]
    Limit,
    #[error("{0} is not UTF-8 in percent-encoding")]
    Undecodable(&'static str),
    #[error("attribute must be NAME:VALUE, as the access log has both; there may be {} of them", MOST_ATTRIBUTES)]
    Attribute,
    #[error("id, route or attribute must say which connections to close; POST /api/v1/drain closes all")]
    NoCriteria,
    #[error("code must be 1000, 1001, 1008, 1011, 1012, 1013, or from 3000 to 4999")]
    CloseCode,
    #[error("reason must have at most {} bytes", CloseQuery::MAX_REASON)]
    Reason,
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

/// Reads `limit=10&route=chat`, and other criteria; all may be absent.
pub(super) fn connections(query: &str) -> Result<ConnectionsQuery, InvalidQuery> {
    let mut limit = None;
    let mut criteria = Criteria::default();
    for pair in pairs(query) {
        match pair {
            Some((name, value)) if criterion(&mut criteria, name, value)? => {}
            Some(("limit", value)) if limit.is_none() => {
                let number = value.parse().ok().filter(|number| (1..=ConnectionsQuery::MAX_LIMIT).contains(number));
                limit = Some(number.ok_or(InvalidQuery::Limit)?);
            }
            _ => return Err(InvalidQuery::Unknown("limit, id, route and attribute")),
        }
    }
    let defaults = ConnectionsQuery::default();
    Ok(ConnectionsQuery { limit: limit.unwrap_or(defaults.limit), criteria })
}

/// Reads `attribute=token.sub:alice&code=1008&reason=gone&dry_run=true`. Nobody closes all by leaving something out.
pub(super) fn close(query: &str) -> Result<CloseQuery, InvalidQuery> {
    let mut criteria = Criteria::default();
    let mut code = None;
    let mut reason = None;
    let mut dry_run = None;
    for pair in pairs(query) {
        match pair {
            Some((name, value)) if criterion(&mut criteria, name, value)? => {}
            Some(("code", value)) if code.is_none() => {
                let number = value.parse().ok().filter(|number| CloseQuery::may_send(*number));
                code = Some(number.ok_or(InvalidQuery::CloseCode)?);
            }
            Some(("reason", value)) if reason.is_none() => {
                let text = decoded("reason", value)?;
                reason = Some(text).filter(|text| text.len() <= CloseQuery::MAX_REASON);
                reason.as_ref().ok_or(InvalidQuery::Reason)?;
            }
            Some(("dry_run", value)) if dry_run.is_none() => {
                dry_run = Some(value.parse().map_err(|_| InvalidQuery::DryRun)?);
            }
            _ => return Err(InvalidQuery::Unknown("id, route, attribute, code, reason and dry_run")),
        }
    }
    if criteria.is_empty() {
        return Err(InvalidQuery::NoCriteria);
    }
    Ok(CloseQuery {
        criteria,
        code: code.unwrap_or(CloseQuery::USUAL_CODE),
        reason: reason.unwrap_or_else(|| CloseQuery::USUAL_REASON.to_owned()),
        dry_run: dry_run.unwrap_or_default(),
    })
}

/// Takes a pair of a query in, if it is a criterion, of which all but attributes are there once.
fn criterion(criteria: &mut Criteria, name: &str, value: &str) -> Result<bool, InvalidQuery> {
    match name {
        "id" if criteria.id.is_none() => criteria.id = Some(decoded("id", value)?),
        "route" if criteria.route.is_none() => criteria.route = Some(decoded("route", value)?),
        "attribute" => {
            let attribute = decoded("attribute", value)?;
            let is_whole = attribute.find(':').is_some_and(|at| at > 0);
            if !is_whole || criteria.attributes.len() == MOST_ATTRIBUTES {
                return Err(InvalidQuery::Attribute);
            }
            criteria.attributes.push(attribute);
        }
        _ => return Ok(false),
    }
    Ok(true)
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
            Some(("route", value)) if route.is_none() => route = Some(decoded("route", value)?),
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

/// The value of the pair of this name.
fn decoded(name: &'static str, value: &str) -> Result<String, InvalidQuery> {
    decode(value).ok_or(InvalidQuery::Undecodable(name))
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

/// Each is looked for in all that connections have.
const MOST_ATTRIBUTES: usize = 16;

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
            let criteria = Criteria { route: route.map(str::to_owned), ..Criteria::default() };
            assert_eq!(connections(query), Ok(ConnectionsQuery { limit, criteria }), "{query}");
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
            ("route=%2", InvalidQuery::Undecodable("route")),
            ("route=%zz", InvalidQuery::Undecodable("route")),
            ("route=%ff", InvalidQuery::Undecodable("route")),
            ("limit=1&limit=2", InvalidQuery::Unknown("limit, id, route and attribute")),
            ("routes=chat", InvalidQuery::Unknown("limit, id, route and attribute")),
            ("limit", InvalidQuery::Unknown("limit, id, route and attribute")),
        ];
        for (query, problem) in cases {
            assert_eq!(connections(query), Err(problem), "{query}");
        }
    }

    #[test]
    fn what_is_to_be_closed_is_told_by_criteria_that_all_hold() {
        let query =
            "id=1-2&route=chat&attribute=token.sub:a%3Ab&attribute=tenant:&code=4001&reason=log+in&dry_run=true";
        let expected = CloseQuery {
            criteria: Criteria {
                id: Some("1-2".to_owned()),
                route: Some("chat".to_owned()),
                attributes: vec!["token.sub:a:b".to_owned(), "tenant:".to_owned()],
            },
            code: 4001,
            reason: "log in".to_owned(),
            dry_run: true,
        };
        assert_eq!(close(query), Ok(expected));
        let usual = close("id=1").unwrap();
        assert_eq!((usual.code, usual.reason.as_str(), usual.dry_run), (1008, "closed by an operator", false));
    }

    #[test]
    fn what_might_close_more_than_was_meant_is_refused() {
        let unknown = InvalidQuery::Unknown("id, route, attribute, code, reason and dry_run");
        let attributes = vec!["attribute=a:b"; 17].join("&");
        let long = format!("id=1&reason={}", "x".repeat(124));
        for (query, problem) in [
            ("", InvalidQuery::NoCriteria),
            ("code=1008", InvalidQuery::NoCriteria),
            ("dry_run=true", InvalidQuery::NoCriteria),
            ("attribute=alice", InvalidQuery::Attribute),
            ("attribute=:alice", InvalidQuery::Attribute),
            (attributes.as_str(), InvalidQuery::Attribute),
            ("attribute=a:%ff", InvalidQuery::Undecodable("attribute")),
            ("id=1&code=1006", InvalidQuery::CloseCode),
            ("id=1&code=1002", InvalidQuery::CloseCode),
            ("id=1&code=5000", InvalidQuery::CloseCode),
            (long.as_str(), InvalidQuery::Reason),
            ("id=1&dry_run=1", InvalidQuery::DryRun),
            ("id=1&id=2", unknown.clone()),
            ("id=1&dryrun=true", unknown.clone()),
            ("id=1&limit=1", unknown),
        ] {
            assert_eq!(close(query), Err(problem), "{query}");
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
            ("route=%zz", InvalidQuery::Undecodable("route")),
            ("limit=1", InvalidQuery::Unknown("route, over, code and dry_run")),
            ("over=1s&over=2s", InvalidQuery::Unknown("route, over, code and dry_run")),
        ];
        for (query, problem) in cases {
            assert_eq!(drain(query), Err(problem), "{query}");
        }
    }
}
