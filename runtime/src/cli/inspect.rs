//! `tidegate component inspect`.

use std::borrow::Cow;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use super::{complain, say, wrong};
use crate::component::{Component, ConfigureError, Host, Interest, Kind, Limits, OnFailure, Payload, Selection};
use crate::control;
use crate::metrics::Metrics;

/// Prints what a component is and may do.
pub(super) fn inspect(file: &Path, config: &str) -> ExitCode {
    let bytes = match bytes(file) {
        Ok(bytes) => bytes,
        Err(error) => {
            complain(&format!("{}: {error}", file.display()));
            return wrong();
        }
    };
    let name = file.file_stem().map_or(Cow::Borrowed("component"), |stem| stem.to_string_lossy());
    let host = match Host::new(1) {
        Ok(host) => host,
        Err(error) => {
            complain(&format!("tidegate: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match host.load(&name, &bytes, Limits::default()) {
        Ok(component) => {
            say(&describe(&component, config));
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("{}: {error}", file.display()));
            wrong()
        }
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

fn describe(component: &Component, config: &str) -> String {
    let mut lines = vec![
        format!("kind:      {}", component.kind().label()),
        format!("size:      {} bytes", component.size()),
        format!("compiled:  in {:.1} ms", component.compile_time().as_secs_f64() * 1e3),
    ];
    if component.kind() == Kind::Filter {
        match component.filter("inspect", config, OnFailure::Close, 1, &Metrics::new(1)) {
            Ok(filter) => lines.extend(interest(filter.interest())),
            Err(ConfigureError::Rejected(words)) => {
                let words = if io::stdout().is_terminal() { format!(": {}", words.reveal()) } else { String::new() };
                lines.push(format!("interest:  depends on its configuration, which it refuses{words}"));
                lines.push("           give one that it takes with --config".to_owned());
            }
            Err(error) => lines.push(format!("interest:  unknown: {error}")),
        }
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

fn interest(interest: Interest) -> [String; 2] {
    [
        format!("interest:  from client: {}", selection(interest.from_client)),
        format!("           from upstream: {}", selection(interest.from_upstream)),
    ]
}

fn selection(Selection { kinds, payload }: Selection) -> String {
    let kinds = match (kinds.text, kinds.binary) {
        (false, false) => return "nothing".to_owned(),
        (true, false) => "text",
        (false, true) => "binary",
        (true, true) => "text and binary",
    };
    match payload {
        Payload::None => format!("{kinds}, kind and size only"),
        Payload::Head(bytes) => format!("{kinds}, the first {bytes} bytes"),
        Payload::Whole => format!("{kinds}, whole"),
    }
}
