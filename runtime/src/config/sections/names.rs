//! What names in the file may refer to.
//!
//! A name counts as declared even where its table is refused, so that one mistake is reported once.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::server::{COMPONENTS, TOKENS, UPSTREAMS};
use crate::component::Kind;
use crate::config::{
    reader::{Read, Table, Value, quoted, suggest},
    secret::Secrets,
    source::Place,
    types::{Component, ComponentUse, Parts},
};
use crate::token::Secret;

pub(super) struct Names<'n> {
    upstreams: BTreeSet<String>,
    tokens: BTreeSet<String>,
    declared: BTreeSet<String>,
    standard: &'n [&'n str],
    /// What relative paths are relative to.
    pub(super) base: &'n Path,
    pub(super) secrets: &'n Secrets<'n>,
    /// Standard components without an entry, and where each was first used.
    implied: RefCell<BTreeMap<String, Place>>,
    /// What could be read so far.
    found: RefCell<Parts>,
}

impl<'n> Names<'n> {
    pub(super) fn new(root: &Table<'_>, standard: &'n [&'n str], base: &'n Path, secrets: &'n Secrets<'n>) -> Self {
        let keys = |key| {
            let table = root.value(key).and_then(|value| value.node().as_table());
            table.into_iter().flat_map(|table| table.keys()).map(|key| key.get_ref().to_string()).collect()
        };
        Self {
            tokens: keys(&TOKENS),
            upstreams: keys(&UPSTREAMS),
            declared: keys(&COMPONENTS),
            standard,
            base,
            secrets,
            implied: RefCell::default(),
            found: RefCell::default(),
        }
    }

    pub(super) fn is_standard(&self, component: &str) -> bool {
        self.standard.contains(&component)
    }

    /// Reads the name of an upstream.
    pub(super) fn upstream(&self, value: &Value<'_>) -> Read<String> {
        let name = value.string("the name of an upstream", "write text such as \"chat\"")?;
        if self.upstreams.contains(name) {
            return Ok(name.to_owned());
        }
        let advice = suggest(name, &self.upstreams);
        let declare = format!("add a table [upstreams.{}]", quoted(name).trim_matches('"'));
        Err(value.refuse(format!("there is no upstream {}", quoted(name)), advice.unwrap_or(declare)))
    }

    /// Reads the name of tokens.
    pub(super) fn tokens(&self, value: &Value<'_>) -> Read<String> {
        let name = value.string("the name of tokens", "write text such as \"users\"")?;
        if self.tokens.contains(name) {
            return Ok(name.to_owned());
        }
        let advice = suggest(name, &self.tokens);
        let declare = format!("add a table [tokens.{}]", quoted(name).trim_matches('"'));
        Err(value.refuse(format!("there are no tokens {}", quoted(name)), advice.unwrap_or(declare)))
    }

    /// Reads a secret.
    pub(super) fn secret(&self, value: &Value<'_>) -> Read<Secret> {
        const ADVICE: &str = "write { secret = { env = \"NAME\" } } or { secret = { file = \"path\" } }";
        let found = match value.node().as_table() {
            Some(table) => self.secrets.of(table).map_err(|fault| value.refuse(fault.what, fault.instead))?,
            None => None,
        };
        found.map(|text| Secret::new(text.into_bytes())).ok_or_else(|| value.mistyped("a secret", ADVICE))
    }

    /// Reads the name of a component, which is declared or standard.
    pub(super) fn component(&self, value: &Value<'_>) -> Read<String> {
        let name = value.string("the name of a component", "write text such as \"rate-limit\"")?;
        self.standard(name, value)
    }

    /// A component that is needed where this stands.
    pub(super) fn standard(&self, name: &str, value: &Value<'_>) -> Read<String> {
        if self.declared.contains(name) {
            return Ok(name.to_owned());
        }
        if self.is_standard(name) {
            self.implied.borrow_mut().entry(name.to_owned()).or_insert_with(|| value.place());
            return Ok(name.to_owned());
        }
        let known = self.declared.iter().cloned().chain(self.standard.iter().map(|&name| name.to_owned())).collect();
        let advice = match suggest(name, &known) {
            Some(question) if question.ends_with('?') => format!("{question} Otherwise "),
            Some(names) => format!("{names}; otherwise "),
            None => String::new(),
        };
        let what = format!("there is no component {}", quoted(name));
        Err(value.refuse(what, format!("{advice}declare it in [components.{}]", quoted(name).trim_matches('"'))))
    }

    /// Keeps a use that could be read, whatever is wrong around it.
    pub(super) fn found_use(&self, kind: Kind, used: &ComponentUse) {
        self.found.borrow_mut().add(kind, used);
    }

    /// Keeps a component that could be read.
    pub(super) fn found_component(&self, name: &str, component: &Component) {
        self.found.borrow_mut().components.insert(name.to_owned(), component.clone());
    }

    /// The implied components with their places, and what was kept.
    pub(super) fn into_found(self) -> (BTreeMap<String, Place>, Parts) {
        (self.implied.into_inner(), self.found.into_inner())
    }
}
