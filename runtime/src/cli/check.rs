//! `tidegate check`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::outcome::Outcome;
use super::refuse;
use crate::config::{Problems, Severity};
use crate::control::ReadSources;
use crate::server::{self, Checked};

/// Prints what a configuration would put in force, or everything that is wrong with it: on a terminal, which nobody else
/// reads, with the lines and the words of components, that may hold secrets.
pub(super) fn check(config: PathBuf, json: bool) -> Result<Outcome, Outcome> {
    let file = config.display().to_string();
    let Checked { config, problems, warnings } =
        server::check(&ReadSources::File(config)).map_err(|error| refuse(&error))?;
    let (complaint, found) = match json {
        true => (String::new(), findings(&problems, &warnings)),
        false => (told(&problems, &warnings), String::new()),
    };
    let Some(config) = config else { return Err(Outcome::misconfigured(complaint).saying(found)) };
    let said = if json {
        found
    } else {
        format!(
            "{file}: ok: {}, {}, {}, {}",
            count(config.listeners.len(), "listener"),
            count(config.routes.len(), "route"),
            count(config.upstreams.len(), "upstream"),
            count(config.components.len(), "component"),
        )
    };
    Ok(Outcome::done(said).complaining(complaint))
}

fn told(problems: &Problems, warnings: &Problems) -> String {
    let told: Vec<_> = tell(problems, "").into_iter().chain(tell(warnings, "warning: ")).collect();
    told.join("\n")
}

fn tell(problems: &Problems, lead: &str) -> Option<String> {
    if problems.is_empty() {
        return None;
    }
    if io::stderr().is_terminal() {
        return Some(problems.on_terminal(lead).to_string());
    }
    let lines = problems.iter().map(|problem| format!("{lead}{problem}"));
    Some(lines.chain(problems.more()).collect::<Vec<_>>().join("\n"))
}

/// A JSON array, errors first.
fn findings(problems: &Problems, warnings: &Problems) -> String {
    let all: Vec<_> = problems.findings(Severity::Error).chain(warnings.findings(Severity::Warning)).collect();
    // Texts and numbers are always JSON.
    serde_json::to_string_pretty(&all).unwrap_or_default()
}

fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
