//! JSON Web Tokens (RFC 7519) signed with HMAC-SHA-256 (`HS256`, RFC 7518 section 3.2), and with nothing else: a token
//! cannot choose how it is verified.

mod base64url;

use std::collections::BTreeMap;

use hmac::{Hmac, Mac};
use serde::Deserialize;
use serde_json::Value;
use sha2::Sha256;
use tidegate_guest::Admission;

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
    claims: BTreeMap<String, Value>,
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
    crit: Option<Value>,
}

impl Jwt {
    /// RFC 7518 section 3.2 wants a key of the hash's size at least.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self.secret.len() {
            0..SHORTEST_SECRET => Err(format!("`secret` is too short; write {SHORTEST_SECRET} bytes or more")),
            _ => Ok(()),
        }
    }

    /// Verifies a token at a time in seconds since 1970.
    pub(crate) fn verify(&self, token: &str, now: u64) -> Result<Bearer, Rejection> {
        let claims = self.authentic(token)?;
        let remaining = self.remaining(&claims, now)?;
        if self
            .issuer
            .as_deref()
            .is_some_and(|issuer| claims.get("iss").and_then(Value::as_str) != Some(issuer))
        {
            return Err(Rejection::Invalid("wrong issuer"));
        }
        if self
            .audience
            .as_deref()
            .is_some_and(|audience| !claims.get("aud").is_some_and(|aud| holds(aud, audience)))
        {
            return Err(Rejection::Invalid("wrong audience"));
        }
        if !self
            .claims
            .iter()
            .all(|(name, wanted)| claims.get(name).is_some_and(|claim| satisfies(claim, wanted)))
        {
            return Err(Rejection::NotEnough);
        }
        let subject = claims
            .get("sub")
            .and_then(Value::as_str)
            .map(|subject| ("user".to_owned(), subject.to_owned()));
        let attributes = self
            .attributes
            .iter()
            .filter_map(|name| Some((name.clone(), plain(claims.get(name)?)?)));
        Ok(Bearer {
            attributes: subject.into_iter().chain(attributes).collect(),
            remaining,
        })
    }

    /// The claims of a token that somebody with the secret has signed.
    fn authentic(&self, token: &str) -> Result<BTreeMap<String, Value>, Rejection> {
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
        mac.verify_slice(&signature)
            .map_err(|_| Rejection::Invalid("bad signature"))?;
        let parsed = base64url::decode(header).and_then(|header| serde_json::from_slice::<Header>(&header).ok());
        match parsed {
            Some(Header { alg, crit: None }) if alg == "HS256" => {}
            _ => return Err(Rejection::Invalid("unsupported token")),
        }
        base64url::decode(claims)
            .and_then(|claims| serde_json::from_slice(&claims).ok())
            .ok_or(malformed)
    }

    fn remaining(&self, claims: &BTreeMap<String, Value>, now: u64) -> Result<Option<u64>, Rejection> {
        if let Some(not_before) = claims.get("nbf") {
            let not_before = seconds(not_before).ok_or(Rejection::Invalid("malformed token"))?;
            if now.saturating_add(self.leeway_seconds) < not_before {
                return Err(Rejection::Invalid("token not yet valid"));
            }
        }
        match claims.get("exp") {
            None if self.allow_without_expiry => Ok(None),
            None => Err(Rejection::Invalid("token without expiry")),
            Some(expiry) => {
                let expiry = seconds(expiry).ok_or(Rejection::Invalid("malformed token"))?;
                match expiry.saturating_add(self.leeway_seconds).saturating_sub(now) {
                    0 => Err(Rejection::Invalid("token expired")),
                    remaining => Ok(Some(remaining)),
                }
            }
        }
    }
}

const SHORTEST_SECRET: usize = 32;

/// A NumericDate, which may have a fraction; the fraction is cut off.
fn seconds(date: &Value) -> Option<u64> {
    date.as_u64().or_else(|| {
        let date = date.as_f64().filter(|date| (0.0..1e15).contains(date))?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be in range"
        )]
        let seconds = date as u64;
        Some(seconds)
    })
}

/// Whether a claim, which may be a list, is or has this text.
fn holds(claim: &Value, text: &str) -> bool {
    match claim {
        Value::String(claim) => claim == text,
        Value::Array(claims) => claims.iter().any(|claim| claim.as_str() == Some(text)),
        _ => false,
    }
}

/// Whether a claim is, or as a list has, the value that is wanted or one of those that are.
fn satisfies(claim: &Value, wanted: &Value) -> bool {
    match (claim, wanted) {
        (claim, Value::Array(wanted)) => wanted.iter().any(|wanted| satisfies(claim, wanted)),
        (Value::Array(claims), wanted) => claims.contains(wanted),
        (claim, wanted) => claim == wanted,
    }
}

/// A claim as an attribute; lists and objects are none.
fn plain(claim: &Value) -> Option<String> {
    match claim {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
