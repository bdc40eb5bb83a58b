//! What is wrong with a configuration, and where.
//!
//! Reading never stops at the first problem. Later stages, which compile components and let them read their own
//! configuration, add theirs to the same report through the [`Place`] that each part of the configuration keeps.

use std::{fmt, sync::Arc};

use serde::{Serialize, Serializer, ser::SerializeSeq};

/// Where something stands in a configuration file.
///
/// Places compare equal: where something stands is no part of what it says, so a file that gained a comment is still
/// the same configuration.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// Counted from 1; 0 where no single line is to blame.
    pub line: usize,
    /// Counted in characters from 1.
    pub column: usize,
    /// The path of the key, `routes[0].filters[1]`; empty for a syntax error.
    pub key: String,
    /// How many characters the thing takes, for the underline.
    pub(super) width: usize,
}

impl Place {
    /// A key that stands in no single line, as one that is missing.
    pub fn of_key(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A configuration's text and what it is called. Compares equal always, like [`Place`].
#[derive(Clone, Debug)]
pub(super) struct Source {
    file: Arc<str>,
    text: Arc<str>,
}

impl PartialEq for Source {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Source {
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self { file: file.into(), text: text.into() }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The place of a span of bytes; a span that does not fit the text ends up at the next character before it.
    pub(super) fn place(&self, span: &std::ops::Range<usize>, key: &str) -> Place {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end.max(start));
        let (before, after) = self.text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let thing = after.get(..end - start).unwrap_or_default();
        Place {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            key: key.to_owned(),
            width: thing.lines().next().unwrap_or_default().chars().count(),
        }
    }

    fn line(&self, number: usize) -> Option<&str> {
        self.text.lines().nth(number.checked_sub(1)?)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
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
    pub what: String,
    /// What to write instead, as an instruction; empty where there is no advice.
    pub instead: String,
    #[serde(skip)]
    width: usize,
}

/// Everything that is wrong with one configuration, in the order of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Problems {
    source: Source,
    problems: Vec<Problem>,
}

impl Problems {
    pub(super) fn new(source: Source) -> Self {
        Self { source, problems: Vec::new() }
    }

    /// Adds a problem: `what` is a fragment in lower case, `instead` an instruction or empty.
    pub fn add(&mut self, place: &Place, what: impl Into<String>, instead: impl Into<String>) {
        let problem = Problem {
            file: self.source.file.to_string(),
            line: place.line,
            column: place.column,
            key: place.key.clone(),
            what: what.into(),
            instead: instead.into(),
            width: place.width,
        };
        let after = self.problems.partition_point(|other| (other.line, other.column) <= (problem.line, problem.column));
        self.problems.insert(after, problem);
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// How many things are wrong.
    pub fn len(&self) -> usize {
        self.problems.len()
    }

    /// The problems in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.problems.iter()
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

/// An array of problems.
impl Serialize for Problems {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut array = serializer.serialize_seq(Some(self.problems.len()))?;
        for problem in &self.problems {
            array.serialize_element(problem)?;
        }
        array.end()
    }
}

/// `file:line:column: key: what; instead`, without the parts that are unknown.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file)?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.what)?;
        if !self.instead.is_empty() {
            write!(f, "; {}", self.instead)?;
        }
        Ok(())
    }
}

/// Each problem followed by its line of the file, underlined.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{problem}")?;
            if let Some(line) = self.source.line(problem.line) {
                underline(f, line, problem)?;
            }
        }
        Ok(())
    }
}

/// Prints what of the line fits a terminal. Control characters, which could be terminal commands, become spaces.
fn underline(f: &mut fmt::Formatter<'_>, line: &str, problem: &Problem) -> fmt::Result {
    const SHOWN: usize = 110;
    let column = problem.column.saturating_sub(1);
    let skipped = if column < SHOWN { 0 } else { column - SHOWN / 2 };
    let shown: String = line.chars().skip(skipped).take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let shown = shown.trim_end();
    let gutter = problem.line.to_string();
    let indent = " ".repeat(column - skipped);
    let room = shown.chars().count().saturating_sub(column - skipped);
    let carets = "^".repeat(problem.width.min(room).max(1));
    writeln!(f, "{gutter} | {shown}")?;
    writeln!(f, "{:1$} | {indent}{carets}", "", gutter.len())
}
