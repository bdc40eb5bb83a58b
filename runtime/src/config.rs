//! Loading and checking the configuration: TOML text in, checked types out, or everything that is wrong with it.
//!
//! A file is read into a tree with spans, and the tree through a typed cursor that reports and goes on, so that all
//! problems are told at once, each with its line, column, key and what to write instead. Names that refer to something
//! are resolved here. Nothing here opens a socket or a component's file: what later stages find joins the same report
//! through the places that the checked types keep.
//!
//! A configuration may be spread over files (`include`), take texts from the environment (`${NAME}`) and secrets of
//! components from there or from files; all of it is read again for each reload.

mod address;
mod document;
mod expansion;
mod include;
mod pattern;
mod problem;
mod reader;
mod reference;
mod refusal;
mod secret;
mod sections;
mod source;
mod types;
mod value;
mod warnings;

use std::{ops::Range, path::Path, time::Duration};

pub use self::include::matches_name;
use self::{
    document::Twice,
    expansion::{Environment, expand},
    include::{Files, NOT_UTF8},
    reader::Report,
    secret::Secrets,
    source::Source,
};
pub use self::{
    problem::{Finding, Problem, Problems, Severity},
    reference::reference,
    refusal::{How, MEND, Refusal},
    source::Place,
    types::{
        Acme, Admin, AdminToken, Answer, Application, Authorize, Bridge, CacheDirectory, Candidate, CertificateFiles,
        ClientAuth, Component, ComponentSource, ComponentUse, Config, Content, Discover, Endpoint, File, Http, Inputs,
        KeysAt, Listener, MemorySize, Parts, Role, Route, RouteToken, Services, Target, Tls, Tokens, Upstream,
        UpstreamTls,
    },
};

/// What has become of reading a configuration.
#[derive(Debug)]
pub struct Examined {
    /// `None`: something is wrong with it.
    pub config: Option<Config>,
    /// Everything that is wrong with it.
    pub problems: Problems,
    /// What can be looked at further.
    pub parts: Parts,
    /// See [`Config::inputs`].
    pub inputs: Inputs,
}

/// Reads a file and all that it includes. `standard` names the components that need no entry; `reading` hears of each file
/// before it is read, and of each directory before its names are.
pub fn examine(path: &Path, standard: &[&str], reading: &dyn Fn(&Path)) -> Examined {
    let environment = |name: &str| std::env::var(name).ok();
    match include::read(path, &environment, reading) {
        Ok(files) => examined(&files, path.parent().unwrap_or(Path::new("")), standard, (&environment, reading)),
        Err(error) => {
            let mut problems = Problems::new(Source::new(&path.display().to_string(), ""));
            let what = format!("the file cannot be read: {error}");
            problems.add(&Place::default(), what, "name a file that exists and is readable");
            Examined { config: None, problems, parts: Parts::default(), inputs: Inputs::default() }
        }
    }
}

/// Reads the text of a file that is called `name`, as [`examine`] does, but for `include`, for which it would have to be
/// a file; relative paths in it are relative to `base`.
pub fn examine_text(name: &str, text: &str, base: &Path, standard: &[&str]) -> Examined {
    let environment = |name: &str| std::env::var(name).ok();
    examined(&Files::of(name, text), base, standard, (&environment, &|_| ()))
}

/// Reads a file as [`examine`] does.
///
/// # Errors
///
/// Everything that is wrong with the file, at least one problem.
pub fn load(path: &Path, standard: &[&str]) -> Result<Config, Problems> {
    examine(path, standard, &|_| ()).into_config()
}

/// Reads a text as [`examine_text`] does.
///
/// # Errors
///
/// Everything that is wrong with the text, at least one problem. Where the syntax is wrong, only that is told.
pub fn parse(name: &str, text: &str, base: &Path, standard: &[&str]) -> Result<Config, Problems> {
    examine_text(name, text, base, standard).into_config()
}

impl Examined {
    /// The configuration.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, at least one problem.
    pub fn into_config(mut self) -> Result<Config, Problems> {
        match self.config {
            Some(config) if self.problems.is_empty() => Ok(config),
            _ => {
                if self.problems.is_empty() {
                    let what = "the file was refused without a reason";
                    self.problems.add(&Place::default(), what, "please report this");
                }
                Err(self.problems)
            }
        }
    }
}

fn examined(
    files: &Files,
    base: &Path,
    standard: &[&str],
    (environment, reading): (Environment<'_>, &dyn Fn(&Path)),
) -> Examined {
    let source = Source::of(files.texts.iter().map(|file| (file.name.as_str(), file.text.as_str())));
    let mut document = document::read(&source);
    let is_broken = !document.syntax.is_empty() || files.faults.iter().any(|(_, _, fault)| fault.what == NOT_UTF8);
    let expanded = expand(&mut document.table, environment);
    let report = Report::new(source.clone(), expanded.at);
    for (file, span, fault) in &files.faults {
        let start = source.start(*file);
        let key = if fault.what == NOT_UTF8 { "" } else { "include" };
        report.fault(&(start + span.start..start + span.end), key, fault.clone());
    }
    let mut inputs = Inputs(files.looked_for.clone());
    inputs.0.extend(files.texts.iter().skip(1).map(|file| file.name.clone().into()));
    if is_broken {
        let mut problems = syntax(&source, &document.syntax);
        problems.extend(report.into_problems());
        return Examined { config: None, problems, parts: Parts::default(), inputs };
    }
    for (span, key, fault) in expanded.faults {
        report.fault(&span, &key, fault);
    }
    for Twice { key, first, again } in &document.twice {
        let (first, place) = (source.place(first, key), source.place(again, key));
        let what = format!("this stands in {} already", first.seen_from(&place));
        report.refuse(&place, what, "remove one of the two");
    }
    let secrets = Secrets::new(environment, base, reading);
    let (config, parts) = sections::read(&report, &source, &document.table, standard, base, &secrets);
    inputs.0.extend(secrets.into_files());
    let config = config.ok().map(|config| Config { inputs: inputs.clone(), ..config });
    Examined { config, problems: report.into_problems(), parts, inputs }
}

/// Reads a duration as keys take it, such as `1m30s`; `0` is none.
///
/// # Errors
///
/// What is wrong with the text, for people.
pub fn duration(text: &str) -> Result<Duration, String> {
    value::parse_duration(text).map_err(|fault| format!("{}; {}", fault.what, fault.instead))
}

/// Reads a size as keys take it, such as `64MiB`; bytes.
///
/// # Errors
///
/// What is wrong with the text, for people.
pub fn size(text: &str) -> Result<u64, String> {
    value::parse_size(text).map_err(|fault| format!("{}; {}", fault.what, fault.instead))
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
