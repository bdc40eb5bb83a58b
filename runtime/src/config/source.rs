//! The text of a configuration, and where in it something stands.
//!
//! The files that one includes follow it in one text, so that a span of bytes tells the file, too. Line and column are
//! found from marks in short distances: a file of a hundred thousand endpoints, on one line or on many, asks for as many
//! places.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

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
    /// `None` where no file is to blame by itself.
    pub(super) file: Option<Arc<str>>,
    /// Where it stands among all files.
    pub(super) at: usize,
    /// How many characters the thing takes, for the underline; no more than are ever shown.
    pub(super) width: usize,
}

impl Place {
    /// A key that stands in no single line, as one that is missing.
    pub fn of_key(key: &str) -> Self {
        Self { key: key.to_owned(), ..Self::default() }
    }

    /// The line for somebody who reads about `other`: with its file where that is another one.
    pub(super) fn seen_from(&self, other: &Self) -> String {
        match &self.file {
            Some(file) if other.file.as_ref().is_some_and(|other| other != file) => {
                format!("line {} of {file}", self.line)
            }
            _ => format!("line {}", self.line),
        }
    }
}

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Place {}

/// A configuration's text and the files it comes from. Compares equal always, like [`Place`]. It may hold secrets, so
/// that `Debug` shows the files alone.
#[derive(Clone)]
pub(super) struct Source(Arc<Texts>);

#[derive(Default)]
struct Texts {
    text: String,
    /// At least one, in the order of their texts.
    files: Vec<File>,
    /// Line and column, counted from 0, of the character at every [`STEP`]th byte.
    marks: Vec<(usize, usize)>,
}

struct File {
    name: Arc<str>,
    start: usize,
}

impl PartialEq for Source {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.files.iter().map(|file| &file.name)).finish()
    }
}

impl Source {
    /// The text of one file.
    pub(super) fn new(file: &str, text: &str) -> Self {
        Self::of([(file, text)])
    }

    /// The texts of several files; all others are included by the first.
    pub(super) fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut texts = Texts::default();
        for (name, text) in files {
            texts.add(name, text);
        }
        Self(Arc::new(texts))
    }

    /// The name of the first file.
    pub(super) fn name(&self) -> &str {
        self.0.files.first().map_or("", |file| &file.name)
    }

    /// Where the file with this number begins.
    pub(super) fn start(&self, file: usize) -> usize {
        self.0.files.get(file).map_or(0, |file| file.start)
    }

    /// The text of each file, and where it begins.
    pub(super) fn texts(&self) -> impl Iterator<Item = (usize, &str)> {
        let ends = self.0.files.iter().skip(1).map(|next| next.start).chain([self.0.text.len()]);
        let spans = self.0.files.iter().zip(ends);
        spans.map(|(file, end)| (file.start, self.0.text.get(file.start..end).unwrap_or_default()))
    }

    /// The place of a span of bytes; a span that does not fit the text ends up at the next character before it.
    pub(super) fn place(&self, span: &Range<usize>, key: &str) -> Place {
        let Texts { text, files, .. } = &*self.0;
        let at = text.floor_char_boundary(span.start);
        let file = files.get(files.partition_point(|file| file.start <= at).saturating_sub(1));
        let (line, column) = self.0.position(at, file.map_or(0, |file| file.start));
        let end = text.floor_char_boundary(span.end.max(at));
        let thing = text.get(at..end).unwrap_or_default();
        Place {
            line: line + 1,
            column: column + 1,
            key: key.to_owned(),
            file: file.map(|file| file.name.clone()),
            at,
            width: thing.chars().take(SHOWN).take_while(|c| *c != '\n').count(),
        }
    }

    /// What stands on the same line before and after a place, at most so many characters each.
    pub(super) fn around(&self, at: usize, most_before: usize, most_after: usize) -> (&str, &str) {
        let (before, after) = self.0.text.split_at(self.0.text.floor_char_boundary(at));
        let start =
            before.char_indices().rev().take(most_before).take_while(|(_, character)| *character != '\n').last();
        let end = after.char_indices().take(most_after).take_while(|(_, character)| *character != '\n').last();
        let before = start.and_then(|(start, _)| before.get(start..)).unwrap_or_default();
        (before, end.and_then(|(end, last)| after.get(..end + last.len_utf8())).unwrap_or_default())
    }
}

impl Texts {
    fn add(&mut self, name: &str, text: &str) {
        // A line of one file must not run on in the next.
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.append("\n", (0, 0));
        }
        self.files.push(File { name: name.into(), start: self.text.len() });
        self.append(text, (0, 0));
    }

    fn append(&mut self, text: &str, (mut line, mut column): (usize, usize)) {
        for (offset, character) in text.char_indices() {
            let next = self.text.len() + offset + character.len_utf8();
            if self.marks.len() * STEP < next {
                self.marks.push((line, column));
            }
            (line, column) = after(character, (line, column));
        }
        self.text.push_str(text);
    }

    /// Line and column of a byte within its file, which begins at `start`.
    fn position(&self, at: usize, start: usize) -> (usize, usize) {
        let mark = at / STEP;
        let (from, position) = match self.marks.get(mark) {
            Some(position) if mark * STEP >= start => (self.text.floor_char_boundary(mark * STEP), *position),
            _ => (start, (0, 0)),
        };
        let between = self.text.get(from..at).unwrap_or_default();
        between.chars().fold(position, |position, character| after(character, position))
    }
}

/// Line and column behind a character.
fn after(character: char, (line, column): (usize, usize)) -> (usize, usize) {
    if character == '\n' { (line + 1, 0) } else { (line, column + 1) }
}

/// Bytes between two marks: a place costs as many steps at most, and a mark takes 16 bytes.
const STEP: usize = 256;
/// How many characters of a line are shown at most.
pub(super) const SHOWN: usize = 110;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Line and column, counted from the start.
    fn counted(text: &str, at: usize) -> (usize, usize) {
        let before = &text[..at];
        let line = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line..].chars().count() + 1)
    }

    proptest! {
        #[test]
        fn places_are_those_that_counting_from_the_start_of_the_file_gives(
            texts in prop::collection::vec("[aé\u{1f30a}\\n]{0,700}", 1..4),
        ) {
            let names: Vec<String> = (0..texts.len()).map(|index| format!("{index}.toml")).collect();
            let source = Source::of(names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())));
            for (index, (text, (start, kept))) in texts.iter().zip(source.texts()).enumerate() {
                prop_assert_eq!(text.trim_end_matches('\n'), kept.trim_end_matches('\n'));
                for (at, _) in text.char_indices() {
                    let place = source.place(&(start + at..start + at + 1), "");
                    prop_assert_eq!((place.line, place.column), counted(text, at));
                    prop_assert_eq!(place.file.as_deref(), Some(names[index].as_str()));
                }
            }
        }
    }
}
