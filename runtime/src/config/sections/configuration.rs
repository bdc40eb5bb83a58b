//! The configuration of a component: any table, as JSON, with its secrets.

use std::ops::Range;

use serde_json::{Map, Number, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::names::Names;
use crate::component::Configuration;
use crate::config::{
    reader::{Fault, Read, Value, join},
    secret::{MISPLACED, Secrets, is_secret},
};

/// Reads a table.
pub(super) fn config(value: &Value<'_>, names: &Names<'_>) -> Read<Configuration> {
    let DeValue::Table(table) = value.node() else {
        return Err(value.mistyped("a table", "write a table such as { key = \"value\" }"));
    };
    if is_secret(value.node()) {
        return Err(value.refuse(MISPLACED, "write a table, with secrets for texts in it"));
    }
    let mut reading = Reading { secrets: names.secrets, path: Vec::new(), faults: Vec::new() };
    let json = reading.object(table);
    let mut result = Ok(Configuration::new(json.to_string()));
    let own = value.place().key;
    for NoJson { span, path, fault } in reading.faults {
        let key = path.iter().fold(own.clone(), |key, step| match step {
            Step::Key(name) => join(&key, name),
            Step::Index(index) => format!("{key}[{index}]"),
        });
        result = Err(value.refuse_below(&span, &key, fault));
    }
    result
}

/// Reads on past what is wrong.
struct Reading<'r, 's> {
    secrets: &'r Secrets<'s>,
    path: Vec<Step<'r>>,
    faults: Vec<NoJson<'r>>,
}

#[derive(Clone, Copy)]
enum Step<'r> {
    Key(&'r str),
    Index(usize),
}

/// What cannot be JSON, and where it stands.
struct NoJson<'r> {
    span: Range<usize>,
    path: Vec<Step<'r>>,
    fault: Fault,
}

impl<'r> Reading<'r, '_> {
    fn object(&mut self, table: &'r DeTable<'_>) -> Json {
        let members = table.iter().map(|(name, value)| {
            self.path.push(Step::Key(name.get_ref()));
            let json = self.json(value);
            self.path.pop();
            (name.get_ref().to_string(), json)
        });
        Json::Object(members.collect::<Map<_, _>>())
    }

    fn json(&mut self, value: &'r Spanned<DeValue<'_>>) -> Json {
        let no_number = || Fault::new("JSON has no such number", "write another number, or text");
        let read = match value.get_ref() {
            DeValue::String(text) => Ok(Json::String(text.to_string())),
            DeValue::Boolean(boolean) => Ok(Json::Bool(*boolean)),
            DeValue::Datetime(datetime) => Ok(Json::String(datetime.to_string())),
            DeValue::Integer(integer) => {
                i64::from_str_radix(integer.as_str(), integer.radix()).map(Json::from).map_err(|_| no_number())
            }
            DeValue::Float(float) => {
                let number = float.as_str().parse().ok().and_then(Number::from_f64);
                number.map(Json::Number).ok_or_else(no_number)
            }
            DeValue::Array(array) => Ok(self.array(array.iter())),
            DeValue::Table(table) => match self.secrets.of(table) {
                Ok(Some(secret)) => Ok(Json::String(secret)),
                Ok(None) => Ok(self.object(table)),
                Err(fault) => Err(fault),
            },
        };
        read.unwrap_or_else(|fault| {
            self.faults.push(NoJson { span: value.span(), path: self.path.clone(), fault });
            Json::Null
        })
    }

    fn array<'t: 'r>(&mut self, elements: impl Iterator<Item = &'r Spanned<DeValue<'t>>>) -> Json {
        let read = elements.enumerate().map(|(index, element)| {
            self.path.push(Step::Index(index));
            let json = self.json(element);
            self.path.pop();
            json
        });
        Json::Array(read.collect())
    }
}
