//! The command line: arguments in, exit codes out.
//!
//! Exit codes: 0 done, 1 a failure while running, 2 a wrong call or a wrong configuration. Output that cannot be written is a
//! failure; that nobody reads it to its end is none.

mod ask;
mod candidate;
mod check;
mod close;
mod drain;
mod inspect;
mod log_level;
mod outcome;
mod reload;
mod restore;
mod whom;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgGroup, Args, Parser, Subcommand};

use self::outcome::Outcome;
use self::whom::Whom;
use crate::config;
use crate::control::ReadSources;
use crate::demo;
use crate::server::{Activation, EarlySignals, RunError, Server};

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
        /// Worker threads, 1 to 1024; overrides the configuration. Default: one for each core.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        workers: Option<u16>,
    },
    /// Check a configuration and its components, and print everything that is wrong. Binds nothing.
    Check {
        /// The configuration, a TOML file.
        #[arg(long, short, value_name = "FILE")]
        config: PathBuf,
        /// Print a JSON array, with an object for each error and each warning.
        #[arg(long)]
        json: bool,
    },
    /// Try it out: two back ends, the proxy and a page to use it by, in one process.
    Demo {
        /// Where browsers and other clients connect.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
        listen: SocketAddr,
        /// Where the admin API listens.
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
        admin: SocketAddr,
        /// Speak TLS, with a certificate that is made on the spot.
        #[arg(long)]
        tls: bool,
        /// Only print the configuration that it runs.
        #[arg(long)]
        print_config: bool,
    },
    /// Have a running proxy read its configuration again.
    Reload {
        #[command(flatten)]
        whom: Whom,
        /// Only say what would change, or what is wrong.
        #[arg(long)]
        dry_run: bool,
    },
    /// Have a running proxy close its connections at a measured pace, and then end.
    Drain(Drain),
    /// Have a running proxy close connections at once: those that have all that is said of them.
    Close(Close),
    /// Print from which level on a running proxy logs, or have it log from another on, until it ends.
    LogLevel {
        /// The least severe level to show. Default: leave it as it is.
        #[arg(value_parser = ["error", "warn", "info", "debug", "trace"])]
        level: Option<String>,
        #[command(flatten)]
        whom: Whom,
    },
    /// Look into components.
    #[command(subcommand)]
    Component(Component),
    /// Show the candidates for filters of a running proxy, or end the trial of one.
    #[command(subcommand)]
    Candidate(Candidate),
}

/// What to drain, and how.
#[derive(Debug, Args)]
struct Drain {
    #[command(flatten)]
    whom: Whom,
    /// Only the connections of this route. New ones are served as before, and the proxy goes on.
    #[arg(long, value_name = "NAME", value_parser = name)]
    route: Option<String>,
    /// The time over which connections are closed, such as 30s. Default: the configuration's `drain_time`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    over: Option<String>,
    /// The close code: 1012, service restart, or 1001, going away.
    #[arg(long, value_name = "CODE", default_value = "1012", value_parser = ["1001", "1012"])]
    code: String,
    /// Only print how many connections would be closed, how fast, and until when.
    #[arg(long)]
    dry_run: bool,
}

/// Which connections to close, and how.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").args(["id", "route", "attribute"]).required(true).multiple(true))]
struct Close {
    #[command(flatten)]
    whom: Whom,
    /// The connection with this id, as logs have it.
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// The connections of this route.
    #[arg(long, value_name = "NAME", value_parser = name)]
    route: Option<String>,
    /// Those with this attribute, such as token.sub:alice. May be there several times: they have to have all.
    #[arg(long, value_name = "NAME:VALUE")]
    attribute: Vec<String>,
    /// The close code: 1000, 1001, 1008 (policy), 1011, 1012, 1013, or from 3000 to 4999.
    #[arg(long, value_name = "CODE", default_value_t = 1008)]
    code: u16,
    /// The reason that they are told.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only print how many connections would be closed.
    #[arg(long)]
    dry_run: bool,
}

/// A duration, kept as it was written.
fn duration(text: &str) -> Result<String, String> {
    config::duration(text).map(|_| text.to_owned())
}

#[derive(Debug, Subcommand)]
enum Component {
    /// Print a component's kind, size, compile time, memory, start time, interest, and its imports as permissions.
    Inspect {
        /// A component, or a core module built with the guest SDK; or the name of a standard component.
        file: PathBuf,
        /// A configuration for it, JSON text; refused if it does not take it. Without one, it is asked what it does with {}.
        #[arg(long, value_name = "JSON", value_parser = json)]
        config: Option<String>,
        /// The memory that it may have, such as 256MiB. Default: 64MiB, as of any component.
        #[arg(long, value_name = "SIZE", value_parser = memory)]
        max_memory: Option<usize>,
    },
    /// Have a running proxy call a component again that is in quarantine because it failed too often.
    Restore {
        /// The component's name in the configuration.
        #[arg(value_parser = name)]
        name: String,
        #[command(flatten)]
        whom: Whom,
    },
}

#[derive(Debug, Subcommand)]
enum Candidate {
    /// Print the candidates, a line each, and what has come of them so far.
    List {
        #[command(flatten)]
        whom: Whom,
    },
    /// Put a candidate in its filter's place, for all connections of a route.
    Promote {
        #[command(flatten)]
        which: Which,
    },
    /// Give all connections of a route back to the filter.
    RollBack {
        #[command(flatten)]
        which: Which,
    },
}

/// Which candidate.
#[derive(Debug, Args)]
struct Which {
    /// The route's name.
    #[arg(value_parser = name)]
    route: String,
    /// The name of the component that is tried there.
    #[arg(value_parser = name)]
    component: String,
    #[command(flatten)]
    whom: Whom,
}

/// A size, in bytes.
fn memory(text: &str) -> Result<usize, String> {
    config::size(text).and_then(|size| usize::try_from(size).map_err(|error| error.to_string()))
}

/// A name as the configuration has them.
fn name(text: &str) -> Result<String, String> {
    config::name(text).map(str::to_owned)
}

/// JSON text, kept as it was written.
fn json(text: &str) -> Result<String, serde_json::Error> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| text.to_owned())
}

/// Carries out what the command line says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors, and go to standard output.
            let printed = outcome::unless_closed(error.print().and_then(|()| io::stdout().flush()));
            return outcome::ended(printed, if error.use_stderr() { outcome::WRONG } else { 0 });
        }
    };
    let (Ok(outcome) | Err(outcome)) = carry_out(cli.command);
    outcome.tell()
}

fn carry_out(command: Command) -> Result<Outcome, Outcome> {
    match command {
        Command::Run { config, workers } => finish(run(config, workers.map(usize::from).and_then(NonZeroUsize::new))),
        Command::Check { config, json } => check::check(config, json),
        Command::Demo { listen, admin, tls, print_config: true } => {
            Ok(Outcome::done(demo::configuration(listen, admin, tls).trim_end()))
        }
        Command::Demo { listen, admin, tls, print_config: false } => {
            finish(demo::run(listen, admin, tls, outcome::print))
        }
        Command::Reload { whom, dry_run } => reload::reload(&whom.client()?, dry_run),
        Command::Drain(drain) => drain::drain(&drain),
        Command::Close(close) => close::close(&close),
        Command::LogLevel { level, whom } => log_level::log_level(level.as_deref(), &whom.client()?),
        Command::Component(Component::Inspect { file, config, max_memory }) => {
            inspect::inspect(&file, config.as_deref(), max_memory)
        }
        Command::Candidate(command) => candidate::candidate(&command),
        Command::Component(Component::Restore { name, whom }) => restore::restore(&name, &whom.client()?),
    }
}

fn run(config: PathBuf, workers: Option<NonZeroUsize>) -> Result<(), RunError> {
    let activation = Activation::take();
    let signals = EarlySignals::heed()?;
    Server::prepare(signals, ReadSources::File(config), workers, activation)?.run()
}

fn finish(ended: Result<(), RunError>) -> Result<Outcome, Outcome> {
    ended.map(|()| Outcome::done("")).map_err(|error| refuse(&error))
}

/// Says why nothing was served, and with which code the process ends.
fn refuse(error: &RunError) -> Outcome {
    match error {
        RunError::Config(problems) => Outcome::misconfigured(problems.to_string()),
        error => Outcome::failed(&error.to_string()),
    }
}
