//! What a component has against its configuration, told so that it quotes nothing of it.
//!
//! By the contract a component's words begin with the key that they are about, as in `tokens[0].user: expected text,
//! found a list`. The key is looked up in the file, which gives a place; of the rest only a few phrases are told, which
//! stand below. Whatever else a component says is for a terminal, unless it was given a secret that stands elsewhere: then it
//! may quote what not even who wrote the file is to see.

use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::{
    document,
    problem::Problems,
    reader::{join, kind},
    secret::{holds_secret, is_secret},
    source::Place,
};
use crate::component::Words;

/// A component does not take the configuration of one of its uses.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Where the use stands.
    pub place: Place,
    /// Whether it refuses it, or how it fails over it.
    pub how: How,
    /// What it says.
    pub words: Words,
}

/// How a component does not take a configuration.
#[derive(Clone, Debug)]
pub enum How {
    /// The component with this name refuses it.
    Refused(String),
    /// It fails so.
    Failed(String),
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
        for Refusal { place, how, words } in refusals {
            match how {
                How::Refused(component) => self.add_refusal(&document, place, component, words),
                How::Failed(failure) => self.add_failure(&document, place, failure, words),
            }
        }
    }

    fn add_refusal(&mut self, document: &DeTable<'_>, place: &Place, component: &str, words: &Words) {
        let lead = format!("component `{component}` refuses its configuration");
        let used = find(document, &place.key);
        let told = told(document, used, || format!("{lead}: {}", words.reveal()));
        let advice = if told.is_some() { ADVICE } else { WITHHELD };
        let Some(used) = used else { return self.add_told(place, lead, advice, told) };
        let Inside { node, rest, key, span } = inside(used, words.reveal());
        let key = format!("{}.config{key}", place.key);
        let at = |span: Range<usize>, key: &str| self.source.place(&span, key);
        let place = span.map_or_else(|| Place { key: key.clone(), ..place.clone() }, |span| at(span, &key));
        match phrase(node, rest, told.is_some()) {
            Some(Phrase { what, below }) => {
                let below = below.and_then(|name| node.as_table()?.get_key_value(name));
                let place = below.map_or(place, |(name, _)| at(name.span(), &join(&key, name.get_ref())));
                self.add_told(&place, format!("{lead}: {what}"), "", told);
            }
            None => self.add_told(&place, lead, advice, told),
        }
    }

    fn add_failure(&mut self, document: &DeTable<'_>, place: &Place, failure: &str, words: &Words) {
        let told = told(document, find(document, &place.key), || format!("{failure}: {}; {MEND}", words.reveal()));
        let advice = if told.is_some() { ADVICE } else { WITHHELD };
        self.add_told(place, failure, advice, told);
    }

    /// Adds a problem, and what a terminal shows instead, if it may show anything else.
    fn add_told(&mut self, place: &Place, what: impl Into<String>, instead: &str, told: Option<Words>) {
        match told {
            Some(told) => self.add_private(place, what, instead, told),
            None => self.add(place, what, instead),
        }
    }
}

/// What a terminal shows of what a component says; `None` where it may quote a secret.
fn told(document: &DeTable<'_>, used: Option<&DeValue<'_>>, words: impl FnOnce() -> String) -> Option<Words> {
    let has_secrets = match used {
        Some(used) => used.get("config").is_some_and(|config| holds_secret(config.get_ref())),
        // Nobody knows which configuration it is about.
        None => document.values().any(|value| holds_secret(value.get_ref())),
    };
    (!has_secrets).then(|| Words::new(words()))
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

/// What of a component's words can be told. Where it was given a secret, what it misses may be named like that.
fn phrase<'w>(node: &DeValue<'_>, words: &'w str, has_no_secret: bool) -> Option<Phrase<'w>> {
    if let Some(rest) = words.strip_prefix("expected ") {
        let expected =
            KINDS.iter().find(|kind| rest.strip_prefix(**kind).is_some_and(|rest| !rest.starts_with(is_word)))?;
        let found = if is_secret(node) { "text" } else { kind(node) };
        return Some(Phrase { what: format!("expected {expected}, found {found}"), below: None });
    }
    let named = words.strip_prefix("unknown key `").and_then(|rest| rest.split_once('`'));
    if let Some((name, _)) = named.filter(|(name, _)| node.as_table().is_some_and(|table| table.contains_key(*name))) {
        return Some(Phrase { what: "unknown key".to_owned(), below: Some(name) });
    }
    let name = words.strip_prefix('`').and_then(|rest| rest.strip_suffix("` is missing"))?;
    let is_name = name.len() <= LONGEST_NAME && !name.is_empty() && name.chars().all(is_word);
    (is_name && has_no_secret && !holds(node, name))
        .then(|| Phrase { what: format!("`{name}` is missing"), below: None })
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
/// What to do about a component that fails.
pub const MEND: &str = "mend the component";
/// What a component says that is not told.
const ADVICE: &str = "`tidegate check` on a terminal shows what it says";
/// The same where no terminal shows it.
const WITHHELD: &str = "what it says is not shown, because it may quote a secret";
/// Longer than any key.
const LONGEST_NAME: usize = 40;
