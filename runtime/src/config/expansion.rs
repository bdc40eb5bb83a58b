//! `${NAME}` in the strings of our own keys: what the environment says.
//!
//! The configuration of components is theirs, and `${..}` may mean something to them, so nothing is replaced in a table
//! `config`. `$${` stands for `${`.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::reader::{Fault, join};

/// Looks a variable of the environment up.
pub(super) type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// What has become of a document.
#[derive(Default)]
pub(super) struct Expanded {
    /// Where the texts begin in which something was replaced. What stands there now is not to be quoted.
    pub(super) at: BTreeSet<usize>,
    /// What could not be replaced, with its place and key.
    pub(super) faults: Vec<(Range<usize>, String, Fault)>,
}

/// Replaces in all strings but those of components' configurations.
pub(super) fn expand(document: &mut DeTable<'_>, environment: Environment<'_>) -> Expanded {
    let mut expansion = Expansion { environment, path: Vec::new(), done: Expanded::default() };
    expansion.table(document);
    expansion.done
}

struct Expansion<'e> {
    environment: Environment<'e>,
    path: Vec<Step>,
    done: Expanded,
}

enum Step {
    Key(String),
    Index(usize),
}

impl Expansion<'_> {
    fn table(&mut self, table: &mut DeTable<'_>) {
        // Below these stand names of the user's own.
        let is_named = matches!(self.path.as_slice(), [Step::Key(name)] if matches!(name.as_str(), "components" | "tokens" | "upstreams"));
        for (name, value) in table.iter_mut() {
            let span = value.span();
            let value = value.get_mut();
            // What is included was expanded when it was looked for.
            if self.path.is_empty() && name.get_ref() == "include" {
                continue;
            }
            if !is_named && name.get_ref() == "config" && value.is_table() {
                continue;
            }
            if may_hold(value) {
                self.path.push(Step::Key(name.get_ref().to_string()));
                self.value(value, span);
                self.path.pop();
            }
        }
    }

    fn value(&mut self, value: &mut DeValue<'_>, span: Range<usize>) {
        match value {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(array) => {
                for (index, element) in array.iter_mut().enumerate() {
                    let span = element.span();
                    if may_hold(element.get_ref()) {
                        self.path.push(Step::Index(index));
                        self.value(element.get_mut(), span);
                        self.path.pop();
                    }
                }
            }
            DeValue::String(text) => match replaced(text, self.environment) {
                Ok(None) => {}
                Ok(Some(other)) => {
                    self.done.at.insert(span.start);
                    *text = Cow::Owned(other);
                }
                Err(fault) => self.done.faults.push((span, self.key(), fault)),
            },
            _ => {}
        }
    }

    fn key(&self) -> String {
        self.path.iter().fold(String::new(), |path, step| match step {
            Step::Key(name) => join(&path, name),
            Step::Index(index) => format!("{path}[{index}]"),
        })
    }
}

/// Whether there may be something to replace: most strings have none, and need no path.
fn may_hold(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(text) => text.contains("${"),
        DeValue::Table(_) | DeValue::Array(_) => true,
        _ => false,
    }
}

/// The text with what the environment says; `None` if it is the same.
pub(super) fn replaced(text: &str, environment: Environment<'_>) -> Result<Option<String>, Fault> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut done = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            done.push_str(before);
            done.push_str("${");
            rest = after;
            continue;
        }
        done.push_str(before);
        let (name, after) = after.split_once('}').ok_or_else(|| {
            Fault::new(
                "`${` has no `}`",
                "write `${NAME}` for a variable of the environment, or `$${` for the text `${`",
            )
        })?;
        if !is_name(name) {
            let what = "what stands in `${}` is no name of a variable";
            return Err(Fault::new(what, "use letters, digits and `_`, or write `$${` for the text `${`"));
        }
        let value = environment(name).ok_or_else(|| {
            let what = format!("the environment has no variable `{name}`, or it is no text");
            Fault::new(what, format!("set `{name}`, or write `$${{` for the text `${{`"))
        })?;
        done.push_str(&value);
        rest = after;
    }
    done.push_str(rest);
    Ok(Some(done))
}

/// Whether this can be the name of a variable.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    !name.is_empty() && name.bytes().all(fits) && !name.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        (name == "PORT").then(|| "8080".to_owned())
    }

    fn expanded(text: &str) -> Result<Option<String>, String> {
        replaced(text, &environment).map_err(|fault| fault.what)
    }

    #[test]
    fn variables_are_replaced_and_two_dollars_are_one() {
        assert_eq!(expanded("0.0.0.0:${PORT}"), Ok(Some("0.0.0.0:8080".to_owned())));
        assert_eq!(expanded("${PORT}${PORT}"), Ok(Some("80808080".to_owned())));
        assert_eq!(expanded("$${PORT} ${PORT} $$ $PORT"), Ok(Some("${PORT} 8080 $$ $PORT".to_owned())));
        assert_eq!(expanded("$PORT {PORT} $"), Ok(None));
    }

    #[test]
    fn what_is_no_variable_is_refused() {
        assert_eq!(expanded("${NONE}"), Err("the environment has no variable `NONE`, or it is no text".to_owned()));
        assert_eq!(expanded("${PORT"), Err("`${` has no `}`".to_owned()));
        for text in ["${}", "${1}", "${a b}", "${${PORT}}", "${A:-b}"] {
            assert_eq!(expanded(text), Err("what stands in `${}` is no name of a variable".to_owned()), "{text}");
        }
    }
}
