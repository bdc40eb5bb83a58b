//! The rules that tokens are verified by.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::findings::Findings;
use super::sources::Sources;
use crate::config::{KeysAt, Tokens};
use crate::token::{Issuers, KeySet, Keys, Rules};

/// Makes the rules of all tokens, by name. Keys at a url are those that are known already, or are fetched from now on.
pub(super) fn rules(sources: &Sources, issuers: &Issuers, findings: &mut Findings) -> BTreeMap<String, Arc<Rules>> {
    let tokens = sources.config.tokens.iter();
    tokens.filter_map(|(name, tokens)| Some((name.clone(), of(tokens, sources, issuers, findings)?))).collect()
}

/// `None` where something is wrong, which is among the findings then.
fn of(tokens: &Tokens, sources: &Sources, issuers: &Issuers, findings: &mut Findings) -> Option<Arc<Rules>> {
    let keys = match &tokens.jwks {
        None => None,
        Some(KeysAt::Url(url, _)) => Some(issuers.keys(url)),
        Some(KeysAt::File(file)) => {
            let set = KeySet::read(sources.file(&file.path)?).map_err(|error| {
                let advice = "write a JSON Web Key Set: { \"keys\": [{ \"kty\": \"EC\", … }] }";
                findings.add(&file.place, format!("{} {error}", file.path.display()), advice);
            });
            Some(Arc::new(Keys::fixed(set.ok()?)))
        }
    };
    Some(Arc::new(Rules::new(tokens.terms.clone(), keys, tokens.secret.as_ref())))
}
