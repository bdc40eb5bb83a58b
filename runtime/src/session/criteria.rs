//! Which of the open connections somebody means, who wants to see or to close them.

use std::fmt::{self, Display, Formatter};

use super::connection::Connection;
use super::underway::Underway;

/// What a connection has to have; nothing, if all are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Criteria {
    /// The id that logs know it by.
    pub id: Option<String>,
    /// The route that it took.
    pub route: Option<String>,
    /// Attributes, all of them, each as `NAME:VALUE`.
    pub attributes: Vec<String>,
}

impl Criteria {
    /// Whether all connections are meant.
    pub fn is_empty(&self) -> bool {
        self.id.is_none() && self.route.is_none() && self.attributes.is_empty()
    }

    /// Whether this connection is meant.
    pub fn holds_for(&self, connection: &Connection) -> bool {
        self.id.as_ref().is_none_or(|id| **id == *connection.id)
            && self.route.as_ref().is_none_or(|route| connection.took(route))
            && self.attributes.iter().all(|wanted| connection.has_attribute(wanted))
    }
}

impl Criteria {
    /// Whether this plain request is meant.
    pub(super) fn holds_for_request(&self, request: &Underway) -> bool {
        let has = |wanted: &String| request.attributes.iter().any(|(name, value)| is_attribute(wanted, name, value));
        self.id.as_ref().is_none_or(|id| **id == *request.id)
            && self.route.as_ref().is_none_or(|route| *route == request.route.name)
            && self.attributes.iter().all(has)
    }
}

/// Whether an attribute is what somebody wants as `NAME:VALUE`. Names may have colons, too.
pub(super) fn is_attribute(wanted: &str, name: &str, value: &str) -> bool {
    wanted.strip_prefix(name).and_then(|rest| rest.strip_prefix(':')) == Some(value)
}

/// For the log.
impl Display for Criteria {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let named = |name: &'static str, value: &Option<String>| value.clone().map(|value| (name, value));
        let attributes = self.attributes.iter().map(|attribute| ("attribute", attribute.clone()));
        let all = named("id", &self.id).into_iter().chain(named("route", &self.route)).chain(attributes);
        for (index, (name, value)) in all.enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(formatter, "{space}{name}={value:?}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attribute_is_meant_by_its_whole_name_and_its_whole_value() {
        for (wanted, name, value, is_it) in [
            ("token.sub:alice", "token.sub", "alice", true),
            ("token.sub:alice", "token.sub", "alic", false),
            ("token.sub:alice", "token.sub", "alice2", false),
            ("token.sub:alice", "token", "sub:alice", false),
            ("a:b:c", "a", "b:c", true),
            ("a:b:c", "a:b", "c", true),
            ("a:", "a", "", true),
            ("a", "a", "", false),
        ] {
            assert_eq!(is_attribute(wanted, name, value), is_it, "{wanted} {name} {value}");
        }
    }

    #[test]
    fn criteria_are_told_in_one_line_whatever_stands_in_them() {
        let criteria = Criteria {
            id: None,
            route: Some("chat".to_owned()),
            attributes: vec!["token.sub:a\nb".to_owned(), "tenant:1".to_owned()],
        };
        assert_eq!(criteria.to_string(), r#"route="chat" attribute="token.sub:a\nb" attribute="tenant:1""#);
        assert!(!criteria.is_empty() && Criteria::default().is_empty());
    }
}
