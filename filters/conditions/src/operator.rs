//! The operators: what is asked of a parameter's values.
//!
//! A parameter that came several times must pass with every value, so that nobody can add a second header to make a
//! condition true, or to get around an `exclude`.

use std::borrow::Cow;

use regex_lite::Regex;

use crate::network::Network;
use crate::path_pattern::PathPattern;
use crate::time::Time;
use crate::wildcard::Glob;

/// A question about one value.
#[derive(Debug)]
pub(crate) enum Operator {
    Match(Pattern),
    /// The inverse of `match`.
    Exclude(Pattern),
    Equals(String),
    In(Network),
    /// Compiled to cover the whole value.
    Regex(Regex),
    Contains(String),
    StartsWith(String),
    EndsWith(String),
    /// Absent, empty, or nothing but white space.
    IsBlank,
    TimeBefore(Time),
    TimeAfter(Time),
}

/// A pattern with wildcards.
#[derive(Debug)]
pub(crate) enum Pattern {
    Path(PathPattern),
    Text(Glob),
}

/// A longer value fits no regular expression. The time to match grows with the value's length times the expression's
/// size, and the value is the client's to choose: at both limits it takes half of the 10 ms that a call has.
pub(crate) const MAX_REGEX_VALUE: usize = 2 * 1024;

impl Operator {
    /// Whether the values of one parameter pass. Without a value, and without one under the parameter's very name, only
    /// `isBlank` and `exclude` can.
    pub(crate) fn passes_all(&self, values: &[Cow<'_, str>], is_named: bool) -> bool {
        match self {
            Self::IsBlank | Self::Exclude(_) => values.iter().all(|value| self.passes(value)),
            _ => is_named && !values.is_empty() && values.iter().all(|value| self.passes(value)),
        }
    }

    /// Whether an instant passes. Only the two operators about time can.
    pub(crate) fn passes_at(&self, now: Time) -> bool {
        match self {
            Self::TimeBefore(limit) => now < *limit,
            Self::TimeAfter(limit) => now > *limit,
            _ => false,
        }
    }

    fn passes(&self, value: &str) -> bool {
        match self {
            Self::Match(pattern) => pattern.matches(value),
            Self::Exclude(pattern) => !pattern.matches(value),
            Self::Equals(expected) => value == expected,
            Self::In(network) => network.contains(value),
            Self::Regex(regex) => value.len() <= MAX_REGEX_VALUE && regex.is_match(value),
            Self::Contains(part) => value.contains(part.as_str()),
            Self::StartsWith(start) => value.starts_with(start.as_str()),
            Self::EndsWith(end) => value.ends_with(end.as_str()),
            Self::IsBlank => value.trim().is_empty(),
            Self::TimeBefore(_) | Self::TimeAfter(_) => {
                Time::parse(value.trim()).is_some_and(|time| self.passes_at(time))
            }
        }
    }
}

impl Pattern {
    fn matches(&self, value: &str) -> bool {
        match self {
            Self::Path(pattern) => pattern.matches(value),
            Self::Text(glob) => glob.matches(value),
        }
    }
}
