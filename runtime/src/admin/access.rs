//! Who may ask the admin API for what.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use http::header::{AUTHORIZATION, HeaderMap};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::config::{AdminToken, Role};
use crate::session::Scope;

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
    #[error("this token may send messages to connections, and do nothing else")]
    Messages,
}

/// What somebody asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To see something.
    Look,
    /// To have something done.
    Act,
    /// To send a message to the client of a connection.
    Push,
}

/// Who asks, as far as they have to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Asker<'a> {
    /// The name of the token.
    pub(super) name: Option<&'a str>,
    /// The routes to whose clients it may send something.
    pub(super) scope: Scope,
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

    /// Who asks, if they may.
    pub(super) fn check(&self, headers: &HeaderMap, wish: Wish) -> Result<Asker<'_>, Denied> {
        if self.tokens.is_empty() {
            return Ok(Asker::default());
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
            Some(AdminToken { role: Role::Viewer, .. }) if wish != Wish::Look => Err(Denied::Viewer),
            Some(AdminToken { role: Role::Messages(_), .. }) if wish != Wish::Push => Err(Denied::Messages),
            Some(AdminToken { name, role: Role::Messages(routes), .. }) => {
                Ok(Asker { name: Some(name), scope: Some(routes.clone()) })
            }
            Some(AdminToken { name, role: Role::Viewer | Role::Operator, .. }) => {
                Ok(Asker { name: Some(name), scope: None })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::HeaderValue;

    use super::*;

    fn token(name: &str, role: Role) -> AdminToken {
        AdminToken { name: name.to_owned(), hash: Sha256::digest(format!("secret of {name}")).into(), role }
    }

    #[test]
    fn who_asks_is_known_by_the_hash_of_a_token_and_a_viewer_only_looks() {
        let access = Access::new(vec![token("ann", Role::Operator), token("bob", Role::Viewer)], false);
        for (value, wish, who) in [
            (Some("Bearer secret of ann"), Wish::Act, Ok("ann")),
            (Some("Bearer secret of ann"), Wish::Push, Ok("ann")),
            (Some("bearer secret of bob"), Wish::Look, Ok("bob")),
            (Some("Bearer secret of bob"), Wish::Act, Err(Denied::Viewer)),
            (Some("Bearer secret of bob"), Wish::Push, Err(Denied::Viewer)),
            (Some("Bearer secret of eve"), Wish::Look, Err(Denied::Unknown)),
            (Some("Bearer "), Wish::Look, Err(Denied::Unknown)),
            (Some("Basic secret of ann"), Wish::Look, Err(Denied::NoToken)),
            (Some("secret"), Wish::Look, Err(Denied::NoToken)),
            (None, Wish::Look, Err(Denied::NoToken)),
        ] {
            let headers = value.map(|value| (AUTHORIZATION, HeaderValue::from_static(value)));
            let who = who.map(|name| Asker { name: Some(name), scope: None });
            assert_eq!(access.check(&headers.into_iter().collect(), wish), who, "{value:?}");
        }
        let twice = [AUTHORIZATION, AUTHORIZATION].map(|name| (name, HeaderValue::from_static("Bearer secret of ann")));
        let mut headers = HeaderMap::new();
        twice.into_iter().for_each(|(name, value)| {
            headers.append(name, value);
        });
        assert_eq!(access.check(&headers, Wish::Look), Err(Denied::NoToken));
    }

    #[test]
    fn a_token_for_messages_is_for_its_routes_and_nothing_else() {
        let routes: Arc<[String]> = Arc::new(["chat".to_owned()]);
        let access = Access::new(vec![token("app", Role::Messages(routes.clone()))], false);
        let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer secret of app"))]);
        let asker = Asker { name: Some("app"), scope: Some(routes) };
        assert_eq!(access.check(&headers, Wish::Push), Ok(asker));
        for wish in [Wish::Look, Wish::Act] {
            assert_eq!(access.check(&headers, wish), Err(Denied::Messages));
        }
    }

    #[test]
    fn without_a_token_everybody_may_do_everything() {
        assert_eq!(Access::default().check(&HeaderMap::new(), Wish::Act), Ok(Asker::default()));
    }
}
