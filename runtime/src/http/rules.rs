//! What an operator has said about the fields of a request or an answer: which go, which are set, which are added.
//!
//! A value is a template, into which go facts of the connection. Some of them a client has chosen, or somebody else whom the
//! operator does not know: a value that no field can hold as it is, or that would be read as another, makes no field at all.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::fields;
use crate::template::{InvalidTemplate, Part, Template};

/// Rules for the fields of one direction. First fields are removed, then set, then added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldRules {
    /// What goes.
    pub remove: Vec<HeaderName>,
    /// What takes the place of all fields of its name.
    pub set: Vec<(HeaderName, FieldValue)>,
    /// What stands beside others of its name.
    pub append: Vec<(HeaderName, FieldValue)>,
}

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue(Template<Fact>);

/// What is known of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fact {
    ClientAddress,
    Host,
    Route,
    Connection,
    /// The attribute of this name.
    Attribute(Box<str>),
}

/// The facts of one connection.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The client's address; `None`: it has none.
    pub client: Option<IpAddr>,
    /// The host that was asked, in lower case and without a port.
    pub host: &'a str,
    /// The name of the route.
    pub route: &'a str,
    /// The id of the connection.
    pub connection: &'a str,
    /// What is attached to it, by name; of those of one name the last counts.
    pub attributes: &'a [(String, String)],
}

/// The names of facts, an attribute's standing for all.
pub const FACTS: &[&str] = &["client.address", "host", "route", "connection", "attribute.NAME"];

impl FieldRules {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.append.is_empty()
    }

    /// Applies them. Where a field is set or removed, those go with it whose names differ from its in underscores alone.
    pub fn apply(&self, headers: &mut HeaderMap, facts: &Facts<'_>) {
        if self.is_empty() {
            return;
        }
        let aliases = fields::with_underscores(headers);
        for name in self.remove.iter().chain(self.set.iter().map(|(name, _)| name)) {
            fields::remove_all(headers, name, &aliases);
        }
        for (name, value) in self.set.iter().chain(&self.append) {
            if let Some(value) = value.of(facts) {
                // One that is full takes no further field.
                let _ = headers.try_append(name, value);
            }
        }
    }
}

impl FieldValue {
    /// Reads what a field says, with placeholders of [`FACTS`].
    ///
    /// # Errors
    /// For a mistake in a placeholder.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        let template = Template::parse(text, |name| match name {
            "client.address" => Some(Fact::ClientAddress),
            "host" => Some(Fact::Host),
            "route" => Some(Fact::Route),
            "connection" => Some(Fact::Connection),
            _ => match name.strip_prefix("attribute.") {
                Some(attribute) if !attribute.is_empty() => Some(Fact::Attribute(attribute.into())),
                _ => None,
            },
        });
        template.map(Self)
    }

    /// The texts in it that stand as they are.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.parts().iter().filter_map(|part| match part {
            Part::Text(text) => Some(&**text),
            Part::Value(_) => None,
        })
    }

    /// What it says of a connection; `None` where it says nothing, or nothing that a field can hold.
    fn of(&self, facts: &Facts<'_>) -> Option<HeaderValue> {
        if let [Part::Text(text)] = self.0.parts() {
            return HeaderValue::from_str(text).ok();
        }
        let mut value = String::new();
        for part in self.0.parts() {
            match part {
                Part::Text(text) => value.push_str(text),
                // Writing to a String cannot fail.
                Part::Value(Fact::ClientAddress) => {
                    let _ = facts.client.map(|client| write!(value, "{client}"));
                }
                Part::Value(Fact::Host) => value.push_str(facts.host),
                Part::Value(Fact::Route) => value.push_str(facts.route),
                Part::Value(Fact::Connection) => value.push_str(facts.connection),
                Part::Value(Fact::Attribute(wanted)) => {
                    let known = facts.attributes.iter().rev().find(|(name, _)| **name == **wanted);
                    value.push_str(known.map_or("", |(_, text)| text));
                }
            }
            if value.len() > LONGEST_VALUE {
                return None;
            }
        }
        // Blanks at the ends are no part of what a reader gets, who would take it for another value.
        let is_whole = !value.is_empty() && value.trim_matches([' ', '\t']).len() == value.len();
        is_whole.then(|| HeaderValue::from_maybe_shared(value.into_bytes()).ok())?
    }
}

/// The most bytes of a value: with more, most servers refuse the whole request.
pub const LONGEST_VALUE: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(attributes: &'a [(String, String)]) -> Facts<'a> {
        Facts { client: Some([192, 0, 2, 1].into()), host: "a.example", route: "chat", connection: "1-2-3", attributes }
    }

    fn attributes(attributes: &[(&str, &str)]) -> Vec<(String, String)> {
        attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn value(text: &str, known: &[(&str, &str)]) -> Option<Vec<u8>> {
        let known = attributes(known);
        FieldValue::parse(text).unwrap().of(&facts(&known)).map(|value| value.as_bytes().to_vec())
    }

    #[test]
    fn facts_stand_in_a_value() {
        for (text, told) in [
            ("plain", "plain"),
            ("{client.address}", "192.0.2.1"),
            ("{host}/{route}#{connection}", "a.example/chat#1-2-3"),
            ("u={attribute.token.sub};{{x}}", "u=alice;{x}"),
            ("{attribute.name}", "caf\u{e9}"),
            ("<{attribute.none}>", "<>"),
        ] {
            let known = [("token.sub", "bob"), ("name", "caf\u{e9}"), ("token.sub", "alice")];
            assert_eq!(value(text, &known).as_deref(), Some(told.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_would_be_no_field_or_another_makes_none() {
        for told in ["", "a\r\nx-admin: 1", "a\nb", "a\0", "\u{7f}", " alice", "alice ", "\talice"] {
            assert_eq!(value("{attribute.a}", &[("a", told)]), None, "{told:?}");
        }
        assert_eq!(value("x{attribute.a}", &[("a", &"y".repeat(LONGEST_VALUE - 1))]).unwrap().len(), LONGEST_VALUE);
        let long = "y".repeat(1 << 20);
        assert_eq!(value(&"{attribute.a}".repeat(16), &[("a", &long)]), None);
    }

    #[test]
    fn no_other_placeholders_are_known() {
        for text in ["{client}", "{attribute.}", "{attribute}", "{Host}", "{query}"] {
            assert!(matches!(FieldValue::parse(text), Err(InvalidTemplate::Unknown(_))), "{text}");
        }
    }

    #[test]
    fn fields_are_removed_then_set_then_added() {
        let name = |name: &str| HeaderName::try_from(name).unwrap();
        let parsed = |text: &str| FieldValue::parse(text).unwrap();
        let rules = FieldRules {
            remove: vec![name("x-gone"), name("x-both")],
            set: vec![(name("x-user"), parsed("{attribute.user}")), (name("x-set"), parsed("new"))],
            append: vec![
                (name("x-set"), parsed("more")),
                (name("x-both"), parsed("back")),
                (name("cookie"), parsed("c=d")),
            ],
        };
        let mut headers = HeaderMap::new();
        for (field, value) in [
            ("x-gone", "1"),
            ("x_gone", "2"),
            ("x-both", "3"),
            ("x-user", "root"),
            ("x_user", "root"),
            ("x-set", "old"),
            ("x-set", "older"),
            ("cookie", "a=b"),
            ("x-else", "4"),
        ] {
            headers.append(name(field), HeaderValue::from_static(value));
        }
        rules.apply(&mut headers, &facts(&[]));
        let mut left: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        left.sort();
        // Who has no name sends none, not that of the client.
        assert_eq!(left, ["cookie: a=b", "cookie: c=d", "x-both: back", "x-else: 4", "x-set: more", "x-set: new"]);
    }
}
