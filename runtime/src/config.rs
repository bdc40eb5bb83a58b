//! Loading and checking the configuration: TOML text in, checked types out, or everything that is wrong with it.
//!
//! A file is read into a tree with spans, and the tree through a typed cursor that reports and goes on, so that all
//! problems are told at once, each with its line, column, key and what to write instead. Names that refer to something
//! are resolved here. Nothing here opens a socket or a component's file: what later stages find joins the same report
//! through the places that the checked types keep.

mod address;
mod document;
mod pattern;
mod problem;
mod reader;
mod reference;
mod refusal;
mod sections;
mod source;
mod types;
mod value;

use std::{ops::Range, path::Path, time::Duration};

pub use self::{
    address::{EndpointUrl, Network},
    pattern::{HostPattern, PathPattern},
    problem::{Problem, Problems},
    reference::reference,
    refusal::Refusal,
    source::Place,
    types::{
        Admin, CacheDirectory, Candidate, Component, ComponentLimits, ComponentSource, ComponentUse, Config, Endpoint,
        Isolation, Listener, Log, LogFormat, LogLevel, MemorySize, OnChange, OnFailure, Route, Services, Share, Target,
        Trial, Upstream,
    },
};
use self::{reader::Report, source::Source};

/// Reads a file. `standard` names the components that need no entry.
///
/// # Errors
///
/// Everything that is wrong with the file, at least one problem.
pub fn load(path: &Path, standard: &[&str]) -> Result<Config, Problems> {
    let file = path.display().to_string();
    let refuse = |source: &Source, place: &Place, what: String, instead: &str| {
        let mut problems = Problems::new(source.clone());
        problems.add(place, what, instead);
        Err(problems)
    };
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let what = format!("the file cannot be read: {error}");
            return refuse(&Source::new(&file, ""), &Place::default(), what, "name a file that exists and is readable");
        }
    };
    match String::from_utf8(bytes) {
        Ok(text) => parse(&file, &text, path.parent().unwrap_or(Path::new("")), standard),
        Err(error) => {
            let valid = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
            let source = Source::new(&file, &text);
            let place = source.place(&(valid..valid + 1), "");
            refuse(&source, &place, "the file is not UTF-8".to_owned(), "save it as UTF-8")
        }
    }
}

/// Reads the text of a file that is called `name`, as [`load`] does; relative paths in it are relative to `base`.
///
/// # Errors
///
/// Everything that is wrong with the text, at least one problem. Where the syntax is wrong, only that is told.
pub fn parse(name: &str, text: &str, base: &Path, standard: &[&str]) -> Result<Config, Problems> {
    let source = Source::new(name, text);
    let (document, errors) = document::read(&source);
    if !errors.is_empty() {
        return Err(syntax(&source, &errors));
    }
    let report = Report::new(source.clone());
    let read = sections::read(&report, &source, &document, standard, base);
    let mut problems = report.into_problems();
    match read {
        Ok(config) if problems.is_empty() => Ok(config),
        Ok(_) => Err(problems),
        Err(_) => {
            if problems.is_empty() {
                problems.add(&Place::default(), "the file was refused without a reason", "please report this");
            }
            Err(problems)
        }
    }
}

/// Reads a duration as keys take it, such as `1m30s`; `0` is none.
///
/// # Errors
///
/// What is wrong with the text, for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::parse_duration(text).map_err(|fault| format!("{}; {}", fault.what, fault.instead))
}

/// Reads a name as the configuration has them.
///
/// # Errors
///
/// What is wrong with the text, for people.
pub fn name(text: &str) -> Result<&str, String> {
    value::parse_name(text).map_err(|fault| format!("{}; {}", fault.what, fault.instead))
}

/// The first syntax error of each line: what follows on the same line mostly follows from it.
fn syntax(source: &Source, errors: &[(usize, toml::de::Error)]) -> Problems {
    let mut problems = Problems::new(source.clone());
    let mut places: Vec<(Place, &str)> = errors
        .iter()
        .map(|(start, error)| {
            let place = |span: Range<usize>| source.place(&(start + span.start..start + span.end), "");
            (error.span().map_or_else(Place::default, place), error.message())
        })
        .collect();
    places.sort_by_key(|(place, _)| place.at);
    places.dedup_by_key(|(place, _)| (place.file.clone(), place.line));
    for (place, message) in places {
        // Of a key with too many parts the parser does not say where it is.
        let instead = if place.line == 0 { "write keys with fewer dots, and tables in fewer others" } else { "" };
        problems.add(&place, format!("this is no TOML: {message}"), instead);
    }
    problems
}

#[cfg(test)]
mod tests;
