//! What is wrong with a text that has places for values.

use crate::config::reader::{Fault, closest};
use crate::template::{InvalidTemplate, MOST_VALUES};

/// What is wrong with a template, in which values of these names may stand.
pub(super) fn fault(invalid: &InvalidTemplate, names: &[&str]) -> Fault {
    let instead = match invalid {
        InvalidTemplate::Unclosed => "close it, or write `{{` for a brace".to_owned(),
        InvalidTemplate::Unopened => "write `}}` for a brace".to_owned(),
        InvalidTemplate::Unknown(typed) => match closest(typed, names.iter().copied()) {
            Some(close) => format!("did you mean `{{{close}}}`?"),
            None => {
                let names: Vec<_> = names.iter().map(|name| format!("`{{{name}}}`")).collect();
                format!("there is {}; write `{{{{` for a brace", names.join(", "))
            }
        },
        InvalidTemplate::TooMany => format!("leave some out, so that there are {MOST_VALUES} at most"),
    };
    Fault::new(invalid.to_string(), instead)
}
