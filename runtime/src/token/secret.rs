//! A key that issuer and proxy share.

use std::fmt;

/// A shared key, or another text that only two know. It shows itself to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Box<[u8]>);

impl Secret {
    /// A key of these bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Self(bytes.into())
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// What it is, for whoever it is for.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(…)")
    }
}
