//! From the configuration to a checked [`Condition`].
//!
//! Every mistake is reported, each with the place inside the configuration where it stands and what to write instead;
//! that is why this walks the JSON itself and derives nothing.

use regex_lite::{Regex, RegexBuilder};
use serde_json::{Map, Value};

use crate::condition::Condition;
use crate::network::Network;
use crate::operator::{Operator, Pattern};
use crate::parameter::Parameter;
use crate::path_pattern::{Dialect, PathPattern};
use crate::time::Time;
use crate::wildcard::Glob;

/// Checks a configuration. The error names every problem, one a line.
pub(crate) fn condition(config: &Value) -> Result<Condition, String> {
    let mut problems = Vec::new();
    match node(config, &Place(String::new()), &mut problems) {
        Some(condition) if problems.is_empty() => Ok(condition),
        _ => Err(problems.join("\n")),
    }
}

/// Where in the configuration a value stands, such as `all[1].op`.
struct Place(String);

impl Place {
    fn key(&self, key: &str) -> Self {
        Self(if self.0.is_empty() { key.to_owned() } else { format!("{}.{key}", self.0) })
    }

    fn index(&self, index: usize) -> Self {
        Self(format!("{}[{index}]", self.0))
    }

    /// Notes a problem here, and stands for the value that is not there because of it.
    fn refuse<T>(&self, problems: &mut Vec<String>, problem: impl Into<String>) -> Option<T> {
        self.note(problems, problem.into());
        None
    }

    fn note(&self, problems: &mut Vec<String>, problem: String) {
        let place = if self.0.is_empty() { "config" } else { &self.0 };
        problems.push(format!("{place}: {problem}"));
    }
}

fn node(value: &Value, place: &Place, problems: &mut Vec<String>) -> Option<Condition> {
    let Value::Object(map) = value else {
        return place.refuse(problems, format!("must be {NODE_FORMS}"));
    };
    match (map.get("all"), map.get("any")) {
        (Some(list), None) => group(map, "all", list, place, problems).map(Condition::All),
        (None, Some(list)) => group(map, "any", list, place, problems).map(Condition::Any),
        (Some(_), Some(_)) => place.refuse(problems, "has both `all` and `any`; put one of them inside the other"),
        (None, None) if map.is_empty() => place.refuse(problems, format!("is empty; write {NODE_FORMS}")),
        (None, None) => leaf(map, place, problems),
    }
}

const NODE_FORMS: &str =
    r#"{ all = [..] }, { any = [..] } or a condition such as { header = "x-tenant", op = "=", value = "gold" }"#;

fn group(
    map: &Map<String, Value>,
    name: &str,
    list: &Value,
    place: &Place,
    problems: &mut Vec<String>,
) -> Option<Vec<Condition>> {
    for key in map.keys().filter(|key| *key != name) {
        place.key(key).note(problems, format!("unknown key beside `{name}`; move it into the list"));
    }
    let place = place.key(name);
    match list {
        Value::Array(list) if list.is_empty() => place.refuse(problems, "is empty; list at least one condition"),
        Value::Array(list) => {
            let conditions = list.iter().enumerate().map(|(index, value)| node(value, &place.index(index), problems));
            // Not collected into an Option, which would stop at the first problem.
            Some(conditions.collect::<Vec<_>>().into_iter().flatten().collect())
        }
        _ => place.refuse(problems, "must be a list of conditions"),
    }
}

fn leaf(map: &Map<String, Value>, place: &Place, problems: &mut Vec<String>) -> Option<Condition> {
    for key in map.keys().filter(|key| !PARAMETERS.contains(&key.as_str()) && !["op", "value"].contains(&key.as_str()))
    {
        let known = format!("{}, op, value", PARAMETERS.join(", "));
        place.key(key).note(problems, format!("unknown key; one of {known}"));
    }
    let parameter = parameter(map, place, problems);
    let name = operator_name(map, place, problems)?;
    let parameter = parameter?;
    let operator = operator(name, parameter.as_ref(), map.get("value"), &place.key("value"), problems);
    match (parameter, name) {
        (Some(named @ (Parameter::Query(_) | Parameter::Header(_) | Parameter::Cookie(_))), _) => {
            operator.map(|operator| Condition::Value(named, operator))
        }
        (_, "timeBefore" | "timeAfter") => operator.map(Condition::Now),
        (Some(parameter), _) => operator.map(|operator| Condition::Value(parameter, operator)),
        (None, _) => place.refuse(problems, format!("has no parameter; one of {}", PARAMETERS.join(", "))),
    }
}

const PARAMETERS: [&str; 7] = ["path", "query", "header", "cookie", "host", "ip", "method"];

/// The outer `None`: a problem was noted. The inner one: the condition names no parameter.
fn parameter(map: &Map<String, Value>, place: &Place, problems: &mut Vec<String>) -> Option<Option<Parameter>> {
    let mut present = PARAMETERS.iter().filter_map(|key| map.get(*key).map(|value| (*key, value)));
    let Some((key, value)) = present.next() else {
        return Some(None);
    };
    if let Some((other, _)) = present.next() {
        let problem = format!("has both `{key}` and `{other}`; write two conditions");
        return place.refuse(problems, problem);
    }
    let place = place.key(key);
    let named: fn(String) -> Parameter = match key {
        "query" => Parameter::Query,
        "cookie" => Parameter::Cookie,
        "header" => |name| Parameter::Header(name.to_ascii_lowercase()),
        _ => {
            if *value != Value::Bool(true) {
                return place.refuse(problems, format!("write `{key} = true`; what to compare with stands in `value`"));
            }
            return Some(Some(match key {
                "path" => Parameter::Path,
                "host" => Parameter::Host,
                "ip" => Parameter::Ip,
                _ => Parameter::Method,
            }));
        }
    };
    match value.as_str() {
        Some(name) if key == "query" && !name.is_empty() => Some(Some(named(name.to_owned()))),
        Some(name) if is_token(name) => Some(Some(named(name.to_owned()))),
        _ => place.refuse(problems, format!("must be the name of a {key}, a string such as \"x-tenant\"")),
    }
}

/// A token of RFC 9110 section 5.6.2, which the names of header fields and cookies are.
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

fn operator_name(map: &Map<String, Value>, place: &Place, problems: &mut Vec<String>) -> Option<&'static str> {
    let place = place.key("op");
    let known = OPERATORS.join(", ");
    match map.get("op") {
        None => place.refuse(problems, format!("missing; one of {known}")),
        Some(Value::String(name)) => match OPERATORS.iter().find(|known| known.eq_ignore_ascii_case(name)) {
            Some(operator) if operator == name => Some(operator),
            Some(operator) => place.refuse(problems, format!("unknown operator {name:?}; write {operator:?}")),
            None => place.refuse(problems, format!("unknown operator {name:?}; one of {known}")),
        },
        Some(_) => place.refuse(problems, format!("must be a string; one of {known}")),
    }
}

const OPERATORS: [&str; 11] = [
    "match",
    "=",
    "regex",
    "contains",
    "startsWith",
    "endsWith",
    "pathPattern",
    "isBlank",
    "exclude",
    "timeBefore",
    "timeAfter",
];

fn operator(
    name: &'static str,
    parameter: Option<&Parameter>,
    value: Option<&Value>,
    place: &Place,
    problems: &mut Vec<String>,
) -> Option<Operator> {
    let value = match value {
        None if name == "isBlank" => return Some(Operator::IsBlank),
        Some(_) if name == "isBlank" => return place.refuse(problems, "unknown key; op \"isBlank\" takes no value"),
        None => return place.refuse(problems, format!("missing; op {name:?} compares with one")),
        Some(Value::String(value)) => value,
        Some(_) => return place.refuse(problems, "must be a string; write it in quotes"),
    };
    // Hosts are compared without regard to case; a regular expression says itself which case it means.
    let text = match parameter {
        Some(Parameter::Host) if name != "regex" => value.to_ascii_lowercase(),
        _ => value.clone(),
    };
    let operator = match name {
        "match" => pattern(parameter, &text).map(Operator::Match),
        "exclude" => pattern(parameter, &text).map(Operator::Exclude),
        "pathPattern" if parameter == Some(&Parameter::Path) => {
            PathPattern::parse(&text, Dialect::PathPattern).map(|pattern| Operator::Match(Pattern::Path(pattern)))
        }
        "pathPattern" => Err("op \"pathPattern\" is for `path` only; write op \"match\"".to_owned()),
        "regex" => regex(&text).map(Operator::Regex),
        "=" if parameter == Some(&Parameter::Ip) => Network::parse(&text).map(Operator::In),
        "=" => Ok(Operator::Equals(text)),
        "timeBefore" => time(&text).map(Operator::TimeBefore),
        "timeAfter" => time(&text).map(Operator::TimeAfter),
        _ if text.is_empty() => Err(format!("is empty, so op {name:?} would hold for any value; write a text")),
        "startsWith" => Ok(Operator::StartsWith(text)),
        "endsWith" => Ok(Operator::EndsWith(text)),
        _ => Ok(Operator::Contains(text)),
    };
    match operator {
        Ok(operator) => Some(operator),
        Err(problem) => place.refuse(problems, problem),
    }
}

fn pattern(parameter: Option<&Parameter>, text: &str) -> Result<Pattern, String> {
    match parameter {
        Some(Parameter::Path) => PathPattern::parse(text, Dialect::Ant).map(Pattern::Path),
        _ => Ok(Pattern::Text(Glob::new(text))),
    }
}

fn time(text: &str) -> Result<Time, String> {
    Time::parse(text).ok_or_else(|| {
        format!("{text:?} is no time; write \"2026-01-31T08:00:00Z\" (RFC 3339) or \"2026-01-31 08:00:00\" (UTC)")
    })
}

/// Compiles an expression that covers the whole value.
fn regex(expression: &str) -> Result<Regex, String> {
    let compile = |expression: &str| RegexBuilder::new(expression).size_limit(MAX_REGEX_SIZE).nest_limit(64).build();
    // First as it stands: wrapped, an unbalanced `a)|(b` would balance.
    compile(expression)
        .and_then(|_| compile(&format!(r"\A(?:{expression})\z")))
        .map_err(|error| format!("{expression:?} is no regular expression that can be used: {error}"))
}

/// Bytes of a compiled expression: a few hundred states, each of which one byte of a value may visit, see
/// [`MAX_REGEX_VALUE`](crate::operator::MAX_REGEX_VALUE).
const MAX_REGEX_SIZE: usize = 8 * 1024;

#[cfg(test)]
mod tests;
