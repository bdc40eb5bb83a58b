//! `tidegate check`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::process::ExitCode;

use super::{complain, refuse, say, wrong};
use crate::control::ReadSources;
use crate::server::{self, RunError};

/// Prints what a configuration would put in force, or everything that is wrong with it: on a terminal, which nobody else
/// reads, with the lines and the words of components, that may hold secrets.
pub(super) fn check(config: PathBuf) -> ExitCode {
    let file = config.display().to_string();
    match server::check(&ReadSources::File(config)) {
        Ok(sources) => {
            let config = &sources.config;
            say(&format!(
                "{file}: ok: {}, {}, {}, {}",
                count(config.listeners.len(), "listener"),
                count(config.routes.len(), "route"),
                count(config.upstreams.len(), "upstream"),
                count(config.components.len(), "component"),
            ));
            ExitCode::SUCCESS
        }
        Err(RunError::Config(problems)) if io::stderr().is_terminal() => {
            complain(&problems.on_terminal().to_string());
            wrong()
        }
        Err(error) => refuse(&error),
    }
}

fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
