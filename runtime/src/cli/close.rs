//! `tidegate close`.

use http::Method;
use serde::Deserialize;

use super::Close;
use super::ask::ask;
use super::outcome::Outcome;
use crate::http::escaped;

/// What the admin API answers.
#[derive(Debug, Deserialize)]
#[serde(tag = "outcome", rename_all = "lowercase")]
enum Answer {
    Closed(Closed),
    Planned(Closed),
    Unknown { route: String },
}

#[derive(Debug, Deserialize)]
struct Closed {
    connections: u64,
    code: u16,
    #[serde(default)]
    workers_silent: Vec<usize>,
}

/// Has a running proxy close connections, and prints how many.
pub(super) fn close(close: &Close) -> Result<Outcome, Outcome> {
    let client = close.whom.client()?;
    let (verb, closed) = match ask(&client, Method::DELETE, &target(close))?.read(&client)? {
        Answer::Closed(closed) => ("closed", closed),
        Answer::Planned(closed) => ("would close", closed),
        Answer::Unknown { route } => return Err(Outcome::wrong(&format!("{client} has no route {route:?}"))),
    };
    let Closed { connections, code, workers_silent } = closed;
    let told = format!("{verb} {connections} connections; code {code}");
    match workers_silent.as_slice() {
        [] => Ok(Outcome::done(told)),
        silent => {
            let silent = silent.iter().map(usize::to_string).collect::<Vec<_>>().join(", ");
            Err(Outcome::failed(&format!("{told}; no answer from worker {silent}, which may have more: ask again")))
        }
    }
}

fn target(close: &Close) -> String {
    let Close { id, route, attribute, code, reason, dry_run, .. } = close;
    let mut target = format!("/api/v1/connections?code={code}&dry_run={dry_run}");
    let named = [("id", id), ("route", route), ("reason", reason)];
    let named = named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    for (name, value) in named.chain(attribute.iter().map(|attribute| ("attribute", attribute))) {
        target.push_str(&format!("&{name}={}", escaped(value)));
    }
    target
}

#[cfg(test)]
mod tests {
    use super::super::whom::Whom;
    use super::*;

    #[test]
    fn the_request_says_what_the_command_line_does() {
        let close = Close {
            whom: Whom { admin: "127.0.0.1:9900".parse().unwrap(), ca: None, certificate: None, key: None },
            id: Some("1-2".to_owned()),
            route: Some("a b&c".to_owned()),
            attribute: vec!["token.sub:é".to_owned(), "tenant:1".to_owned()],
            code: 4001,
            reason: Some("log in again".to_owned()),
            dry_run: true,
        };
        assert_eq!(
            target(&close),
            "/api/v1/connections?code=4001&dry_run=true&id=1-2&route=a%20b%26c&reason=log%20in%20again\
             &attribute=token.sub%3A%C3%A9&attribute=tenant%3A1"
        );
    }
}
