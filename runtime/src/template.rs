//! Texts with placeholders, as operators write them: `https://{host}/`.
//!
//! A template is read once, and knows then which value stands where; what the values are, and what of them may stand in
//! which place, whoever expands it knows. `{{` and `}}` stand for braces.

use thiserror::Error;

/// A text with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template<V>(Box<[Part<V>]>);

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<V> {
    /// It stands as it is.
    Text(Box<str>),
    /// A value stands there.
    Value(V),
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidTemplate {
    /// A placeholder has no end.
    #[error("a `{{` is not closed")]
    Unclosed,
    /// A placeholder has no beginning.
    #[error("a `}}` closes nothing")]
    Unopened,
    /// There is no value of this name.
    #[error("there is no `{{{0}}}` here")]
    Unknown(String),
    /// It has more values than [`MOST_VALUES`].
    #[error("there are more than {MOST_VALUES} values")]
    TooMany,
}

/// The most values in a template: what they add up to is bounded then, too.
pub const MOST_VALUES: usize = 16;

impl<V> Template<V> {
    /// Reads a text. `value` knows the names of values.
    ///
    /// # Errors
    /// For the first mistake.
    pub fn parse(text: &str, value: impl Fn(&str) -> Option<V>) -> Result<Self, InvalidTemplate> {
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        let mut count = 0;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            plain.push_str(before);
            if let Some(after) = from.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some(after) = from.strip_prefix("}}") {
                plain.push('}');
                rest = after;
            } else if let Some(opened) = from.strip_prefix('{') {
                let (name, after) = opened.split_once('}').ok_or(InvalidTemplate::Unclosed)?;
                if name.contains('{') {
                    return Err(InvalidTemplate::Unclosed);
                }
                let value = value(name).ok_or_else(|| InvalidTemplate::Unknown(name.to_owned()))?;
                count += 1;
                if count > MOST_VALUES {
                    return Err(InvalidTemplate::TooMany);
                }
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain).into()));
                }
                parts.push(Part::Value(value));
                rest = after;
            } else {
                return Err(InvalidTemplate::Unopened);
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain.into()));
        }
        Ok(Self(parts.into()))
    }

    /// One of these parts.
    pub fn of(parts: impl IntoIterator<Item = Part<V>>) -> Self {
        Self(parts.into_iter().collect())
    }

    /// Its parts, in order.
    pub fn parts(&self) -> &[Part<V>] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<Part<char>>, InvalidTemplate> {
        let template = Template::parse(text, |name| ["a", "b"].contains(&name).then(|| name.chars().next().unwrap()));
        template.map(|template| template.parts().to_vec())
    }

    #[test]
    fn a_text_is_cut_at_its_values_and_doubled_braces_are_braces() {
        let text = |text: &str| Part::Text(text.into());
        assert_eq!(parse("").unwrap(), []);
        assert_eq!(parse("plain").unwrap(), [text("plain")]);
        assert_eq!(parse("{a}{b}").unwrap(), [Part::Value('a'), Part::Value('b')]);
        assert_eq!(parse("x{a}y{{z}}").unwrap(), [text("x"), Part::Value('a'), text("y{z}")]);
        assert_eq!(parse("{{{a}}}").unwrap(), [text("{"), Part::Value('a'), text("}")]);
    }

    #[test]
    fn each_mistake_is_named() {
        let unknown = |name: &str| InvalidTemplate::Unknown(name.to_owned());
        for (text, mistake) in [
            ("{", InvalidTemplate::Unclosed),
            ("{a", InvalidTemplate::Unclosed),
            ("{a{b}", InvalidTemplate::Unclosed),
            ("}", InvalidTemplate::Unopened),
            ("a}b", InvalidTemplate::Unopened),
            ("{}", unknown("")),
            ("{ a }", unknown(" a ")),
            ("{A}", unknown("A")),
        ] {
            assert_eq!(parse(text), Err(mistake), "{text}");
        }
        assert_eq!(parse(&"{a}".repeat(MOST_VALUES + 1)), Err(InvalidTemplate::TooMany));
        assert_eq!(unknown("x").to_string(), "there is no `{x}` here");
    }
}
