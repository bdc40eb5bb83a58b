//! `tidegate candidate`.

use http::{Method, StatusCode};
use serde::Deserialize;

use super::ask::ask;
use super::outcome::Outcome;
use super::{Candidate, Which};
use crate::admin::{Client, Decision};

/// The parts of the admin API's list that are shown.
#[derive(Debug, Deserialize)]
struct Listed {
    route: String,
    filter: String,
    component: String,
    mode: String,
    canary: Option<String>,
    standing: String,
    connections: u64,
    failures: u32,
    decisions: Option<Decisions>,
}

#[derive(Debug, Deserialize)]
struct Decisions {
    agreed: u64,
    diverged: u64,
    failed: u64,
}

/// The parts of its answer to a decision that are shown.
#[derive(Debug, Deserialize)]
struct Decided {
    filters: Vec<String>,
    changed: bool,
    connections_active: u64,
}

/// Shows the candidates of a running proxy, or ends the trial of one.
pub(super) fn candidate(command: &Candidate) -> Result<Outcome, Outcome> {
    match command {
        Candidate::List { whom } => list(&whom.client()?),
        Candidate::Promote { which } => decide(which, Decision::Promote),
        Candidate::RollBack { which } => decide(which, Decision::RollBack),
    }
}

fn list(client: &Client) -> Result<Outcome, Outcome> {
    let listed: Vec<Listed> = ask(client, Method::GET, "/api/v1/candidates")?.read(client)?;
    if listed.is_empty() {
        return Ok(Outcome::done("no filter has a candidate"));
    }
    Ok(Outcome::done(listed.iter().map(Listed::describe).collect::<Vec<_>>().join("\n")))
}

fn decide(which: &Which, decision: Decision) -> Result<Outcome, Outcome> {
    let Which { route, component, whom } = which;
    let verb = match decision {
        Decision::Promote => "promote",
        Decision::RollBack => "roll-back",
    };
    let client = whom.client()?;
    let answer = ask(&client, Method::POST, &format!("/api/v1/routes/{route}/candidates/{component}/{verb}"))?;
    if answer.status == StatusCode::NOT_FOUND {
        return Err(Outcome::wrong(&format!("{component:?} is no candidate on route {route:?} there")));
    }
    let Decided { filters, changed, connections_active: open } = answer.read(&client)?;
    let filters = filters.join(" and ");
    Ok(Outcome::done(match (decision, changed) {
        (Decision::Promote, true) => format!(
            "{component} has taken the place of {filters} on route {route}, also for what may change of its {open} open \
             connections;\nname it in the configuration as the filter, because a restart knows only that"
        ),
        (Decision::Promote, false) => format!("{component} is promoted already on route {route}; nothing has changed"),
        (Decision::RollBack, true) => {
            format!(
                "{filters} has all connections of route {route} again, also what may change of its {open} open ones"
            )
        }
        (Decision::RollBack, false) => {
            format!("{component} is rolled back already on route {route}; nothing has changed")
        }
    }))
}

impl Listed {
    fn describe(&self) -> String {
        let Self { route, filter, component, mode, canary, standing, connections, failures, decisions } = self;
        let mode = canary.as_ref().map_or_else(|| mode.clone(), |share| format!("{mode} of {share}"));
        let standing = standing.replace('_', " ");
        let decisions = decisions.as_ref().map(|Decisions { agreed, diverged, failed }| {
            format!("; {agreed} decisions agreed, {diverged} diverged, {failed} failed")
        });
        let decisions = decisions.unwrap_or_default();
        format!(
            "{route}: {component} for {filter}, {mode}: {standing}; {connections} connections, {failures} failures\
             {decisions}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_candidate_is_one_line() {
        let listed = |more: &str| -> Listed {
            let text = format!(
                r#"{{"route": "chat", "filter": "shout", "component": "shout-2", "standing": "on_trial",
                "connections": 3, "failures": 0, {more}}}"#
            );
            serde_json::from_str(&text).unwrap()
        };
        let canary = listed(r#""mode": "canary", "canary": "5%""#);
        let expected = "chat: shout-2 for shout, canary of 5%: on trial; 3 connections, 0 failures";
        assert_eq!(canary.describe(), expected);
        let shadow = listed(r#""mode": "shadow", "decisions": {"agreed": 4, "diverged": 1, "failed": 0}"#);
        let expected = "chat: shout-2 for shout, shadow: on trial; 3 connections, 0 failures; 4 decisions agreed, \
                        1 diverged, 0 failed";
        assert_eq!(shadow.describe(), expected);
    }
}
