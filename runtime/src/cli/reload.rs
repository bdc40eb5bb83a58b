//! `tidegate reload`.

use http::{Method, StatusCode};
use serde::Deserialize;

use super::ask::ask_patiently;
use super::drain::time_of_day;
use super::outcome::Outcome;
use crate::admin::Client;

/// The parts of the admin API's answer that are shown.
#[derive(Debug, Deserialize)]
struct Answer {
    outcome: String,
    generation: u64,
    #[serde(default)]
    problems: Vec<Problem>,
    changes: Option<Changes>,
    in_force: Option<InForce>,
    /// Why it is refused.
    reason: Option<String>,
    /// The reload that another one waits for in vain.
    underway: Option<Underway>,
}

#[derive(Debug, Deserialize)]
struct InForce {
    cause: String,
    since_unix_seconds: u64,
}

#[derive(Debug, Deserialize)]
struct Underway {
    step: String,
    step_seconds: f64,
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
    /// What becomes of those.
    open_connections: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Problem {
    file: String,
    line: usize,
    column: usize,
    key: String,
    message: String,
    help: String,
}

/// Has a running proxy reload, and prints how that ended; a dry run prints what would change.
pub(super) fn reload(client: &Client, dry_run: bool) -> Result<Outcome, Outcome> {
    let path = if dry_run { "/api/v1/reload?dry_run=true" } else { "/api/v1/reload" };
    let answer = ask_patiently(client, Method::POST, path)?;
    let Answer { outcome, generation, reason, problems, changes, in_force, underway } = answer.read(client)?;
    // Of what is applied just now, everybody knows since when it is in force.
    let since = in_force.filter(|_| outcome == "unchanged").map(|InForce { cause, since_unix_seconds }| {
        format!(", since {} UTC ({cause})", time_of_day(since_unix_seconds))
    });
    let last = format!("{outcome}: generation {generation} is in force{}", since.unwrap_or_default());
    let lines: Vec<_> = changes.iter().flat_map(described).chain([last]).collect();
    let said = lines.join("\n");
    let problems = problems.iter().map(Problem::describe).collect::<Vec<_>>().join("\n");
    Ok(match answer.status {
        StatusCode::OK => Outcome::done(said),
        StatusCode::UNPROCESSABLE_ENTITY => Outcome::misconfigured(problems).saying(said),
        StatusCode::CONFLICT => {
            let another = underway.map(|it| format!("{} for {:.0} s", it.step, it.step_seconds));
            let another = another.unwrap_or_else(|| "ask again".to_owned());
            let busy = || format!("other reloads are under way there: {another}");
            Outcome::failed(&reason.unwrap_or_else(busy)).saying(said)
        }
        status => Outcome::failed(&format!("{client} answered {status}")).saying(said),
    })
}

impl Problem {
    /// As `tidegate check` tells it.
    fn describe(&self) -> String {
        let Self { file, line, column, key, message, help } = self;
        let place = if *line == 0 { String::new() } else { format!("{line}:{column}:") };
        let key = if key.is_empty() { String::new() } else { format!(" {key}:") };
        let help = if help.is_empty() { String::new() } else { format!("; {help}") };
        format!("{file}:{place}{key} {message}{help}")
    }
}

/// A line for each change.
fn described(changes: &Changes) -> Vec<String> {
    let settings = changes.settings.iter().map(|key| format!("{key}: changed"));
    let parts = [("component", &changes.components), ("upstream", &changes.upstreams), ("route", &changes.routes)];
    let parts = parts.into_iter().flat_map(|(kind, changes)| changes.iter().map(move |change| line(kind, change)));
    settings.chain(parts).collect()
}

fn line(kind: &str, change: &Change) -> String {
    let Change { name, change, because, connections_active, open_connections } = change;
    let because = if because.is_empty() { String::new() } else { format!(" ({})", because.join(", ")) };
    let open = match connections_active {
        None => String::new(),
        Some(1) => ", 1 open connection".to_owned(),
        Some(count) => format!(", {count} open connections"),
    };
    let then = open_connections.as_ref().map(|then| format!(": {then}")).unwrap_or_default();
    format!("{kind} {name}: {change}{because}{open}{then}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_with_what_is_known_of_its_place() {
        let problem = |line, key: &str, help: &str| Problem {
            file: "tidegate.toml".to_owned(),
            line,
            column: 3,
            key: key.to_owned(),
            message: "it is wrong".to_owned(),
            help: help.to_owned(),
        };
        for (problem, told) in [
            (problem(7, "routes[0].path", "right it"), "tidegate.toml:7:3: routes[0].path: it is wrong; right it"),
            (problem(7, "", ""), "tidegate.toml:7:3: it is wrong"),
            (problem(0, "admin", ""), "tidegate.toml: admin: it is wrong"),
            (problem(0, "", ""), "tidegate.toml: it is wrong"),
        ] {
            assert_eq!(problem.describe(), told);
        }
    }

    #[test]
    fn changes_are_told_in_words() {
        let changes = serde_json::json!({
            "settings": ["drain_time"],
            "components": [{ "name": "shout", "change": "changed", "because": ["bytes", "limits"] }],
            "upstreams": [{ "name": "chat", "change": "added" }],
            "routes": [
                { "name": "a", "change": "removed", "connections_active": 1, "open_connections": "kept" },
                {
                    "name": "b", "change": "changed", "because": ["component shout"], "connections_active": 12,
                    "open_connections": "closed",
                },
            ],
        });
        let changes: Changes = serde_json::from_value(changes).unwrap();
        let expected = [
            "drain_time: changed",
            "component shout: changed (bytes, limits)",
            "upstream chat: added",
            "route a: removed, 1 open connection: kept",
            "route b: changed (component shout), 12 open connections: closed",
        ];
        assert_eq!(described(&changes), expected);
    }
}
