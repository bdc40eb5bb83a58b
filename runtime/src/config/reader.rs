//! A typed cursor over the parsed file that reports what it does not like and goes on.
//!
//! What a table may hold is declared once, as the [`Key`]s of a [`Section`]: names, defaults and meanings. A key is read by its
//! declaration, which gives its default; the section refuses unknown keys, and is printed as the reference. A failed read is a [`Refused`], which exists only
//! where a problem has been reported; so a section reads all of its keys first and asks for the results afterwards.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

use super::problem::Problems;
use super::secret::{MISPLACED, is_secret};
use super::source::{Place, Source};
use crate::component::Words;

/// What a table may hold.
pub(super) struct Section {
    /// As a user would write its header.
    pub(super) title: &'static str,
    pub(super) about: &'static str,
    pub(super) keys: &'static [Key],
}

impl Section {
    /// Whether it lists this very key, and not another of the same name.
    fn has(&self, key: &Key) -> bool {
        self.keys.iter().any(|known| known.name == key.name && known.meaning == key.meaning)
    }

    fn declares(&self, name: &str) -> bool {
        self.keys.iter().any(|key| key.name == name)
    }
}

/// A key of a [`Section`].
pub(super) struct Key {
    pub(super) name: &'static str,
    /// The type, in words.
    pub(super) takes: &'static str,
    pub(super) absent: Absent,
    /// A value in TOML, for the advice when the key is missing.
    pub(super) example: &'static str,
    pub(super) meaning: &'static str,
}

/// What it means that a key is not there.
pub(super) enum Absent {
    /// It is a problem.
    Missing,
    /// The same as this value, in TOML.
    Default(&'static str),
    /// What these words say.
    Means(&'static str),
}

/// The value was refused, and the problem has been reported.
#[derive(Debug)]
pub(super) struct Refused(());

pub(super) type Read<T> = Result<T, Refused>;

/// Why a text is refused, and what to write instead.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub(super) what: String,
    pub(super) instead: String,
}

impl Fault {
    pub(super) fn new(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), instead: instead.into() }
    }
}

/// Collects the problems of one file.
pub(super) struct Report {
    source: Source,
    problems: RefCell<Problems>,
    /// Where texts begin that are not, or not all, as they stand in the file.
    expanded: BTreeSet<usize>,
    /// Where texts begin of which something is told already.
    told: RefCell<BTreeSet<usize>>,
}

impl Report {
    pub(super) fn new(source: Source, expanded: BTreeSet<usize>) -> Self {
        Self { problems: RefCell::new(Problems::new(source.clone())), source, expanded, told: RefCell::default() }
    }

    /// Reports a problem. What came from the environment may be a secret, and what is wrong with it may quote it.
    pub(super) fn refuse(&self, place: &Place, what: impl Into<String>, instead: impl Into<String>) -> Refused {
        let mut problems = self.problems.borrow_mut();
        if place.line > 0 && self.told.borrow().contains(&place.at) {
            return Refused(());
        }
        if place.line > 0 && self.expanded.contains(&place.at) {
            let words = Words::new(format!("{}; {}", what.into(), instead.into()));
            let advice = "`tidegate check` on a terminal shows what it is";
            problems.add_private(place, "what the environment has for this does not fit", advice, words);
        } else {
            problems.add(place, what, instead);
        }
        Refused(())
    }

    /// Reports what is wrong with the text at a span; whatever else is wrong with it follows from that.
    pub(super) fn fault(&self, span: &Range<usize>, key: &str, fault: Fault) {
        let place = self.source.place(span, key);
        self.told.borrow_mut().insert(place.at);
        self.problems.borrow_mut().add(&place, fault.what, fault.instead);
    }

    pub(super) fn into_problems(self) -> Problems {
        self.problems.into_inner()
    }
}

/// A value with its place.
#[derive(Clone)]
pub(super) struct Value<'v> {
    report: &'v Report,
    key: String,
    span: Range<usize>,
    node: &'v DeValue<'v>,
}

impl<'v> Value<'v> {
    pub(super) fn place(&self) -> Place {
        self.report.source.place(&self.span, &self.key)
    }

    pub(super) fn node(&self) -> &'v DeValue<'v> {
        self.node
    }

    /// Refuses what stands at a span within this value, under this key.
    pub(super) fn refuse_below(&self, span: &Range<usize>, key: &str, fault: Fault) -> Refused {
        self.report.refuse(&self.report.source.place(span, key), fault.what, fault.instead)
    }

    pub(super) fn refuse(&self, what: impl Into<String>, instead: impl Into<String>) -> Refused {
        self.report.refuse(&self.place(), what, instead)
    }

    /// Refuses something within this value.
    pub(super) fn refuse_at(&self, place: &Place, what: impl Into<String>, instead: impl Into<String>) -> Refused {
        self.report.refuse(place, what, instead)
    }

    /// Refuses a value of the wrong type.
    pub(super) fn mistyped(&self, expected: &str, instead: impl Into<String>) -> Refused {
        if is_secret(self.node) {
            return self.refuse(MISPLACED, "write the text itself, or `${NAME}` for a variable of the environment");
        }
        self.refuse(format!("expected {expected}, found {}", kind(self.node)), instead)
    }

    pub(super) fn string(&self, expected: &str, instead: &str) -> Read<&'v str> {
        self.node.as_str().ok_or_else(|| self.mistyped(expected, instead))
    }

    /// Reads a text with a parser that knows nothing of places.
    pub(super) fn parsed<T>(
        &self,
        expected: &str,
        instead: &str,
        parse: impl FnOnce(&str) -> Result<T, Fault>,
    ) -> Read<T> {
        parse(self.string(expected, instead)?).map_err(|fault| self.refuse(fault.what, fault.instead))
    }

    /// Reads every element of a list, also past one that is refused.
    pub(super) fn each<T>(&self, expected: &str, instead: &str, read: impl Fn(&Value<'v>) -> Read<T>) -> Read<Vec<T>> {
        let Some(array) = self.node.as_array() else {
            return Err(self.mistyped(expected, instead));
        };
        let read_all: Vec<Read<T>> = array
            .iter()
            .enumerate()
            .map(|(index, element)| {
                read(&Value {
                    report: self.report,
                    key: format!("{}[{index}]", self.key),
                    span: element.span(),
                    node: element.get_ref(),
                })
            })
            .collect();
        read_all.into_iter().collect()
    }

    /// A table whose keys are the user's own, in the order of the file; the name comes with the place of the key.
    pub(super) fn entries(&self, expected: &str, instead: &str) -> Read<Vec<(&'v str, Place, Value<'v>)>> {
        let Some(table) = self.node.as_table() else {
            return Err(self.mistyped(expected, instead));
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        Ok(entries
            .into_iter()
            .map(|(name, value)| {
                let key = join(&self.key, name.get_ref());
                let place = self.report.source.place(&name.span(), &key);
                (
                    name.get_ref().as_ref(),
                    place,
                    Value { report: self.report, key, span: value.span(), node: value.get_ref() },
                )
            })
            .collect())
    }

    /// A table with declared keys. Unknown keys are reported here and now.
    pub(super) fn table(&self, section: &'static Section, instead: &str) -> Read<Table<'v>> {
        match self.node {
            DeValue::Table(table) if !is_secret(self.node) => {
                Ok(Table::new(self.report, section, table, self.key.clone(), self.span.clone()))
            }
            _ => Err(self.mistyped("a table", instead)),
        }
    }
}

/// A table with declared keys.
pub(super) struct Table<'v> {
    report: &'v Report,
    section: &'static Section,
    /// `None`: a table that is not in the file.
    table: Option<&'v DeTable<'v>>,
    key: String,
    span: Range<usize>,
}

impl<'v> Table<'v> {
    pub(super) fn new(
        report: &'v Report,
        section: &'static Section,
        table: &'v DeTable<'v>,
        key: String,
        span: Range<usize>,
    ) -> Self {
        let this = Self { report, section, table: Some(table), key, span };
        for name in table.keys() {
            if !section.declares(name.get_ref()) {
                let place = report.source.place(&name.span(), &join(&this.key, name.get_ref()));
                report.refuse(&place, format!("unknown key in {}", section.title), this.valid_keys(name.get_ref()));
            }
        }
        this
    }

    /// A table of which only the defaults can be read.
    pub(super) fn empty(&self, section: &'static Section) -> Self {
        Self { report: self.report, section, table: None, key: String::new(), span: 0..0 }
    }

    pub(super) fn place(&self) -> Place {
        self.report.source.place(&self.span, &self.key)
    }

    pub(super) fn refuse(&self, place: &Place, what: impl Into<String>, instead: impl Into<String>) -> Refused {
        self.report.refuse(place, what, instead)
    }

    /// The value as it stands in the file, if it does. What is read must be declared here, as what is declared must be read,
    /// which a test of the reference sees to.
    pub(super) fn value(&self, key: &Key) -> Option<Value<'v>> {
        let name = key.name;
        debug_assert!(self.section.has(key), "this `{name}` is none of {}", self.section.title);
        let value = self.table?.get(name)?;
        Some(Value { report: self.report, key: join(&self.key, name), span: value.span(), node: value.get_ref() })
    }

    /// Reads a key that may be absent.
    pub(super) fn optional<T>(&self, key: &Key, read: impl FnOnce(&Value<'_>) -> Read<T>) -> Read<Option<T>> {
        self.value(key).map(|value| read(&value)).transpose()
    }

    /// Reads a key, or its declared default; absent without a default is a problem.
    pub(super) fn read<T>(&self, key: &Key, read: impl FnOnce(&Value<'_>) -> Read<T>) -> Read<T> {
        if let Some(value) = self.value(key) {
            return read(&value);
        }
        if let Absent::Default(text) = key.absent
            && let Some(default) = DEFAULTS.get(text)
        {
            let key = join(&self.key, key.name);
            return read(&Value { report: self.report, key, span: self.span.clone(), node: default });
        }
        let Key { name, example, .. } = key;
        let advice = format!("write `{name} = {example}`");
        Err(self.refuse(&self.place(), format!("`{name}` is missing"), advice))
    }

    fn valid_keys(&self, unknown: &str) -> String {
        if let Some(close) = closest(unknown, self.section.keys.iter().map(|key| key.name)) {
            return format!("did you mean `{close}`?");
        }
        let elsewhere: Vec<_> = super::sections::ALL
            .iter()
            .filter(|section| section.declares(unknown))
            .map(|section| section.title)
            .collect();
        if !elsewhere.is_empty() {
            return format!("`{unknown}` belongs to {}", elsewhere.join(" or "));
        }
        let names: Vec<_> = self.section.keys.iter().map(|key| key.name).collect();
        format!("the keys are {}", names.join(", "))
    }
}

/// All values that are declared as defaults, read once: each table of a large file needs them.
static DEFAULTS: LazyLock<HashMap<&'static str, DeValue<'static>>> = LazyLock::new(|| {
    let keys = super::sections::ALL.iter().flat_map(|section| section.keys);
    let texts = keys.filter_map(|key| if let Absent::Default(text) = key.absent { Some(text) } else { None });
    texts.filter_map(|text| Some((text, DeValue::parse(text).ok()?.into_inner()))).collect()
});

/// What a value is, in the words of TOML. The value itself is not told: it may be anything, a secret too.
pub(super) fn kind(node: &DeValue<'_>) -> &'static str {
    match node {
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number",
        DeValue::Boolean(true) => "`true`",
        DeValue::Boolean(false) => "`false`",
        DeValue::String(_) => "text",
        DeValue::Datetime(_) => "a date or time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// A text as a problem quotes it: without what urls hide in front of the host and behind the path.
pub(super) fn quoted(text: &str) -> String {
    let scheme = text.find("://").map_or(0, |colon| colon + "://".len());
    let (scheme, rest) = text.split_at(scheme);
    // A password may hold whatever else means something in a url.
    let (user, rest) = rest.rsplit_once('@').map_or(("", rest), |(_, rest)| ("…@", rest));
    let end = rest.find(['?', '#']).map_or(rest.len(), |mark| mark + 1);
    let (rest, hidden) = rest.split_at(end);
    let hidden = if hidden.is_empty() { "" } else { "…" };
    format!("{:?}", format!("{scheme}{user}{rest}{hidden}"))
}

/// The one name that a mistyped one most likely stands for.
pub(super) fn closest<'n>(typed: &str, names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let length = typed.chars().count();
    let tolerance = (length / 3).max(1).min(length / 2);
    names
        .map(|name| (strsim::damerau_levenshtein(&typed.to_lowercase(), name), name))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Advice for a name that nothing has: the closest one, or all there are.
pub(super) fn suggest(typed: &str, names: &BTreeSet<String>) -> Option<String> {
    const NAMED: usize = 12;
    // Comparing with each of very many would take long for each of very many mistakes.
    const COMPARED: usize = 1000;
    if names.len() <= COMPARED
        && let Some(close) = closest(typed, names.iter().map(String::as_str))
    {
        return Some(format!("did you mean `{close}`?"));
    }
    let named: Vec<_> = names.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = if names.len() > NAMED { " and more" } else { "" };
    (!named.is_empty()).then(|| format!("there is {}{more}", named.join(", ")))
}

pub(super) fn join(path: &str, name: &str) -> String {
    let plain = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    let name = if plain { name.to_owned() } else { format!("{name:?}") };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}
