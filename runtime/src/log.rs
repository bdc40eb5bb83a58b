//! The two logs: what an operator reads on standard error, and one access line for each connection on standard output.
//!
//! Both are written by threads of their own from bounded queues, so a reader that stops reading costs lines, which are
//! counted, and never the time of a worker. Access lines do not pass through `tracing`: nothing filters them and nothing
//! but their own fields belongs in them, so they are formatted once, straight into the queue.

mod access;
mod lossy;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::Arc;

use serde::Deserialize;
use tracing::Level;
use tracing_appender::non_blocking::{NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

pub use self::access::{AccessRecord, Ended, Traffic, Tried};
use self::lossy::Lossy;
use crate::metrics::Metrics;

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// `name=value` pairs, for eyes.
    #[default]
    Text,
    /// One JSON object a line, for machines.
    Json,
}

/// What the logs show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The least severe level shown on standard error. Libraries show warnings and errors at most.
    pub level: Level,
    /// The format of both logs.
    pub format: Format,
    /// Whether access lines are written.
    pub access: bool,
    /// Whether a connection has one when it opens, too.
    pub access_on_open: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: Level::INFO, format: Format::Text, access: true, access_on_open: false }
    }
}

/// The logs were started before in this process.
#[derive(Debug, thiserror::Error)]
#[error("a log is already installed in this process")]
pub struct AlreadyStarted;

/// Writes out what is queued when it is dropped, for at most about a second for each log. Keep it until the process
/// ends.
#[must_use = "dropping it ends the logs"]
#[derive(Debug)]
pub struct Guard {
    verbosity: Verbosity,
    _operational: WorkerGuard,
    _access: Option<WorkerGuard>,
}

impl Guard {
    /// The hold on what the operational log shows.
    pub fn verbosity(&self) -> Verbosity {
        self.verbosity.clone()
    }
}

/// What the operational log shows, which may change while the process runs. Clones are about the same log.
#[derive(Clone, Debug)]
pub struct Verbosity(reload::Handle<Targets, Registry>);

impl Verbosity {
    /// The least severe level shown.
    pub fn level(&self) -> Level {
        let shown = self.0.clone_current().unwrap_or_default();
        let levels = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN];
        levels.into_iter().find(|level| shown.would_enable(OURS, level)).unwrap_or(Level::ERROR)
    }

    /// Shows this level and those that are more severe, from now on.
    pub fn set_level(&self, level: Level) {
        // The log lives as long as the process.
        let _ = self.0.reload(shown(level));
    }
}

/// Libraries have less to say to an operator.
fn shown(level: Level) -> Targets {
    let level = LevelFilter::from_level(level);
    Targets::new()
        .with_default(level.min(LevelFilter::WARN))
        // It warns of what any client may do as often as it likes.
        .with_target("h2", level.min(LevelFilter::ERROR))
        .with_target(OURS, level)
}

/// What the targets of our own lines begin with.
const OURS: &str = "tidegate";

/// Installs the operational log for the process and opens the access log. To be called once, by the binary.
pub fn start(settings: &Settings, metrics: &Metrics) -> Result<(AccessLog, Guard), AlreadyStarted> {
    let (operational, operational_guard) = queue("operational", unbuffered(io::stderr()), metrics);
    let terminal = io::stderr().is_terminal();
    let lines = tracing_subscriber::fmt::layer().with_writer(operational);
    let lines = match settings.format {
        Format::Text => lines.with_ansi(terminal).boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let (shown, handle) = reload::Layer::new(shown(settings.level));
    tracing_subscriber::registry().with(lines.with_filter(shown)).try_init().map_err(|_| AlreadyStarted)?;

    let (access, access_guard) = match settings.access {
        true => {
            let (log, guard) = AccessLog::to(unbuffered(io::stdout()), settings.format, metrics);
            (AccessLog { on_open: settings.access_on_open, ..log }, Some(guard))
        }
        false => (AccessLog::off(), None),
    };
    Ok((access, Guard { verbosity: Verbosity(handle), _operational: operational_guard, _access: access_guard }))
}

/// Has panics of any thread counted, and told in the operational log instead of on bare standard error. Each is a fault of
/// the proxy that has cost a connection or a worker.
pub fn panics(metrics: Arc<Metrics>) {
    std::panic::set_hook(Box::new(move |panic| {
        metrics.panicked();
        let thread = std::thread::current();
        let (thread, message) = (thread.name().unwrap_or_default(), panic.payload_as_str().unwrap_or_default());
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(thread, place, message, "a panic, which is a fault of the proxy: please report it");
    }));
}

/// The access log. Clones share one queue.
#[derive(Clone, Debug)]
pub struct AccessLog {
    queue: Option<NonBlocking>,
    format: Format,
    on_open: bool,
}

impl AccessLog {
    /// A log that writes nothing and formats nothing.
    pub fn off() -> Self {
        Self { queue: None, format: Format::Text, on_open: false }
    }

    /// A log that writes to `target` from a thread of its own; lines beyond the queue's bound are dropped and counted.
    pub fn to(target: impl Write + Send + 'static, format: Format, metrics: &Metrics) -> (Self, WorkerGuard) {
        let (queue, guard) = queue("access", target, metrics);
        (Self { queue: Some(queue), format, on_open: false }, guard)
    }

    /// Whether a connection leaves a line when it opens, too.
    pub fn is_told_of_opens(&self) -> bool {
        self.on_open
    }

    /// Writes a line. Never blocks and never fails.
    pub fn write(&self, record: &AccessRecord<'_>) {
        let Some(queue) = &self.queue else { return };
        let line = record.line(self.format);
        // The queue counts what it drops and reports success.
        let _ = queue.clone().write_all(line.as_bytes());
    }
}

/// A bounded queue and the thread that empties it, with one write for all lines that are ready. Lines that find no room, or
/// cannot be written, are counted as lost under the log's name.
fn queue(log: &'static str, target: impl Write + Send + 'static, metrics: &Metrics) -> (NonBlocking, WorkerGuard) {
    let (lossy, lost) = Lossy::new(log, target);
    let (queue, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(QUEUED_LINES)
        .lossy(true)
        .thread_name(&format!("{log}-log"))
        .finish(lossy);
    metrics.watch_log(log, queue.error_counter(), lost);
    (queue, guard)
}

/// The same output without a buffer of the standard library, which keeps what it could not write, and takes one that is
/// closed for one that takes everything.
fn unbuffered(standard: impl AsFd + Write + Send + 'static) -> Box<dyn Write + Send> {
    match standard.as_fd().try_clone_to_owned() {
        Ok(descriptor) => Box::new(File::from(descriptor)),
        Err(_) => Box::new(standard),
    }
}

/// A burst of connections closed at once; at half a kilobyte a line, some 8 MiB at worst.
const QUEUED_LINES: usize = 16_384;

#[cfg(test)]
mod tests;
