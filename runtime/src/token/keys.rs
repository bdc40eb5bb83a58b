//! The keys that an issuer signs with (RFC 7517), as they are published at the moment.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::reactor::timeout;

/// The keys of an issuer. They are replaced all at once; whoever verifies takes no lock.
pub struct Keys {
    set: ArcSwapOption<KeySet>,
    /// When a fetch has last begun, in milliseconds since `made` and one more; 0: none has.
    begun: AtomicU64,
    made: Instant,
    /// Asks for a fetch.
    pub(super) wanted: Arc<Notify>,
    /// Whether a fetch is under way, and how many are over.
    fetches: watch::Sender<(bool, u64)>,
}

/// Keys of one moment, each good for signatures.
#[derive(Debug)]
pub struct KeySet(Vec<Key>);

/// A public key.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<String>,
    /// What alone it is for.
    algorithm: Option<Algorithm>,
    pub(super) decoding: DecodingKey,
}

/// A text that is no set of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidKeys {
    /// It is no JSON Web Key Set.
    #[error("is no JSON Web Key Set")]
    NoSet,
    /// None of its keys can be used.
    #[error("has no key that signatures could be verified with")]
    Empty,
    /// It has too many.
    #[error("has more than {MAX_KEYS} keys")]
    TooMany,
}

impl KeySet {
    /// Reads a JSON Web Key Set. Keys of kinds that are not known, for encryption, or secret ones are left out.
    ///
    /// # Errors
    /// When there is no key left, or the text is no such set.
    pub fn read(bytes: &[u8]) -> Result<Self, InvalidKeys> {
        let set: Value = serde_json::from_slice(bytes).map_err(|_| InvalidKeys::NoSet)?;
        let keys = set.get("keys").and_then(Value::as_array).ok_or(InvalidKeys::NoSet)?;
        if keys.len() > MAX_KEYS {
            return Err(InvalidKeys::TooMany);
        }
        let keys: Vec<_> = keys.iter().filter_map(Key::of).collect();
        if keys.is_empty() { Err(InvalidKeys::Empty) } else { Ok(Self(keys)) }
    }

    /// Those that may have signed by this algorithm; a token that names a key was signed by one of that name.
    pub(super) fn candidates<'k>(&'k self, algorithm: Algorithm, id: Option<&'k str>) -> impl Iterator<Item = &'k Key> {
        let fits = move |key: &&Key| {
            key.decoding.family() == algorithm.family()
                && key.algorithm.is_none_or(|only| only == algorithm)
                && id.is_none_or(|id| key.id.as_deref() == Some(id))
        };
        self.0.iter().filter(fits)
    }
}

impl Key {
    fn of(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let is_known = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => true,
            AlgorithmParameters::EllipticCurve(key) => matches!(key.curve, EllipticCurve::P256 | EllipticCurve::P384),
            AlgorithmParameters::OctetKeyPair(key) => key.curve == EllipticCurve::Ed25519,
            _ => false,
        };
        let is_for_signatures = jwk.common.public_key_use.as_ref().is_none_or(|said| *said == PublicKeyUse::Signature);
        if !is_known || !is_for_signatures {
            return None;
        }
        let algorithm = jwk.common.key_algorithm.map(Algorithm::try_from).transpose().ok()?;
        Some(Self { decoding: DecodingKey::from_jwk(&jwk).ok()?, id: jwk.common.key_id, algorithm })
    }
}

impl Keys {
    /// Keys that are still to be fetched.
    pub(super) fn unknown() -> Self {
        let (set, begun, made) = (ArcSwapOption::empty(), AtomicU64::new(0), Instant::now());
        Self { set, begun, made, wanted: Arc::default(), fetches: watch::Sender::new((false, 0)) }
    }

    /// Keys that stay these.
    pub fn fixed(set: KeySet) -> Self {
        let keys = Self::unknown();
        keys.set.store(Some(Arc::new(set)));
        // Nobody fetches others.
        keys.begun.store(u64::MAX, Ordering::Relaxed);
        keys
    }

    /// Those of now; `None`: none was ever there.
    pub(super) fn now(&self) -> Option<Arc<KeySet>> {
        self.set.load_full()
    }

    /// Waits, at most 5 s, for keys that are fetched now: the fetch that is under way, or another, if none has begun in the
    /// last 10 s. Whether something was fetched, with whatever success.
    pub async fn renewed(&self) -> bool {
        let mut fetches = self.fetches.subscribe();
        let (is_under_way, before) = *fetches.borrow_and_update();
        if !is_under_way {
            if !self.is_due(Instant::now()) {
                return false;
            }
            self.wanted.notify_one();
        }
        let over = fetches.wait_for(|(_, over)| *over != before);
        timeout(PATIENCE, over).await.is_ok_and(|over| over.is_ok())
    }

    /// Whether another fetch may begin.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        match self.begun.load(Ordering::Relaxed) {
            0 => true,
            u64::MAX => false,
            begun => self.since_made(now) >= (begun - 1).saturating_add(millis(APART)),
        }
    }

    /// A fetch begins.
    pub(super) fn begin(&self, now: Instant) {
        self.begun.store(self.since_made(now) + 1, Ordering::Relaxed);
        self.fetches.send_modify(|(is_under_way, _)| *is_under_way = true);
    }

    /// A fetch is over; without keys, those of before stay.
    pub(super) fn end(&self, set: Option<KeySet>) {
        if let Some(set) = set {
            self.set.store(Some(Arc::new(set)));
        }
        self.fetches.send_modify(|(is_under_way, over)| (*is_under_way, *over) = (false, over.wrapping_add(1)));
    }

    fn since_made(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.made))
    }
}

impl Drop for Keys {
    /// Whoever fetches them has no more to do.
    fn drop(&mut self) {
        self.wanted.notify_one();
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Keys").field(&self.set.load().as_ref().map(|set| set.0.len())).finish()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Issuers publish a handful: what is in use, what was, what will be.
const MAX_KEYS: usize = 64;
/// So that who sends tokens with made-up keys does not have the issuer asked for each.
pub(super) const APART: Duration = Duration::from_secs(10);
/// A client waits so long for a key that is new to us.
const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn keys_are_asked_for_again_after_ten_seconds_at_the_earliest() {
        let keys = Keys::unknown();
        assert!(keys.is_due(Instant::now()), "none was ever there");
        keys.begin(Instant::now());
        keys.end(None);
        assert!(!keys.renewed().await, "it is too soon");
        tokio::time::advance(APART).await;
        let fetch = async {
            keys.wanted.notified().await;
            keys.begin(Instant::now());
            keys.end(None);
        };
        let (renewed, ()) = tokio::join!(keys.renewed(), fetch);
        assert!(renewed && !keys.is_due(Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_keys_are_fetched_waits_for_these_and_not_for_ever() {
        let keys = Keys::unknown();
        keys.begin(Instant::now());
        let (renewed, ()) = tokio::join!(keys.renewed(), async { keys.end(None) });
        assert!(renewed);
        keys.begin(Instant::now());
        assert!(!keys.renewed().await, "nobody answers");
    }

    #[tokio::test(start_paused = true)]
    async fn keys_that_stay_are_never_asked_for() {
        let keys = Keys::fixed(KeySet(Vec::new()));
        assert!(!keys.is_due(Instant::now() + 2 * APART) && !keys.renewed().await);
    }
}
