//! What requests of authorities in clear text are answered with (`http-01`, RFC 8555 section 8.3).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The answers that are expected at the moment, by their tokens; of all certificates of the process.
#[derive(Debug, Default)]
pub struct Challenges(Mutex<HashMap<String, Arc<str>>>);

impl Challenges {
    /// The answer to a request for a path; `None` for one that is about no challenge that is known here.
    pub fn answer(&self, path: &str) -> Option<Arc<str>> {
        let token = path.strip_prefix(PLACE)?;
        self.answers().get(token).cloned()
    }

    pub(super) fn expect(&self, token: &str, key_authorization: &str) {
        self.answers().insert(token.to_owned(), key_authorization.into());
    }

    pub(super) fn forget(&self, token: &str) {
        self.answers().remove(token);
    }

    fn answers(&self) -> MutexGuard<'_, HashMap<String, Arc<str>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where they are asked for.
const PLACE: &str = "/.well-known/acme-challenge/";
