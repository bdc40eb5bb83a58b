//! The glob language: `?` for one character, `*` for any run of them.
//!
//! Matching never backtracks past the last `*`, so its time is at most the text's length times the pattern's,
//! whatever a client sends.

use std::str::Chars;

/// A glob over a whole text.
#[derive(Debug)]
pub(crate) struct Glob(Vec<Token>);

impl Glob {
    /// Every text is a glob; what is neither `?` nor `*` stands for itself.
    pub(crate) fn new(pattern: &str) -> Self {
        Self(pattern.chars().map(Token::from).collect())
    }

    pub(crate) fn from_tokens(tokens: Vec<Token>) -> Self {
        Self(tokens)
    }

    /// Whether the pattern covers `text` from end to end.
    pub(crate) fn matches(&self, text: &str) -> bool {
        covers::<Token, Chars<'_>>(&self.0, text.chars())
    }
}

/// One element of a glob.
#[derive(Debug, PartialEq)]
pub(crate) enum Token {
    Literal(char),
    One,
    Many,
}

impl From<char> for Token {
    fn from(character: char) -> Self {
        match character {
            '?' => Self::One,
            '*' => Self::Many,
            literal => Self::Literal(literal),
        }
    }
}

impl Element<char> for Token {
    fn is_run(&self) -> bool {
        matches!(self, Self::Many)
    }

    fn accepts(&self, item: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == item,
            Self::One | Self::Many => true,
        }
    }
}

/// One element of a pattern: it stands for any run of items, or for a single one.
pub(crate) trait Element<Item> {
    fn is_run(&self) -> bool;
    fn accepts(&self, item: Item) -> bool;
}

/// Whether `pattern` covers all of `items`. On a mismatch only the last run met takes one item more: an earlier one
/// could take no item that the last one could not take as well.
pub(crate) fn covers<E, I>(pattern: &[E], mut items: I) -> bool
where
    I: Iterator + Clone,
    E: Element<I::Item>,
{
    let mut pattern = pattern;
    let mut last_run: Option<(&[E], I)> = None;
    loop {
        match pattern.split_first() {
            Some((element, after)) if element.is_run() => {
                pattern = after;
                last_run = Some((after, items.clone()));
                continue;
            }
            Some((element, after)) => {
                let mut ahead = items.clone();
                if ahead.next().is_some_and(|item| element.accepts(item)) {
                    pattern = after;
                    items = ahead;
                    continue;
                }
            }
            None if items.clone().next().is_none() => return true,
            None => {}
        }
        let Some((after, from)) = &mut last_run else {
            return false;
        };
        if from.next().is_none() {
            return false;
        }
        pattern = after;
        items = from.clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_glob_covers_the_whole_text() {
        for (pattern, text, expected) in [
            ("gold", "gold", true),
            ("gold", "golden", false),
            ("gold*", "golden", true),
            ("*old", "marigold", true),
            ("g?ld", "gild", true),
            ("g?ld", "gld", false),
            ("*", "", true),
            ("", "", true),
            ("", "x", false),
            ("?", "", false),
            ("?", "ä", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("**a", "aaab", false),
            ("*ab", "aab", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn many_stars_on_a_long_text_take_no_exponential_time() {
        let pattern = Glob::new(&"*a".repeat(40));

        assert!(!pattern.matches(&format!("{}b", "a".repeat(16 * 1024))));
    }
}
