//! `tidegate reload`.

use std::net::SocketAddr;
use std::process::ExitCode;

use http::StatusCode;
use serde::Deserialize;

use super::ask::{ask, read};
use super::{complain, say};
use crate::admin;

/// The parts of the admin API's answer that are shown.
#[derive(Debug, Deserialize)]
struct Answer {
    outcome: String,
    generation: u64,
    #[serde(default)]
    problems: Vec<Problem>,
    changes: Option<Changes>,
    /// Why it is refused.
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Changes {
    settings: Vec<String>,
    components: Vec<Change>,
    upstreams: Vec<Change>,
    routes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
struct Change {
    name: String,
    change: String,
    #[serde(default)]
    because: Vec<String>,
    connections_active: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    file: String,
    line: usize,
    column: usize,
    key: String,
    what: String,
    instead: String,
}

/// Has a running proxy reload, and prints how that ended; a dry run prints what would change.
pub(super) fn reload(address: SocketAddr, dry_run: bool) -> ExitCode {
    let path = if dry_run { "/api/v1/reload?dry_run=true" } else { "/api/v1/reload" };
    let answered = ask(address, admin::post(&address.to_string(), path));
    let read = answered.and_then(|(status, body)| Ok((status, read::<Answer>(address, status, &body)?)));
    let (status, answer) = match read {
        Ok(answer) => answer,
        Err(code) => return code,
    };
    for Problem { file, line, column, key, what, instead } in &answer.problems {
        let advice = if instead.is_empty() { String::new() } else { format!("; {instead}") };
        complain(&format!("{file}:{line}:{column}: {key}: {what}{advice}"));
    }
    answer.reason.iter().for_each(|reason| complain(reason));
    answer.changes.iter().flat_map(described).for_each(|line| say(&line));
    say(&format!("{}: generation {} is in force", answer.outcome, answer.generation));
    match status {
        StatusCode::OK => ExitCode::SUCCESS,
        StatusCode::UNPROCESSABLE_ENTITY => super::wrong(),
        _ => ExitCode::FAILURE,
    }
}

/// A line for each change.
fn described(changes: &Changes) -> Vec<String> {
    let settings = changes.settings.iter().map(|key| format!("{key}: changed"));
    let parts = [("component", &changes.components), ("upstream", &changes.upstreams), ("route", &changes.routes)];
    let parts = parts.into_iter().flat_map(|(kind, changes)| changes.iter().map(move |change| line(kind, change)));
    settings.chain(parts).collect()
}

fn line(kind: &str, Change { name, change, because, connections_active }: &Change) -> String {
    let because = if because.is_empty() { String::new() } else { format!(" ({})", because.join(", ")) };
    let open = match connections_active {
        None => String::new(),
        Some(1) => ", 1 open connection".to_owned(),
        Some(count) => format!(", {count} open connections"),
    };
    format!("{kind} {name}: {change}{because}{open}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_in_words() {
        let changes = serde_json::json!({
            "settings": ["drain_time"],
            "components": [{ "name": "shout", "change": "changed", "because": ["bytes", "limits"] }],
            "upstreams": [{ "name": "chat", "change": "added" }],
            "routes": [
                { "name": "a", "change": "removed", "connections_active": 1 },
                { "name": "b", "change": "changed", "because": ["component shout"], "connections_active": 12 },
            ],
        });
        let changes: Changes = serde_json::from_value(changes).unwrap();
        let expected = [
            "drain_time: changed",
            "component shout: changed (bytes, limits)",
            "upstream chat: added",
            "route a: removed, 1 open connection",
            "route b: changed (component shout), 12 open connections",
        ];
        assert_eq!(described(&changes), expected);
    }
}
