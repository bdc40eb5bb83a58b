//! Rules about a header field.

use serde::Deserialize;
use tidegate_guest::Handshake;

use crate::digest::Digest;

/// A header field, and the values of it that are meant: without `values`, any.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    header: String,
    values: Option<Vec<Digest>>,
}

impl Rule {
    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.header.make_ascii_lowercase();
        if self.header.is_empty() {
            return Err("`header` is empty; write the name of a header field".into());
        }
        match &self.values {
            Some(values) if values.is_empty() => Err("`values` is empty; leave it out to mean any value".into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn matches(&self, handshake: &Handshake) -> bool {
        handshake.headers_named(&self.header).any(|value| match &self.values {
            Some(values) => values.contains(&Digest::of(value)),
            None => true,
        })
    }
}
