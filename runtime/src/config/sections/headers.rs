//! What routes do to header fields by themselves.

use http::header::{HeaderName, HeaderValue};

use super::template;
use crate::config::{
    reader::{Absent, Fault, Key, Read, Section, Value, quoted},
    value,
};
use crate::http::{FACTS, FieldRules, FieldValue, LONGEST_VALUE, field_names};

pub(super) const HEADERS: Section = Section {
    title: "the header rules of a route",
    about: "First fields are removed, then set, then added. In values, `{client.address}`, `{host}`, `{route}` and `{connection}` stand \
            for what is known of the connection, and `{attribute.NAME}` for an attribute, of a token (`token.sub`), a certificate \
            (`tls.client-subject`) or a filter; `{{` is a brace. A value that comes out empty, with a control character, with blanks at \
            its ends or with more than 8KiB makes no field.",
    keys: &[SET, APPEND, REMOVE],
};

const SET: Key = Key {
    name: "set",
    takes: "table",
    absent: Absent::Default("{}"),
    example: "{ x-user = \"{attribute.token.sub}\" }",
    meaning: "Fields that take the place of all that have their names; where the value makes no field, there is none.",
};

const APPEND: Key = Key {
    name: "append",
    takes: "table",
    absent: Absent::Default("{}"),
    example: "{ via = \"1.1 edge\" }",
    meaning: "Fields that stand beside others of their names.",
};

const REMOVE: Key = Key {
    name: "remove",
    takes: "list of headers",
    absent: Absent::Default("[]"),
    example: "[\"x-debug\"]",
    meaning: "Fields that go, also where `_` stands for `-` in their names.",
};

/// Reads the rules of one direction.
pub(super) fn rules(value: &Value<'_>) -> Read<FieldRules> {
    let table = value.table(&HEADERS, "write { set = { x-edge = \"a\" }, remove = [\"x-debug\"] }")?;
    let set = table.read(&SET, fields);
    let append = table.read(&APPEND, fields);
    let remove = table.read(&REMOVE, |value| {
        value.each("a list of headers", "write [\"x-debug\"]", |value| {
            value.parsed("the name of a header", "write text such as \"x-debug\"", name)
        })
    });
    let rules = FieldRules { remove: remove?, set: set?, append: append? };
    if let Some((name, _)) = rules.set.iter().find(|(name, _)| rules.remove.contains(name)) {
        let what = format!("the header `{name}` is removed and set");
        let place = table.value(&REMOVE).map_or_else(|| value.place(), |value| value.place());
        return Err(value.refuse_at(
            &place,
            what,
            "remove it from `remove`: what is set takes the place of all others",
        ));
    }
    Ok(rules)
}

fn fields(value: &Value<'_>) -> Read<Vec<(HeaderName, FieldValue)>> {
    const ADVICE: &str = "write { x-edge = \"a\" }: each header with its value";
    let mut fields: Vec<(HeaderName, FieldValue)> = Vec::new();
    let mut result = Ok(());
    for (text, place, value) in value.entries("a table of headers", ADVICE)? {
        let name = name(text).map_err(|fault| value.refuse_at(&place, fault.what, fault.instead));
        let said = value.parsed("text", "write text such as \"{client.address}\"", field_value);
        match (name, said) {
            (Ok(name), Ok(_)) if fields.iter().any(|(known, _)| *known == name) => {
                let what = format!("the header `{name}` stands here twice");
                result = Err(value.refuse_at(&place, what, "remove one of them"));
            }
            (Ok(name), Ok(said)) => fields.push((name, said)),
            (Err(refused), _) | (_, Err(refused)) => result = Err(refused),
        }
    }
    result.map(|()| fields)
}

fn name(text: &str) -> Result<HeaderName, Fault> {
    value::parse_header(text).map_err(|fault| match HeaderName::try_from(text) {
        Ok(name) if name == "host" => {
            Fault { instead: "write `host` in the table of the upstream, which says what it gets".to_owned(), ..fault }
        }
        Ok(name) if field_names::is_handshake(name.as_str()) => {
            Fault { instead: "leave the opening handshake to the two sides".to_owned(), ..fault }
        }
        _ => fault,
    })
}

fn field_value(text: &str) -> Result<FieldValue, Fault> {
    let value = FieldValue::parse(text).map_err(|invalid| template::fault(&invalid, FACTS))?;
    if text.is_empty() {
        return Err(Fault::new("an empty value makes no field", "write a value, or name the header in `remove`"));
    }
    if text.len() > LONGEST_VALUE {
        let what = format!("the value has more than {LONGEST_VALUE} bytes");
        return Err(Fault::new(what, "write a shorter one"));
    }
    if text.trim_matches([' ', '\t']).len() < text.len() {
        return Err(Fault::new(format!("{} has blanks at an end", quoted(text)), "remove them"));
    }
    if value.texts().any(|text| HeaderValue::from_str(text).is_err()) {
        let what = "no header has this in its value";
        return Err(Fault::new(what, "write it on one line, without control characters"));
    }
    Ok(value)
}
