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

    /// Whether a field that the upstream may take for one of the name has one of the values.
    pub(crate) fn matches_any(&self, handshake: &Handshake) -> bool {
        handshake.headers_resembling(&self.header).any(|value| self.means(value))
    }

    /// Whether the field is there, and has no other value, nor has one that the upstream may take for it: it may go by any
    /// of several lines.
    pub(crate) fn matches_all(&self, handshake: &Handshake) -> bool {
        handshake.header(&self.header).is_some()
            && handshake.headers_resembling(&self.header).all(|value| self.means(value))
    }

    fn means(&self, value: &[u8]) -> bool {
        self.values.as_ref().is_none_or(|values| values.contains(&Digest::of(value)))
    }
}
