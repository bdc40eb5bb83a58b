//! What has to be true of a token.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde_json::{Map, Value};
use tokio::time::Instant;

use super::keys::{Key, Keys};
use super::refused::Refused;
use super::secret::Secret;

/// What is asked of a token beside its signature.
#[derive(Clone, Debug, PartialEq)]
pub struct Terms {
    /// Who has issued it; `None`: whoever has the key.
    pub issuer: Option<String>,
    /// For whom it is, one of these; none: for anybody.
    pub audience: Vec<String>,
    /// By which algorithms it may be signed, at least one.
    pub algorithms: Vec<Algorithm>,
    /// How far the clocks of issuer and proxy may differ.
    pub leeway: Duration,
    /// What claims have to say, each one of these values, or to have in a list.
    pub required_claims: BTreeMap<String, Vec<Value>>,
    /// Which claims are told, beside `sub`.
    pub claims: Vec<String>,
}

/// Terms with the keys of who may sign. Immutable, but that the keys become others.
#[derive(Debug)]
pub struct Rules {
    terms: Terms,
    keys: Option<Arc<Keys>>,
    secret: Option<DecodingKey>,
    /// Of each family of algorithms, what is asked by it.
    validations: Vec<(AlgorithmFamily, Validation)>,
}

/// A token that holds.
#[derive(Debug, PartialEq)]
pub(super) struct Verified {
    /// Whom it is about.
    pub(super) subject: Option<String>,
    /// When it is over, leeway included.
    pub(super) until: Instant,
    /// What is told of it, by name.
    pub(super) attributes: Vec<(String, String)>,
}

/// Whether an algorithm is one of a key that both sides share.
pub fn is_symmetric(algorithm: Algorithm) -> bool {
    algorithm.family() == AlgorithmFamily::Hmac
}

impl Rules {
    /// Rules of these terms. `keys` are for algorithms with public keys, `secret` is for the others.
    pub fn new(terms: Terms, keys: Option<Arc<Keys>>, secret: Option<&Secret>) -> Self {
        let mut validations: Vec<(AlgorithmFamily, Validation)> = Vec::new();
        for algorithm in &terms.algorithms {
            let family = algorithm.family();
            match validations.iter_mut().find(|(known, _)| *known == family) {
                Some((_, validation)) => validation.algorithms.push(*algorithm),
                None => validations.push((family, validation(&terms, *algorithm))),
            }
        }
        let secret = secret.map(|secret| DecodingKey::from_secret(secret.bytes()));
        Self { terms, keys, secret, validations }
    }

    /// The keys of the issuer; `None` where all is signed with a secret.
    pub fn keys(&self) -> Option<&Arc<Keys>> {
        self.keys.as_ref()
    }

    /// Verifies a token at this moment.
    pub(super) fn verify(&self, token: &str) -> Result<Verified, Refused> {
        if token.len() > MAX_TOKEN {
            return Err(Refused::Malformed);
        }
        let header = decode_header(token).map_err(|_| Refused::Malformed)?;
        let algorithm = header.alg;
        let is_taken = |(family, _): &&(AlgorithmFamily, Validation)| *family == algorithm.family();
        let (_, validation) = self.validations.iter().find(is_taken).ok_or(Refused::Algorithm)?;
        if !validation.algorithms.contains(&algorithm) {
            return Err(Refused::Algorithm);
        }
        // An extension that has to be understood (RFC 7515 section 4.1.11); there is none that we do.
        if header.crit.is_some() {
            return Err(Refused::Malformed);
        }
        let claims = match &self.secret {
            Some(secret) if is_symmetric(algorithm) => {
                decode::<Map<String, Value>>(token, secret, validation).map_err(|error| refused(&error))?.claims
            }
            _ => self.verify_published(token, algorithm, header.kid.as_deref(), validation)?,
        };
        self.judge(&claims)
    }

    fn verify_published(
        &self,
        token: &str,
        algorithm: Algorithm,
        id: Option<&str>,
        validation: &Validation,
    ) -> Result<Map<String, Value>, Refused> {
        let set = self.keys.as_ref().ok_or(Refused::Algorithm)?.now().ok_or(Refused::NoKeys)?;
        let mut why = Refused::UnknownKey;
        for Key { decoding, .. } in set.candidates(algorithm, id) {
            match decode::<Map<String, Value>>(token, decoding, validation) {
                Ok(decoded) => return Ok(decoded.claims),
                Err(error) => why = refused(&error),
            }
            if why != Refused::Signature {
                return Err(why);
            }
        }
        // Without a name it may be one that we do not have yet.
        Err(if id.is_none() && why == Refused::Signature { Refused::UnknownKey } else { why })
    }

    /// What signed claims say.
    fn judge(&self, claims: &Map<String, Value>) -> Result<Verified, Refused> {
        for (name, wanted) in &self.terms.required_claims {
            let said = claims.get(name).ok_or_else(|| Refused::Unmet(name.clone()))?;
            if !wanted.iter().any(|wanted| says(name, said, wanted)) {
                return Err(Refused::Unmet(name.clone()));
            }
        }
        let subject = match claims.get("sub") {
            None => None,
            Some(Value::String(subject)) => Some(subject.clone()),
            Some(_) => return Err(Refused::Claim("sub".to_owned())),
        };
        let names =
            std::iter::once("sub").chain(self.terms.claims.iter().map(String::as_str).filter(|name| *name != "sub"));
        let told = names.filter_map(|name| Some((format!("token.{name}"), text(claims.get(name)?))));
        Ok(Verified { subject, until: self.until(claims)?, attributes: told.collect() })
    }

    fn until(&self, claims: &Map<String, Value>) -> Result<Instant, Refused> {
        let expires = claims.get("exp").and_then(Value::as_f64).filter(|expires| expires.is_finite());
        let expires = expires.ok_or_else(|| Refused::Claim("exp".to_owned()))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let left = expires + self.terms.leeway.as_secs_f64() - now.as_secs_f64();
        let left = Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(LONGEST).min(LONGEST);
        Ok(Instant::now() + left)
    }
}

fn validation(terms: &Terms, algorithm: Algorithm) -> Validation {
    let mut validation = Validation::new(algorithm);
    let mut required = vec!["exp"];
    validation.leeway = terms.leeway.as_secs();
    validation.validate_nbf = true;
    validation.validate_aud = !terms.audience.is_empty();
    if !terms.audience.is_empty() {
        validation.set_audience(&terms.audience);
        required.push("aud");
    }
    if let Some(issuer) = &terms.issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}

/// Whether a claim says something: it is that, or a list that has it, or scopes that have it (RFC 8693 section 4.2).
fn says(name: &str, said: &Value, wanted: &Value) -> bool {
    match (said, wanted) {
        (Value::Array(list), wanted) => list.contains(wanted),
        (Value::String(said), Value::String(wanted)) if name == "scope" => said.split(' ').any(|word| word == wanted),
        (said, wanted) => said == wanted,
    }
}

/// A claim as an attribute: a text as it is, anything else as JSON.
fn text(claim: &Value) -> String {
    match claim {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn refused(error: &jsonwebtoken::errors::Error) -> Refused {
    match error.kind() {
        ErrorKind::ExpiredSignature => Refused::Expired,
        ErrorKind::ImmatureSignature => Refused::Early,
        ErrorKind::InvalidIssuer => Refused::Issuer,
        ErrorKind::InvalidAudience => Refused::Audience,
        ErrorKind::MissingRequiredClaim(name) | ErrorKind::InvalidClaimFormat(name) => Refused::Claim(name.clone()),
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Refused::Algorithm,
        ErrorKind::InvalidSignature
        | ErrorKind::InvalidEcdsaKey
        | ErrorKind::InvalidEddsaKey
        | ErrorKind::InvalidRsaKey(_)
        | ErrorKind::InvalidKeyFormat
        | ErrorKind::Provider(_) => Refused::Signature,
        _ => Refused::Malformed,
    }
}

/// Tokens of browsers have one or two KiB; what is larger would not fit into a header by default.
const MAX_TOKEN: usize = 16 << 10;
/// A lease that nobody sees the end of.
const LONGEST: Duration = Duration::from_secs(10 * 365 * 86_400);

#[cfg(test)]
pub(super) mod tests;
