//! What a component has against its configuration, told so that it quotes nothing of it.
//!
//! By the contract a component's words begin with the key that they are about, as in `tokens[0].user: expected text,
//! found a list`. The key is looked up in the file, which gives a place; of the rest only a few phrases are told, which
//! stand below. Whatever else a component says is for a terminal.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{
    document,
    problem::Problems,
    reader::{join, kind},
    source::Place,
};
use crate::component::Words;

/// A component refuses the configuration of one of its uses.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Where the use stands.
    pub place: Place,
    /// The component's name.
    pub component: String,
    /// What it says.
    pub words: Words,
}

impl Problems {
    /// Adds refusals of configurations.
    pub fn add_refusals(&mut self, refusals: &[Refusal]) {
        if refusals.is_empty() {
            return;
        }
        // Once for all of them; for none, which is the usual number, not at all.
        let source = self.source.clone();
        let document = document::read(&source).table;
        for refusal in refusals {
            self.add_refusal(&document, refusal);
        }
    }

    fn add_refusal(&mut self, document: &DeTable<'_>, Refusal { place, component, words }: &Refusal) {
        let lead = format!("component `{component}` refuses its configuration");
        let told = format!("{lead}: {}", words.reveal());
        let Some(used) = find(document, &place.key) else {
            return self.add_private(place, lead, ADVICE, Words::new(told));
        };
        let Inside { node, rest, key, span } = inside(used, words.reveal());
        let key = format!("{}.config{key}", place.key);
        let at = |span: Range<usize>, key: &str| self.source.place(&span, key);
        let place = span.map_or_else(|| Place { key: key.clone(), ..place.clone() }, |span| at(span, &key));
        match phrase(node, rest) {
            Some(Phrase { what, below }) => {
                let below = below.and_then(|name| node.as_table()?.get_key_value(name));
                let place = below.map_or(place, |(name, _)| at(name.span(), &join(&key, name.get_ref())));
                self.add_private(&place, format!("{lead}: {what}"), "", Words::new(told));
            }
            None => self.add_private(&place, lead, ADVICE, Words::new(told)),
        }
    }

    /// Adds that a component, used at `place`, failed over its configuration, after these words if it had any.
    pub fn add_failure(&mut self, place: &Place, failure: &str, words: Option<&Words>) {
        const MEND: &str = "mend the component";
        match words {
            Some(words) => {
                let told = format!("{failure}: {}; {MEND}", words.reveal());
                self.add_private(place, failure, ADVICE, Words::new(told));
            }
            None => self.add(place, failure, MEND),
        }
    }
}

/// What a component has something against.
struct Inside<'n, 'w> {
    node: &'n DeValue<'n>,
    /// What it has.
    rest: &'w str,
    /// The way to it from the component's `config`.
    key: String,
    /// `None`: the operator has written no `config`.
    span: Option<Range<usize>>,
}

/// Follows the key that words begin with, as far as the file has it.
fn inside<'n, 'w>(used: &'n DeValue<'n>, words: &'w str) -> Inside<'n, 'w> {
    let Some(config) = used.get("config") else {
        return Inside { node: used, rest: words, key: String::new(), span: None };
    };
    let mut found = Inside { node: config.get_ref(), rest: words, key: String::new(), span: Some(config.span()) };
    loop {
        let (step, value) = match found.node {
            DeValue::Array(array) => {
                let index = found.rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                let Some((index, value)) =
                    index.and_then(|(index, _)| Some((index, array.get(index.parse::<usize>().ok()?)?)))
                else {
                    return found.said();
                };
                (format!("[{index}]"), value)
            }
            DeValue::Table(table) => {
                let rest = found.rest.strip_prefix('.').unwrap_or(found.rest);
                let begins = |name: &str| rest.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '[', ':']));
                let named = table.iter().filter(|(name, _)| begins(name.get_ref()));
                let Some((name, value)) = named.max_by_key(|(name, _)| name.get_ref().len()) else {
                    return found.said();
                };
                found.rest = rest;
                (name.get_ref().to_string(), value)
            }
            _ => return found.said(),
        };
        found.rest = found.rest.get(step.len()..).unwrap_or_default();
        found.key.push_str(&if step.starts_with('[') { step } else { join(".", &step).split_off(1) });
        found.node = value.get_ref();
        found.span = Some(value.span());
    }
}

impl Inside<'_, '_> {
    fn said(mut self) -> Self {
        self.rest = self.rest.strip_prefix(": ").unwrap_or(self.rest);
        self
    }
}

/// Something that can be told, because it is ours.
struct Phrase<'w> {
    what: String,
    /// The key below that it is about.
    below: Option<&'w str>,
}

fn phrase<'w>(node: &DeValue<'_>, words: &'w str) -> Option<Phrase<'w>> {
    if let Some(rest) = words.strip_prefix("expected ") {
        let expected =
            KINDS.iter().find(|kind| rest.strip_prefix(**kind).is_some_and(|rest| !rest.starts_with(is_word)))?;
        return Some(Phrase { what: format!("expected {expected}, found {}", kind(node)), below: None });
    }
    let named = words.strip_prefix("unknown key `").and_then(|rest| rest.split_once('`'));
    if let Some((name, _)) = named.filter(|(name, _)| node.as_table().is_some_and(|table| table.contains_key(*name))) {
        return Some(Phrase { what: "unknown key".to_owned(), below: Some(name) });
    }
    let name = words.strip_prefix('`').and_then(|rest| rest.strip_suffix("` is missing"))?;
    let is_name = name.len() <= LONGEST_NAME && !name.is_empty() && name.chars().all(is_word);
    (is_name && !holds(node, name)).then(|| Phrase { what: format!("`{name}` is missing"), below: None })
}

fn is_word(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_' || character == '-'
}

/// Whether a text within this one has these words in it.
fn holds(node: &DeValue<'_>, words: &str) -> bool {
    match node {
        DeValue::String(text) => text.contains(words),
        DeValue::Array(array) => array.iter().any(|element| holds(element.get_ref(), words)),
        DeValue::Table(table) => table.values().any(|value| holds(value.get_ref(), words)),
        _ => false,
    }
}

/// The value with this path, as [`join`] and the elements of lists make them.
fn find<'n>(document: &'n DeTable<'n>, path: &str) -> Option<&'n DeValue<'n>> {
    let (name, mut rest) = name(path)?;
    let mut node = document.get(name.as_str())?.get_ref();
    while !rest.is_empty() {
        if let Some((index, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            node = node.as_array()?.get(index.parse::<usize>().ok()?)?.get_ref();
            rest = after;
        } else {
            let (name, after) = self::name(rest.strip_prefix('.')?)?;
            node = node.as_table()?.get(name.as_str())?.get_ref();
            rest = after;
        }
    }
    Some(node)
}

/// The name that a path begins with, and the rest. Names that can be used have no character that is escaped.
fn name(path: &str) -> Option<(String, &str)> {
    match path.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').map(|(name, rest)| (name.to_owned(), rest)),
        None => {
            let end = path.find(['.', '[']).unwrap_or(path.len());
            let (name, rest) = path.split_at(end);
            Some((name.to_owned(), rest))
        }
    }
}

/// What a component may say that it expects.
const KINDS: [&str; 9] = [
    "`true` or `false`",
    "a list",
    "a number",
    "a table",
    "a whole number",
    "a character",
    "nothing",
    "text or a table",
    "text",
];
/// What a component says that is not told.
const ADVICE: &str = "`tidegate check` on a terminal shows what it says";
/// Longer than any key.
const LONGEST_NAME: usize = 40;
