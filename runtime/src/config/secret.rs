//! `{ secret = { env = "NAME" } }` and `{ secret = { file = "path" } }`: a text that stands elsewhere.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::expansion::{Environment, is_name};
use super::reader::{Fault, closest, kind};
use crate::file;

/// Looks secrets up, each file once.
pub(super) struct Secrets<'s> {
    environment: Environment<'s>,
    /// What relative paths are relative to.
    base: &'s Path,
    /// Hears of a file that is about to be read.
    told: &'s dyn Fn(&Path),
    files: RefCell<BTreeMap<PathBuf, Result<String, Fault>>>,
}

impl<'s> Secrets<'s> {
    pub(super) fn new(environment: Environment<'s>, base: &'s Path, told: &'s dyn Fn(&Path)) -> Self {
        Self { environment, base, told, files: RefCell::default() }
    }

    /// The files that were asked for, also those that are not there.
    pub(super) fn into_files(self) -> Vec<PathBuf> {
        self.files.into_inner().into_keys().collect()
    }

    /// The text that a table stands for; `None` if it is a table like any other.
    pub(super) fn of(&self, table: &DeTable<'_>) -> Result<Option<String>, Fault> {
        const ADVICE: &str = "write { secret = { env = \"NAME\" } } or { secret = { file = \"path\" } }";
        let Some(whence) = whence(table) else { return Ok(None) };
        let mut places = whence.iter();
        let (Some((name, value)), None) = (places.next(), places.next()) else {
            return Err(Fault::new("a secret comes from one place", ADVICE));
        };
        match (name.get_ref().as_ref(), value.get_ref()) {
            ("env", DeValue::String(name)) => self.variable(name).map(Some),
            ("file", DeValue::String(path)) => self.file(path).map(Some),
            (name @ ("env" | "file"), value) => {
                Err(Fault::new(format!("expected text as the `{name}` of a secret, found {}", kind(value)), ADVICE))
            }
            (name, _) => {
                let meant = closest(name, ["env", "file"].into_iter());
                let advice = meant.map_or_else(|| ADVICE.to_owned(), |meant| format!("did you mean `{meant}`?"));
                Err(Fault::new(format!("unknown key `{name}` in a secret"), advice))
            }
        }
    }

    fn variable(&self, name: &str) -> Result<String, Fault> {
        if !is_name(name) {
            return Err(Fault::new("this is no name of a variable", "use letters, digits and `_`"));
        }
        let value = (self.environment)(name).ok_or_else(|| {
            let what = format!("the environment has no variable `{name}`, or it is no text");
            Fault::new(what, format!("set `{name}`"))
        })?;
        if value.is_empty() {
            return Err(Fault::new(format!("the variable `{name}` is empty"), format!("set `{name}` to the secret")));
        }
        Ok(value)
    }

    fn read(&self, path: &Path) -> Result<String, Fault> {
        (self.told)(path);
        read(path)
    }

    fn file(&self, path: &str) -> Result<String, Fault> {
        let path = self.base.join(path);
        self.files.borrow_mut().entry(path).or_insert_with_key(|path| self.read(path)).clone()
    }
}

/// Whether a value stands for a secret, whatever is wrong with it: it is a table with the one key `secret`, which is a table,
/// and no secret itself, as that of a component's own key `secret` may be.
pub(super) fn is_secret(value: &DeValue<'_>) -> bool {
    value.as_table().is_some_and(|table| whence(table).is_some())
}

/// Whether there is a secret in a value.
pub(super) fn holds_secret(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Array(array) => array.iter().any(|element| holds_secret(element.get_ref())),
        DeValue::Table(table) => is_secret(value) || table.values().any(|value| holds_secret(value.get_ref())),
        _ => false,
    }
}

/// Where a secret comes from, if a table is one.
fn whence<'t, 'd>(table: &'t DeTable<'d>) -> Option<&'t DeTable<'d>> {
    let place = table.get("secret").filter(|_| table.len() == 1).and_then(|place| place.get_ref().as_table());
    place.filter(|place| whence(place).is_none())
}

/// The text of a file, without one end of line.
fn read(path: &Path) -> Result<String, Fault> {
    const ADVICE: &str = "name a file that holds the secret and nothing else";
    let fault = |what: &dyn std::fmt::Display| Fault::new(format!("the file {} {what}", path.display()), ADVICE);
    let bytes = file::read(path, MOST).map_err(|error| fault(&format_args!("cannot be read: {error}")))?;
    let mut text = String::from_utf8(bytes).map_err(|_| fault(&"is not UTF-8"))?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() { Err(fault(&"is empty")) } else { Ok(text) }
}

/// What is wrong with a secret in any other place.
pub(super) const MISPLACED: &str =
    "a secret can stand only for a text within the `config` of a component, and for the `secret` of tokens";
/// Longer than any key or token.
const MOST: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(base: &Path, toml: &str) -> Result<Option<String>, String> {
        let environment = |name: &str| match name {
            "TOKEN" => Some("hush".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let document = DeTable::parse(toml).unwrap().into_inner();
        Secrets::new(&environment, base, &|_| ()).of(&document).map_err(|fault| fault.what)
    }

    #[test]
    fn a_table_of_the_one_key_is_a_secret_and_names_one_place() {
        let at = |toml| secret(Path::new(""), toml);
        assert_eq!(at("secret = { env = 'TOKEN' }"), Ok(Some("hush".to_owned())));
        for plain in [
            "secret = 'text'",
            "secret = { env = 'TOKEN' }\nmore = 1",
            "secret = []",
            "",
            "secret = { secret = { env = 'TOKEN' } }",
        ] {
            assert_eq!(at(plain), Ok(None), "{plain}");
        }
        for (wrong, what) in [
            ("secret = { env = 7 }", "expected text as the `env` of a secret, found a whole number"),
            ("secret = { env = 'TOKEN', file = 'x' }", "a secret comes from one place"),
            ("secret = { file = 'x', mode = 1 }", "a secret comes from one place"),
            ("secret = {}", "a secret comes from one place"),
            ("secret = { name = 'x' }", "unknown key `name` in a secret"),
        ] {
            assert_eq!(at(wrong), Err(what.to_owned()), "{wrong}");
        }
        assert_eq!(
            at("secret = { env = 'NONE' }").unwrap_err(),
            "the environment has no variable `NONE`, or it is no text"
        );
        assert_eq!(at("secret = { env = 'EMPTY' }").unwrap_err(), "the variable `EMPTY` is empty");
    }

    #[test]
    fn a_file_is_a_secret_without_one_end_of_line() {
        let directory = tempfile::tempdir().unwrap();
        let at = |text: &[u8]| {
            std::fs::write(directory.path().join("token"), text).unwrap();
            secret(directory.path(), "secret = { file = 'token' }")
        };
        for text in ["hush", "hush\n", "hush\r\n"] {
            assert_eq!(at(text.as_bytes()), Ok(Some("hush".to_owned())), "{text:?}");
        }
        assert_eq!(at(b"hush\n\n"), Ok(Some("hush\n".to_owned())));
        assert!(at(b"\n").unwrap_err().ends_with("is empty"));
        assert!(at(b"\xff").unwrap_err().ends_with("is not UTF-8"));
        assert!(at(&[b'x'; 65537]).unwrap_err().ends_with("it has more than 65536 bytes"));
        assert!(secret(directory.path(), "secret = { file = '.' }").unwrap_err().ends_with("not a regular file"));
        assert!(secret(directory.path(), "secret = { file = 'none' }").unwrap_err().contains("cannot be read"));
    }
}
