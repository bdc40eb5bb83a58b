//! The queries of `/api/v1/connections` and `/api/v1/reload`.

use super::view::ConnectionsQuery;

/// A query that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidQuery {
    #[error("limit must be a number from 1 to {}", ConnectionsQuery::MAX_LIMIT)]
    Limit,
    #[error("route is not UTF-8 in percent-encoding")]
    Route,
    #[error("the query takes limit and route, each once")]
    Unknown,
    #[error("the query takes dry_run, true or false")]
    DryRun,
}

/// Reads `dry_run=true`, which may be absent. What is misspelt must not become a reload.
pub(super) fn dry_run(query: &str) -> Result<bool, InvalidQuery> {
    match query {
        "dry_run=true" => Ok(true),
        "" | "dry_run=false" => Ok(false),
        _ => Err(InvalidQuery::DryRun),
    }
}

/// Reads `limit=10&route=chat`; both may be absent.
pub(super) fn parse(query: &str) -> Result<ConnectionsQuery, InvalidQuery> {
    let mut limit = None;
    let mut route = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("limit", value)) if limit.is_none() => {
                let number = value.parse().ok().filter(|number| (1..=ConnectionsQuery::MAX_LIMIT).contains(number));
                limit = Some(number.ok_or(InvalidQuery::Limit)?);
            }
            Some(("route", value)) if route.is_none() => route = Some(decode(value).ok_or(InvalidQuery::Route)?),
            _ => return Err(InvalidQuery::Unknown),
        }
    }
    let defaults = ConnectionsQuery::default();
    Ok(ConnectionsQuery { limit: limit.unwrap_or(defaults.limit), route })
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
            assert_eq!(parse(query), Ok(ConnectionsQuery { limit, route: route.map(str::to_owned) }), "{query}");
        }
    }

    #[test]
    fn a_dry_run_is_told_from_a_reload_and_from_a_misspelt_query() {
        assert_eq!(dry_run("dry_run=true"), Ok(true));
        for query in ["", "dry_run=false"] {
            assert_eq!(dry_run(query), Ok(false), "{query}");
        }
        for query in ["dry_run", "dry_run=1", "dryrun=true", "dry_run=true&dry_run=false"] {
            assert_eq!(dry_run(query), Err(InvalidQuery::DryRun), "{query}");
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
            ("limit=1&limit=2", InvalidQuery::Unknown),
            ("routes=chat", InvalidQuery::Unknown),
            ("limit", InvalidQuery::Unknown),
        ];
        for (query, problem) in cases {
            assert_eq!(parse(query), Err(problem), "{query}");
        }
    }
}
