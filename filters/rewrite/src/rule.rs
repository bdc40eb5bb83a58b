//! One find-and-replace rule.

use memchr::memmem::Finder;
use regex_lite::Regex;
use serde::Deserialize;
use tidegate_guest::{Origins, Side};

/// A rule as it stands in the configuration.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Written {
    pub(crate) find: Option<String>,
    pub(crate) regex: Option<String>,
    pub(crate) replace: String,
    #[serde(default = "both")]
    pub(crate) from: Origins,
}

fn both() -> Origins {
    Origins::Both
}

/// A rule ready for use.
pub(crate) struct Rule {
    pattern: Pattern,
    replacement: String,
    from: Origins,
}

enum Pattern {
    Literal(Box<Finder<'static>>),
    Regex(Regex),
}

impl Rule {
    pub(crate) fn new(written: Written) -> Result<Self, String> {
        let pattern = match (&written.find, &written.regex) {
            (Some(find), None) if find.is_empty() => return Err("`find` is empty; write the text to find".into()),
            (Some(find), None) => Pattern::Literal(Box::new(Finder::new(find).into_owned())),
            (None, Some(regex)) => Pattern::Regex(compile(regex)?),
            (Some(_), Some(_)) => return Err("both `find` and `regex`; write one of them".into()),
            (None, None) => return Err("neither `find` nor `regex`; write one of them".into()),
        };
        Ok(Self { pattern, replacement: written.replace, from: written.from })
    }

    /// Whether it is about messages of this peer.
    pub(crate) fn applies(&self, side: Side) -> bool {
        self.from.contains(side)
    }

    /// Whether it takes time in proportion to its pattern, too.
    pub(crate) fn is_regex(&self) -> bool {
        matches!(self.pattern, Pattern::Regex(_))
    }

    /// The text with all matches replaced; `None` when there is none.
    pub(crate) fn apply(&self, text: &str) -> Option<String> {
        match &self.pattern {
            Pattern::Literal(finder) => replace_literal(finder, text, &self.replacement),
            Pattern::Regex(regex) => match regex.replace_all(text, self.replacement.as_str()) {
                std::borrow::Cow::Borrowed(_) => None,
                std::borrow::Cow::Owned(rewritten) => Some(rewritten),
            },
        }
    }
}

fn compile(regex: &str) -> Result<Regex, String> {
    let compiled = Regex::new(regex).map_err(|error| format!("`regex` is not valid: {error}"))?;
    match compiled.is_match("") {
        true => Err(format!("`regex` {regex:?} matches an empty text, so it would match everywhere")),
        false => Ok(compiled),
    }
}

fn replace_literal(finder: &Finder<'_>, text: &str, replacement: &str) -> Option<String> {
    let length = finder.needle().len();
    let mut matches = finder.find_iter(text.as_bytes()).peekable();
    matches.peek()?;
    let mut rewritten = String::with_capacity(text.len() + replacement.len());
    let mut rest = 0;
    for start in matches {
        // What is found in UTF-8 begins and ends at a character, because what was sought does.
        rewritten.push_str(text.get(rest..start)?);
        rewritten.push_str(replacement);
        rest = start + length;
    }
    rewritten.push_str(text.get(rest..)?);
    Some(rewritten)
}
