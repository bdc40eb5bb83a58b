//! `tidegate check`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::{complain, refuse, say, wrong};
use crate::config::{Problem, Problems};
use crate::control::ReadSources;
use crate::server::{self, Checked};

/// Prints what a configuration would put in force, or everything that is wrong with it: on a terminal, which nobody else
/// reads, with the lines and the words of components, that may hold secrets.
pub(super) fn check(config: PathBuf, json: bool) -> ExitCode {
    let file = config.display().to_string();
    let Checked { config, problems, warnings } = match server::check(&ReadSources::File(config)) {
        Ok(checked) => checked,
        Err(error) => return refuse(&error),
    };
    if json {
        say(&findings(&problems, &warnings));
    } else {
        tell(&problems, "");
        tell(&warnings, "warning: ");
    }
    let Some(config) = config else { return wrong() };
    if !json {
        say(&format!(
            "{file}: ok: {}, {}, {}, {}",
            count(config.listeners.len(), "listener"),
            count(config.routes.len(), "route"),
            count(config.upstreams.len(), "upstream"),
            count(config.components.len(), "component"),
        ));
    }
    ExitCode::SUCCESS
}

fn tell(problems: &Problems, lead: &str) {
    if problems.is_empty() {
        return;
    }
    if io::stderr().is_terminal() {
        complain(&problems.on_terminal(lead).to_string());
    } else {
        problems.iter().for_each(|problem| complain(&format!("{lead}{problem}")));
        problems.more().iter().for_each(|more| complain(more));
    }
}

/// What `--json` prints for each problem. The names are promised to those who read it.
#[derive(Serialize)]
struct Finding<'p> {
    severity: &'static str,
    file: &'p str,
    line: usize,
    column: usize,
    key: &'p str,
    message: &'p str,
    help: &'p str,
}

impl<'p> Finding<'p> {
    fn new(severity: &'static str, problem: &'p Problem) -> Self {
        let Problem { file, line, column, key, what, instead, .. } = problem;
        Self { severity, file, line: *line, column: *column, key, message: what, help: instead }
    }
}

/// A JSON array, errors first.
fn findings(problems: &Problems, warnings: &Problems) -> String {
    let errors = problems.iter().map(|problem| Finding::new("error", problem));
    let all: Vec<_> = errors.chain(warnings.iter().map(|warning| Finding::new("warning", warning))).collect();
    // Texts and numbers are always JSON.
    serde_json::to_string_pretty(&all).unwrap_or_default()
}

fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
