//! The files of a configuration as one tree.
//!
//! Tables of `components` and `upstreams`, and lists of `listeners` and `routes`, may stand in several files; every other
//! key in one.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::reader::join;
use super::source::Source;

/// A tree whose spans are those of all files in a row.
pub(super) struct Document<'s> {
    pub(super) table: DeTable<'s>,
    /// What is wrong with the syntax, and where the file begins in which it is.
    pub(super) syntax: Vec<(usize, toml::de::Error)>,
    pub(super) twice: Vec<Twice>,
}

/// A key that stands in two files.
pub(super) struct Twice {
    pub(super) key: String,
    pub(super) first: Range<usize>,
    pub(super) again: Range<usize>,
}

/// Reads all files.
pub(super) fn read(source: &Source) -> Document<'_> {
    let mut document = Document { table: DeTable::new(), syntax: Vec::new(), twice: Vec::new() };
    for (start, text) in source.texts() {
        let (table, errors) = DeTable::parse_recoverable(text);
        document.syntax.extend(errors.into_iter().map(|error| (start, error)));
        if start == 0 {
            document.table = table.into_inner();
        } else {
            document.merge(moved_table(table.into_inner(), start));
        }
    }
    document
}

impl<'s> Document<'s> {
    fn merge(&mut self, table: DeTable<'s>) {
        for (name, value) in table {
            // What a file includes has been read by now.
            if name.get_ref() == "include" {
                continue;
            }
            let first = self.table.get_key_value(name.get_ref().as_ref()).map(|(first, _)| first.span());
            let Some(first) = first else {
                self.table.insert(name, value);
                continue;
            };
            let is_shared = SHARED.contains(&name.get_ref().as_ref());
            let known = self.table.get_mut(name.get_ref().as_ref()).map(Spanned::get_mut);
            let again = name.span();
            match (known, value.into_inner()) {
                (Some(DeValue::Array(known)), DeValue::Array(more)) if is_shared => {
                    more.into_iter().for_each(|element| known.push(element));
                }
                (Some(DeValue::Table(known)), DeValue::Table(more)) if is_shared => {
                    for (below, value) in more {
                        match known.get_key_value(below.get_ref().as_ref()) {
                            Some((first, _)) => self.twice.push(Twice {
                                key: join(name.get_ref(), below.get_ref()),
                                first: first.span(),
                                again: below.span(),
                            }),
                            None => drop(known.insert(below, value)),
                        }
                    }
                }
                _ => self.twice.push(Twice { key: join("", name.get_ref()), first, again }),
            }
        }
    }
}

/// What may stand in several files.
const SHARED: [&str; 5] = ["components", "listeners", "routes", "tokens", "upstreams"];

fn moved_table(table: DeTable<'_>, by: usize) -> DeTable<'_> {
    let mut moved = DeTable::new();
    for (name, value) in table {
        moved.insert(Spanned::new(shifted(name.span(), by), name.into_inner()), moved_value(value, by));
    }
    moved
}

fn moved_value(value: Spanned<DeValue<'_>>, by: usize) -> Spanned<DeValue<'_>> {
    let span = shifted(value.span(), by);
    let value = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(moved_table(table, by)),
        DeValue::Array(array) => DeValue::Array(array.into_iter().map(|element| moved_value(element, by)).collect()),
        plain => plain,
    };
    Spanned::new(span, value)
}

fn shifted(span: Range<usize>, by: usize) -> Range<usize> {
    span.start + by..span.end + by
}
