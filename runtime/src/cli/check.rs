//! `tidegate check`.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{refuse, say};
use crate::control::ReadSources;
use crate::server;

/// Prints what a configuration would put in force, or everything that is wrong with it.
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
        Err(error) => refuse(&error),
    }
}

fn count(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}
