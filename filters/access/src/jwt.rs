//! JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256 (`HS256`, RFC 7518 section 3.2), and with nothing else: a token
//! cannot choose how it is verified.

mod base64url;
mod claim;

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;
use tidegate_guest::{Admission, read_json};

use self::claim::Claim;

/// How tokens are verified and what they must say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Jwt {
    secret: String,
    issuer: Option<String>,
    audience: Option<String>,
    #[serde(default)]
    leeway_seconds: u64,
    #[serde(default)]
    allow_without_expiry: bool,
    #[serde(default)]
    claims: BTreeMap<String, Claim>,
    #[serde(default)]
    attributes: Vec<String>,
}

/// Why a token does not open the door.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Rejection {
    /// It is no valid token: 401.
    Invalid(&'static str),
    /// It is valid, but does not have the claims: 403.
    NotEnough,
}

/// What a verified token says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bearer {
    attributes: Vec<(String, String)>,
    /// Seconds until it runs out.
    remaining: Option<u64>,
}

impl Bearer {
    pub(crate) fn admission(self) -> Admission<()> {
        let mut admission = Admission::of(());
        admission.attributes = self.attributes;
        admission.lease_seconds = self.remaining.map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        admission
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    crit: Option<Claim>,
}

impl Jwt {
    /// RFC 7518 section 3.2 wants a key of the hash's size at least.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.secret.len() < SHORTEST_SECRET {
            return Err(format!("`secret` is too short; write {SHORTEST_SECRET} bytes or more"));
        }
        match self.claims.iter().find(|(_, wanted)| !wanted.is_comparable()) {
            Some((name, _)) => Err(format!("claims.{name}: write a text, an integer, a boolean or a list of such")),
            None => Ok(()),
        }
    }

    /// Verifies a token at a time in seconds since 1970.
    pub(crate) fn verify(&self, token: &str, now: u64) -> Result<Bearer, Rejection> {
        let claims = self.authentic(token)?;
        let remaining = self.remaining(&claims, now)?;
        if self.issuer.as_deref().is_some_and(|issuer| claims.get("iss").and_then(Claim::text) != Some(issuer)) {
            return Err(Rejection::Invalid("wrong issuer"));
        }
        if self.audience.as_deref().is_some_and(|audience| !claims.get("aud").is_some_and(|aud| aud.holds(audience))) {
            return Err(Rejection::Invalid("wrong audience"));
        }
        if !self.claims.iter().all(|(name, wanted)| claims.get(name).is_some_and(|claim| claim.satisfies(wanted))) {
            return Err(Rejection::NotEnough);
        }
        let subject = claims.get("sub").and_then(Claim::text).map(|subject| ("user".to_owned(), subject.to_owned()));
        let attributes = self.attributes.iter().filter_map(|name| Some((name.clone(), claims.get(name)?.plain()?)));
        Ok(Bearer { attributes: subject.into_iter().chain(attributes).collect(), remaining })
    }

    /// The claims of a token that somebody with the secret has signed.
    fn authentic(&self, token: &str) -> Result<BTreeMap<String, Claim>, Rejection> {
        let malformed = Rejection::Invalid("malformed token");
        let Some((signed, signature)) = token.rsplit_once('.') else {
            return Err(malformed);
        };
        let Some((header, claims)) = signed.split_once('.') else {
            return Err(malformed);
        };
        let Some(signature) = base64url::decode(signature) else {
            return Err(malformed);
        };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(self.secret.as_bytes()) else {
            return Err(malformed);
        };
        mac.update(signed.as_bytes());
        // Compares in constant time.
        mac.verify_slice(&signature).map_err(|_| Rejection::Invalid("bad signature"))?;
        let parsed = read::<Header>(header);
        match parsed {
            Some(Header { alg, crit: None }) if alg == "HS256" => {}
            _ => return Err(Rejection::Invalid("unsupported token")),
        }
        read(claims).ok_or(malformed)
    }

    fn remaining(&self, claims: &BTreeMap<String, Claim>, now: u64) -> Result<Option<u64>, Rejection> {
        if let Some(not_before) = claims.get("nbf") {
            let not_before = not_before.seconds().ok_or(Rejection::Invalid("malformed token"))?;
            if now.saturating_add(self.leeway_seconds) < not_before {
                return Err(Rejection::Invalid("token not yet valid"));
            }
        }
        match claims.get("exp") {
            None if self.allow_without_expiry => Ok(None),
            None => Err(Rejection::Invalid("token without expiry")),
            Some(expiry) => {
                let expiry = expiry.seconds().ok_or(Rejection::Invalid("malformed token"))?;
                match expiry.saturating_add(self.leeway_seconds).saturating_sub(now) {
                    0 => Err(Rejection::Invalid("token expired")),
                    remaining => Ok(Some(remaining)),
                }
            }
        }
    }
}

const SHORTEST_SECRET: usize = 32;

/// A part of a token: JSON in Base 64.
fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    read_json(str::from_utf8(&base64url::decode(part)?).ok()?).ok()
}
