//! What lets a client resume its session (RFC 5077, RFC 8446 section 4.6.1): tickets that only we can read, with keys that all
//! workers and the next process of a binary upgrade share.
//!
//! A key is used for six hours and read for six more. Each follows from the one before by a function that does not lead
//! back, so whoever shares one has all that come, and when a key is gone what it sealed is.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwapOption;
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk};
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

/// The keys of a process, from which those of its tickets are made.
pub struct Keys(Mutex<Chain>);

/// The link for now, and the one before it.
#[derive(Clone, Copy)]
struct Chain {
    epoch: u64,
    secrets: [Secret; 2],
}

type Secret = [u8; 32];

/// Tickets of listeners that ask the same of their clients.
pub struct Tickets {
    keys: Arc<Keys>,
    context: Vec<u8>,
    derived: ArcSwapOption<Derived>,
}

/// The keys of an epoch and of the one before it.
struct Derived {
    epoch: u64,
    keys: [LessSafeKey; 2],
}

impl Keys {
    /// Keys that nobody else has.
    ///
    /// # Errors
    /// When the system has no random numbers.
    pub fn new() -> Result<Self, Unspecified> {
        let chain = Chain { epoch: epoch(SystemTime::now()), secrets: [random()?, random()?] };
        Ok(Self(Mutex::new(chain)))
    }

    /// Those that another process has, as [`to_text`](Self::to_text) gave them.
    pub fn from_text(text: &str) -> Option<Self> {
        let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let bytes = text.as_bytes().chunks(2).map(digits).collect::<Option<Vec<_>>>()?;
        let (epoch, secrets) = bytes.split_first_chunk()?;
        let (now, before) = secrets.split_first_chunk()?;
        let chain = Chain { epoch: u64::from_be_bytes(*epoch), secrets: [*now, before.try_into().ok()?] };
        Some(Self(Mutex::new(chain)))
    }

    /// What another process needs to read our tickets. It is secret.
    pub fn to_text(&self) -> String {
        let Chain { epoch, secrets } = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = epoch.to_be_bytes().into_iter().chain(secrets.into_iter().flatten());
        bytes.map(|byte| format!("{byte:02x}")).collect()
    }

    /// The link of an epoch, after which those before it are gone. Time that goes back finds a later one.
    fn at(&self, epoch: u64) -> Result<Chain, Unspecified> {
        let mut chain = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch.saturating_sub(chain.epoch) > FARTHEST {
            *chain = Chain { epoch, secrets: [random()?, random()?] };
        }
        while chain.epoch < epoch {
            let [now, _] = chain.secrets;
            *chain = Chain { epoch: chain.epoch + 1, secrets: [follow(&now, &[b"next"])?, now] };
        }
        Ok(*chain)
    }
}

impl Tickets {
    /// Tickets that hold only where the same is asked of clients: `context` is what that is.
    pub fn new(keys: Arc<Keys>, context: &[u8]) -> Self {
        Self { keys, context: context.to_vec(), derived: ArcSwapOption::empty() }
    }

    fn at(&self, epoch: u64) -> Result<Arc<Derived>, Unspecified> {
        if let Some(derived) = self.derived.load_full().filter(|derived| derived.epoch >= epoch) {
            return Ok(derived);
        }
        let Chain { epoch, secrets: [now, before] } = self.keys.at(epoch)?;
        let key = |secret| -> Result<LessSafeKey, Unspecified> {
            let key = follow(secret, &[b"tickets", &self.context])?;
            Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key)?))
        };
        let derived = Arc::new(Derived { epoch, keys: [key(&now)?, key(&before)?] });
        self.derived.store(Some(derived.clone()));
        Ok(derived)
    }

    /// Epoch, nonce, and what is sealed with its tag.
    fn seal(&self, plain: &[u8], epoch: u64) -> Result<Vec<u8>, Unspecified> {
        let derived = self.at(epoch)?;
        let [key, _] = &derived.keys;
        let epoch = derived.epoch.to_be_bytes();
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce)?;
        let mut sealed = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(epoch), &mut sealed)?;
        Ok([&epoch[..], &nonce, &sealed].concat())
    }

    fn open(&self, ticket: &[u8], epoch: u64) -> Option<Vec<u8>> {
        let (made, rest) = ticket.split_first_chunk()?;
        let (nonce, sealed) = rest.split_first_chunk()?;
        let derived = self.at(epoch).ok()?;
        let age = derived.epoch.checked_sub(u64::from_be_bytes(*made))?;
        let key = derived.keys.get(usize::try_from(age).ok()?)?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = key.open_in_place(nonce, Aad::from(*made), &mut opened).ok()?.len();
        opened.truncate(length);
        Some(opened)
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(2 * EPOCH).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, epoch(SystemTime::now())).ok()
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.open(cipher, epoch(SystemTime::now()))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tickets").finish_non_exhaustive()
    }
}

fn epoch(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / EPOCH
}

fn random() -> Result<Secret, Unspecified> {
    let mut secret = [0; 32];
    rand::fill(&mut secret)?;
    Ok(secret)
}

/// What follows from a secret for a purpose (RFC 5869 section 2.3).
fn follow(secret: &Secret, purpose: &[&[u8]]) -> Result<Secret, Unspecified> {
    struct Length;

    impl KeyType for Length {
        fn len(&self) -> usize {
            32
        }
    }

    let mut followed = [0; 32];
    Prk::new_less_safe(HKDF_SHA256, secret).expand(purpose, Length)?.fill(&mut followed)?;
    Ok(followed)
}

/// How long a key is used, in seconds.
const EPOCH: u64 = 6 * 60 * 60;
/// A chain that is farther behind is no use any more.
const FARTHEST: u64 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(epoch: u64) -> Arc<Keys> {
        let keys = Keys::new().unwrap();
        keys.0.lock().unwrap().epoch = epoch;
        Arc::new(keys)
    }

    #[test]
    fn a_ticket_is_read_for_two_epochs_and_never_after() {
        let tickets = Tickets::new(keys(100), b"");
        let ticket = tickets.seal(b"session", 100).unwrap();
        assert_eq!(tickets.open(&ticket, 100).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets.open(&ticket, 101).as_deref(), Some(&b"session"[..]));
        assert_eq!(tickets.open(&ticket, 102), None);
        // Nor does time that goes back bring a key back.
        assert_eq!(tickets.open(&ticket, 100), None);
    }

    #[test]
    fn another_process_with_the_keys_reads_tickets_that_are_made_before_and_after() {
        let ours = keys(100);
        let tickets = Tickets::new(ours.clone(), b"same");
        let theirs = Arc::new(Keys::from_text(&ours.to_text()).unwrap());
        let others = Tickets::new(theirs, b"same");
        for epoch in [100, 101, 103] {
            let ticket = tickets.seal(b"session", epoch).unwrap();
            assert_eq!(others.open(&ticket, epoch).as_deref(), Some(&b"session"[..]), "{epoch}");
        }
        assert!(Keys::from_text("0123").is_none() && Keys::from_text(&"é".repeat(72)).is_none());
    }

    #[test]
    fn a_ticket_holds_only_where_the_same_is_asked_of_clients() {
        let keys = keys(100);
        let ticket = Tickets::new(keys.clone(), b"no certificate").seal(b"session", 100).unwrap();
        assert_eq!(Tickets::new(keys, b"a certificate").open(&ticket, 100), None);
    }

    #[test]
    fn what_is_no_ticket_is_not_read() {
        let tickets = Tickets::new(keys(100), b"");
        let ticket = tickets.seal(b"session", 100).unwrap();
        for at in 0..ticket.len() {
            let mut turned = ticket.clone();
            turned[at] ^= 1;
            assert_eq!(tickets.open(&turned, 100), None, "{at}");
            assert_eq!(tickets.open(&ticket[..at], 100), None, "{at}");
        }
    }
}
