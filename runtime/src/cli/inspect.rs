//! `tidegate component inspect`.

use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::outcome::Outcome;
use crate::component::{
    Component, ConfigureError, Host, Interest, Kind, Limits, LoadError, Need, OnFailure, Selection,
};
use crate::control;
use crate::metrics::Metrics;

/// Prints what a component is and may do, and with this configuration, if it takes it.
///
/// `max_memory` is the memory that it may have, in bytes; without one, as much as any component may have by default.
pub(super) fn inspect(file: &Path, config: Option<&str>, max_memory: Option<usize>) -> Result<Outcome, Outcome> {
    let about_file = |error: &dyn std::fmt::Display| Outcome::wrong(&format!("{}: {error}", file.display()));
    let bytes = bytes(file).map_err(|error| about_file(&error))?;
    let name = file.file_stem().map_or(Cow::Borrowed("component"), |stem| stem.to_string_lossy());
    let host = Host::new(1).map_err(|error| Outcome::failed(&error.to_string()))?;
    let limits = Limits::default();
    let limits = Limits { max_memory: max_memory.unwrap_or(limits.max_memory), ..limits };
    let component = host.load(&name, &bytes, limits).map_err(|error| match error {
        LoadError::Memory { initial, .. } => {
            let least = initial.div_ceil(1 << 20);
            about_file(&format!("{error} in the configuration, and write --max-memory {least}MiB or more here"))
        }
        error => about_file(&error),
    })?;
    let started = Instant::now();
    let taken = take(&component, config.unwrap_or("{}"));
    let said = describe(&component, &taken, started.elapsed());
    match taken {
        Err(error) if config.is_some() => {
            Err(Outcome::wrong(&format!("{}: {}", file.display(), told(&error))).saying(said))
        }
        _ => Ok(Outcome::done(said)),
    }
}

/// Has it take a configuration; gives the interest of a filter.
fn take(component: &Component, config: &str) -> Result<Option<Interest>, ConfigureError> {
    let metrics = Metrics::new(1);
    Ok(match component.kind() {
        Kind::Predicate => component.predicate("inspect", config, &metrics).map(|_| None)?,
        Kind::Balancer => component.balancer("inspect", config, &metrics).map(|_| None)?,
        Kind::Filter => Some(component.filter("inspect", config, OnFailure::Close, 1, &metrics)?.interest()),
    })
}

/// Why it does not take it: on a terminal in its own words, which may quote the configuration.
fn told(error: &ConfigureError) -> String {
    match error {
        ConfigureError::Rejected(words) if io::stderr().is_terminal() => format!("{error}: {}", words.reveal()),
        error => error.to_string(),
    }
}

/// A file's bytes; where there is no such file, those of the standard component of that name.
fn bytes(file: &Path) -> Result<Cow<'static, [u8]>, String> {
    let standard = file.to_str().and_then(tidegate_filters::find);
    match (control::read_component(file), standard) {
        (Ok(bytes), _) => Ok(Cow::Owned(bytes)),
        (Err(_), Some(standard)) => Ok(Cow::Borrowed(standard.bytes)),
        (Err(error), None) => Err(error.to_string()),
    }
}

fn describe(component: &Component, taken: &Result<Option<Interest>, ConfigureError>, start: Duration) -> String {
    let mut lines = vec![
        format!("kind:      {}", component.kind().label()),
        format!("size:      {} bytes", component.size()),
        format!("compiled:  in {:.1} ms", component.compile_time().as_secs_f64() * 1e3),
        format!("memory:    {} at the start", memory(component.initial_memory())),
        format!("starts:    in {:.1} ms", start.as_secs_f64() * 1e3),
    ];
    match taken {
        Ok(taken) => lines.extend(taken.iter().flat_map(|taken| interest(*taken))),
        Err(ConfigureError::Rejected(_)) if component.kind() == Kind::Filter => {
            lines.push("interest:  depends on its configuration; give one that it takes with --config".to_owned());
        }
        Err(error) if component.kind() == Kind::Filter => lines.push(format!("interest:  unknown: {error}")),
        Err(_) => {}
    }
    if !component.hooks().is_empty() {
        lines.push(format!("hooks:     {}", component.hooks().join(", ")));
    }
    if component.imports().is_empty() {
        lines.push("may:       nothing but compute".to_owned());
    }
    for (index, import) in component.imports().iter().enumerate() {
        let label = if index == 0 { "may:      " } else { "          " };
        lines.push(format!("{label} {} ({})", import.permission, import.name));
    }
    lines.join("\n")
}

/// A size in words.
fn memory(bytes: u64) -> String {
    match bytes >> 10 {
        kibibytes @ 0..1024 => format!("{kibibytes} KiB"),
        // Tenths, rounded down.
        kibibytes => format!("{}.{} MiB", kibibytes >> 10, ((kibibytes & 1023) * 10) >> 10),
    }
}

fn interest(interest: Interest) -> [String; 2] {
    [
        format!("interest:  from client: {}", selection(interest.from_client)),
        format!("           from upstream: {}", selection(interest.from_upstream)),
    ]
}

fn selection(Selection { kinds, need }: Selection) -> String {
    let kinds = match (kinds.text, kinds.binary) {
        (false, false) => return "nothing".to_owned(),
        (true, false) => "text",
        (false, true) => "binary",
        (true, true) => "text and binary",
    };
    match need {
        Need::Nothing => format!("{kinds}, kind and size only"),
        Need::Head(bytes) => format!("{kinds}, the first {bytes} bytes"),
        Need::Stream => format!("{kinds}, part by part"),
        Need::Rewrite => format!("{kinds}, part by part, which it may replace"),
        Need::Whole => format!("{kinds}, whole"),
    }
}
