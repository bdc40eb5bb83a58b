//! What is wrong with a configuration, and where.
//!
//! Reading never stops at the first problem. Later stages, which compile components and let them read their own
//! configuration, add theirs to the same report through the [`Place`] that each part of the configuration keeps.
//!
//! Problems go to logs and over the admin API, so they quote nothing that may be a secret: neither lines of the file nor
//! the words of a component. Those are shown by [`Problems::on_terminal`] alone.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

use super::source::{Place, SHOWN, Source};
use crate::component::Words;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The file as it was named when it was loaded.
    pub file: String,
    /// See [`Place::line`].
    pub line: usize,
    /// See [`Place::column`].
    pub column: usize,
    /// See [`Place::key`].
    pub key: String,
    /// What is wrong: a fragment in lower case.
    pub message: String,
    /// What to write instead, as an instruction; empty where there is no advice.
    pub help: String,
    /// What is wrong, for a terminal.
    words: Option<Words>,
    at: usize,
    width: usize,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration cannot be put in force.
    Error,
    /// It can, and is most likely not meant.
    Warning,
}

/// A problem as programs read it, wherever one is written out. The names are promised to those who do.
#[derive(Debug, Serialize)]
pub struct Finding<'p> {
    severity: Severity,
    file: &'p str,
    line: usize,
    column: usize,
    key: &'p str,
    message: Cow<'p, str>,
    help: &'p str,
}

/// Everything that is wrong with one configuration, in the order of the file; of very much, the first 1000.
#[derive(Clone, Debug, PartialEq)]
pub struct Problems {
    pub(super) source: Source,
    problems: Vec<Problem>,
    /// How many more there are.
    omitted: usize,
}

impl Problems {
    pub(super) fn new(source: Source) -> Self {
        Self { source, problems: Vec::new(), omitted: 0 }
    }

    /// An empty report about the same configuration as another.
    pub fn none(other: &Self) -> Self {
        Self::new(other.source.clone())
    }

    /// Adds a problem: `what` is a fragment in lower case, `instead` an instruction or empty.
    pub fn add(&mut self, place: &Place, what: impl Into<String>, instead: impl Into<String>) {
        self.insert(place, what.into(), instead.into(), None);
    }

    /// Adds a problem of which only a terminal shows all: `words`, in the place of `what` and `instead`.
    pub(super) fn add_private(
        &mut self,
        place: &Place,
        what: impl Into<String>,
        instead: impl Into<String>,
        words: Words,
    ) {
        self.insert(place, what.into(), instead.into(), Some(words));
    }

    fn insert(&mut self, place: &Place, what: String, instead: String, words: Option<Words>) {
        if self.problems.len() == MOST {
            self.omitted += 1;
            return;
        }
        let problem = Problem {
            file: place.file.as_deref().unwrap_or(self.source.name()).to_owned(),
            line: place.line,
            column: place.column,
            key: place.key.clone(),
            message: what,
            help: instead,
            words,
            at: place.at,
            width: place.width,
        };
        let after = self.problems.partition_point(|other| other.order() <= problem.order());
        self.problems.insert(after, problem);
    }

    /// Adds all of another report about the same configuration.
    pub fn extend(&mut self, other: Self) {
        for problem in other.problems {
            if self.problems.len() == MOST {
                self.omitted += 1;
                continue;
            }
            let after = self.problems.partition_point(|other| other.order() <= problem.order());
            self.problems.insert(after, problem);
        }
        self.omitted += other.omitted;
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many things are wrong.
    pub fn len(&self) -> usize {
        self.problems.len() + self.omitted
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
    }

    /// The problems as programs read them, and last how many more there are.
    pub fn findings(&self, severity: Severity) -> impl Iterator<Item = Finding<'_>> {
        let more = self.more().map(|more| Finding {
            severity,
            file: self.source.name(),
            line: 0,
            column: 0,
            key: "",
            message: more.into(),
            help: "",
        });
        self.problems.iter().map(move |problem| Finding::of(problem, severity)).chain(more)
    }

    /// For the eyes of who wrote the file: each problem with its line of it, underlined, and in a component's own words.
    /// `lead` stands before each.
    pub fn on_terminal<'p>(&'p self, lead: &'p str) -> impl fmt::Display + use<'p> {
        OnTerminal(self, lead)
    }

    /// Says how many there are beyond those that are told.
    pub fn more(&self) -> Option<String> {
        (self.omitted > 0).then(|| format!("and {} more problems", self.omitted))
    }
}

impl Problem {
    /// Where it stands among others; what has no line comes first.
    fn order(&self) -> (bool, usize) {
        (self.line > 0, self.at)
    }

    /// `file:line:column: key: `, without the parts that are unknown.
    fn place(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        f.write_str(" ")
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl std::error::Error for Problems {}

impl<'p> Finding<'p> {
    fn of(problem: &'p Problem, severity: Severity) -> Self {
        let Problem { file, line, column, key, message, help, .. } = problem;
        Self { severity, file, line: *line, column: *column, key, message: message.into(), help }
    }
}

/// An array of errors.
impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.findings(Severity::Error))
    }
}

/// `file:line:column: key: message; help`, without the parts that are unknown.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place(f)?;
        f.write_str(&self.message)?;
        if !self.help.is_empty() {
            write!(f, "; {}", self.help)?;
        }
        Ok(())
    }
}

/// A line for each problem.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        self.more().map_or(Ok(()), |more| write!(f, "\n{more}"))
    }
}

struct OnTerminal<'p>(&'p Problems, &'p str);

impl fmt::Display for OnTerminal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            f.write_str(self.1)?;
            match &problem.words {
                Some(words) => {
                    problem.place(f)?;
                    writeln!(f, "{}", printable(words.reveal()))?;
                }
                None => writeln!(f, "{problem}")?,
            }
            if problem.line > 0 {
                underline(f, &self.0.source, problem)?;
            }
        }
        self.0.more().map_or(Ok(()), |more| writeln!(f, "\n{more}"))
    }
}

/// Prints what of the line fits a terminal.
fn underline(f: &mut fmt::Formatter<'_>, source: &Source, problem: &Problem) -> fmt::Result {
    let column = problem.column.saturating_sub(1);
    let shown_before = if column < SHOWN { column } else { SHOWN / 2 };
    let (before, after) = source.around(problem.at, shown_before, SHOWN - shown_before);
    let (before, after) = (printable(before), printable(after));
    let after = after.trim_end();
    let gutter = problem.line.to_string();
    let indent = " ".repeat(before.chars().count());
    let carets = "^".repeat(problem.width.min(after.chars().count()).max(1));
    writeln!(f, "{gutter} | {before}{after}")?;
    writeln!(f, "{:1$} | {indent}{carets}", "", gutter.len())
}

/// Control characters, which could be terminal commands, become spaces.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Nobody reads more, and somebody holds them all: a caller of the admin API, a log.
const MOST: usize = 1000;
