//! The command line: arguments in, exit codes out.
//!
//! Exit codes: 0 done, 1 a failure while running, 2 a wrong call or a wrong configuration.

mod check;
mod inspect;
mod reload;
mod restore;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::control::ReadSources;
use crate::demo;
use crate::server::{RunError, Server};

/// A WebSocket edge proxy that is programmed in WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve a configuration until a signal ends it.
    Run {
        /// The configuration, a TOML file.
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Worker threads; overrides the configuration. Default: one for each core.
        #[arg(long, value_name = "N")]
        workers: Option<NonZeroUsize>,
    },
    /// Check a configuration and its components, and print everything that is wrong. Binds nothing.
    Check {
        /// The configuration, a TOML file.
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
    },
    /// Try it out: two back ends and the proxy in one process.
    Demo,
    /// Have a running proxy read its configuration again.
    Reload(Whom),
    /// Look into components.
    #[command(subcommand)]
    Component(Component),
}

/// Which running proxy.
#[derive(Debug, Args)]
struct Whom {
    /// Where its admin API listens.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    admin: SocketAddr,
}

#[derive(Debug, Subcommand)]
enum Component {
    /// Print a component's kind, size, interest, compile time, and its imports as permissions.
    Inspect {
        /// A component, or a core module built with the guest SDK; or the name of a standard component.
        file: PathBuf,
        /// Configuration to ask a filter's interest with, JSON text. Default: {}.
        #[arg(long, value_name = "JSON", default_value = "{}")]
        config: String,
    },
    /// Have a running proxy call a component again that is in quarantine because it failed too often.
    Restore {
        /// The component's name in the configuration.
        name: String,
        #[command(flatten)]
        whom: Whom,
    },
}

/// Carries out what the command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let _ = error.print();
            return if error.use_stderr() { wrong() } else { ExitCode::SUCCESS };
        }
    };
    match cli.command {
        Command::Run { config, workers } => finish(run(config, workers)),
        Command::Check { config } => check::check(config),
        Command::Demo => finish(demo::run()),
        Command::Reload(whom) => reload::reload(whom.admin),
        Command::Component(Component::Inspect { file, config }) => inspect::inspect(&file, &config),
        Command::Component(Component::Restore { name, whom }) => restore::restore(&name, whom.admin),
    }
}

fn run(config: PathBuf, workers: Option<NonZeroUsize>) -> Result<(), RunError> {
    Server::prepare(ReadSources::File(config), workers)?.run()
}

fn finish(ended: Result<(), RunError>) -> ExitCode {
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(&error),
    }
}

/// Says why nothing was served, and with which code the process ends.
fn refuse(error: &RunError) -> ExitCode {
    match error {
        RunError::Config(problems) => {
            complain(&problems.to_string());
            wrong()
        }
        error => {
            complain(&format!("tidegate: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Prints to standard output; who closed it has read enough.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

/// Prints to standard error.
fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// The exit code of a wrong call or a wrong configuration.
fn wrong() -> ExitCode {
    ExitCode::from(2)
}
