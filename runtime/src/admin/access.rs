//! Who may ask the admin API for what.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config::{AdminToken, Role};

/// Who may ask; without a token everybody may.
#[derive(Clone, Debug, Default)]
pub struct Access {
    tokens: Vec<AdminToken>,
    /// Whether metrics are for everybody all the same.
    public_metrics: bool,
}

/// Why somebody may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Denied {
    #[error("this takes a token: Authorization: Bearer TOKEN")]
    NoToken,
    #[error("nobody has this token")]
    Unknown,
    #[error("a viewer may only look")]
    Viewer,
}

impl Access {
    /// Lets in who has one of these tokens.
    pub fn new(tokens: Vec<AdminToken>, public_metrics: bool) -> Self {
        Self { tokens, public_metrics }
    }

    /// Whether metrics are for everybody.
    pub(super) fn shows_metrics(&self) -> bool {
        self.public_metrics
    }

    /// Who asks, by name; `None`: nobody has to say. `looks`: whether what is asked changes nothing.
    pub(super) fn check(&self, headers: &HeaderMap, looks: bool) -> Result<Option<&str>, Denied> {
        if self.tokens.is_empty() {
            return Ok(None);
        }
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = values.next().filter(|_| values.next().is_none()).ok_or(Denied::NoToken)?;
        let (scheme, token) = value.to_str().ok().and_then(|value| value.split_once(' ')).ok_or(Denied::NoToken)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Denied::NoToken);
        }
        let hash = Sha256::digest(token.trim());
        // All are compared, each in the same time, so that nobody learns by how much a guess was wrong.
        let is_it = |token: &AdminToken| verify_slices_are_equal(&token.hash, &hash).is_ok();
        let found = self.tokens.iter().fold(None, |found, token| if is_it(token) { Some(token) } else { found });
        match found {
            None => Err(Denied::Unknown),
            Some(AdminToken { role: Role::Viewer, .. }) if !looks => Err(Denied::Viewer),
            Some(token) => Ok(Some(&token.name)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn token(name: &str, role: Role) -> AdminToken {
        AdminToken { name: name.to_owned(), hash: Sha256::digest(format!("secret of {name}")).into(), role }
    }

    #[test]
    fn who_asks_is_known_by_the_hash_of_a_token_and_a_viewer_only_looks() {
        let access = Access::new(vec![token("ann", Role::Operator), token("bob", Role::Viewer)], false);
        for (value, looks, who) in [
            (Some("Bearer secret of ann"), false, Ok(Some("ann"))),
            (Some("bearer secret of bob"), true, Ok(Some("bob"))),
            (Some("Bearer secret of bob"), false, Err(Denied::Viewer)),
            (Some("Bearer secret of eve"), true, Err(Denied::Unknown)),
            (Some("Bearer "), true, Err(Denied::Unknown)),
            (Some("Basic secret of ann"), true, Err(Denied::NoToken)),
            (Some("secret"), true, Err(Denied::NoToken)),
            (None, true, Err(Denied::NoToken)),
        ] {
            let headers = value.map(|value| (AUTHORIZATION, HeaderValue::from_static(value)));
            assert_eq!(access.check(&headers.into_iter().collect(), looks), who, "{value:?}");
        }
        let twice = [AUTHORIZATION, AUTHORIZATION].map(|name| (name, HeaderValue::from_static("Bearer secret of ann")));
        let mut headers = HeaderMap::new();
        twice.into_iter().for_each(|(name, value)| {
            headers.append(name, value);
        });
        assert_eq!(access.check(&headers, true), Err(Denied::NoToken));
    }

    #[test]
    fn without_a_token_everybody_may_do_everything() {
        assert_eq!(Access::default().check(&HeaderMap::new(), false), Ok(None));
    }
}
