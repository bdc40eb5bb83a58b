//! Who has come in by a token, as far as another token may keep them in.

use std::sync::Arc;

use tokio::time::Instant;

use super::refused::Refused;
use super::rules::Rules;

/// The bearer of a token that was verified.
#[derive(Debug)]
pub struct Bearer {
    pub(super) rules: Arc<Rules>,
    /// Whom the token is about.
    pub(super) subject: Option<String>,
}

impl Bearer {
    /// Verifies another token by the same rules, for the same subject; until when it holds, leeway included.
    ///
    /// # Errors
    /// When it does not hold, or is for somebody else, or neither says for whom it is. Where its key is not known, the
    /// issuer's keys are asked for, so that a later try may succeed.
    pub fn renew(&self, token: &str) -> Result<Instant, Refused> {
        let verified = self.rules.verify(token).inspect_err(|refused| {
            let keys = self.rules.keys().filter(|keys| refused.is_about_keys() && keys.is_due(Instant::now()));
            keys.into_iter().for_each(|keys| keys.wanted.notify_one());
        })?;
        match (&self.subject, &verified.subject) {
            (Some(own), Some(other)) if own == other => Ok(verified.until),
            _ => Err(Refused::Subject),
        }
    }
}

/// Whoever has the same subject by the same rules is the same.
impl PartialEq for Bearer {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rules, &other.rules) && self.subject == other.subject
    }
}

impl Eq for Bearer {}
