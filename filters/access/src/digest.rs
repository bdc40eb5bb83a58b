//! Secrets as their SHA-256: equal texts have equal digests, and how two digests differ tells nothing about the texts.

use serde::{Deserialize, Deserializer};
use sha2::{Digest as _, Sha256};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }
}

impl<'de> Deserialize<'de> for Digest {
    /// From the secret itself, which is not kept.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let secret = String::deserialize(deserializer)?;
        match secret.is_empty() {
            true => Err(serde::de::Error::custom("a secret is empty")),
            false => Ok(Self::of(secret.as_bytes())),
        }
    }
}
