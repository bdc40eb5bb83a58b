//! The standard filter `access`: who may open a connection.
//!
//! It decides about handshakes and selects no message, so an admitted connection costs nothing more. Secrets are
//! compared by their digests, so the time it takes tells nothing about how much of a guess was right.

mod credential;
mod digest;
mod header;
mod jwt;

use serde::Deserialize;
use tidegate_guest::{Admission, Filter, Handshake, Interest, Refusal, clock, export_filter};

use crate::credential::{Credential, Source};
use crate::digest::Digest;
use crate::header::Rule;
use crate::jwt::{Jwt, Rejection};

/// The configuration; README.md has the keys.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Access {
    deny: Vec<Rule>,
    allow: Vec<Rule>,
    tokens: Vec<Token>,
    jwt: Option<Jwt>,
    credential: Source,
}

/// A bearer token and whom it stands for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    token: Digest,
    user: String,
}

impl Filter for Access {
    type Session = ();

    fn configured(mut self) -> Result<Self, String> {
        let Self { deny, allow, tokens, jwt, .. } = &mut self;
        if deny.is_empty() && allow.is_empty() && tokens.is_empty() && jwt.is_none() {
            return Err("nothing to check; write `deny`, `allow`, `tokens` or `jwt`".into());
        }
        for (list, rules) in [("deny", deny), ("allow", allow)] {
            for (index, rule) in rules.iter_mut().enumerate() {
                rule.check().map_err(|error| format!("{list}[{index}]: {error}"))?;
            }
        }
        if let Some(jwt) = jwt {
            jwt.check().map_err(|error| format!("jwt: {error}"))?;
        }
        Ok(self)
    }

    fn interest(&self) -> Interest {
        Interest::nothing()
    }

    fn open(&self, handshake: &Handshake) -> Result<Admission<()>, Refusal> {
        if self.deny.iter().any(|rule| rule.matches_any(handshake)) {
            return Err(forbidden());
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|rule| rule.matches_all(handshake)) {
            return Err(forbidden());
        }
        if self.tokens.is_empty() && self.jwt.is_none() {
            return Ok(Admission::of(()));
        }
        let credential = match self.credential.find(handshake) {
            Credential::Token(token) => token,
            Credential::None => return Err(unauthorized("Bearer")),
            Credential::Ambiguous => return Err(invalid_request("more than one token")),
        };
        // All of the list is gone through, so that the time does not tell which entry it was.
        let given = Digest::of(credential.as_bytes());
        let known =
            self.tokens.iter().fold(None, |known, entry| if entry.token == given { Some(entry) } else { known });
        match (known, &self.jwt) {
            (Some(entry), _) => Ok(Admission::of(()).attribute("user", entry.user.as_str())),
            (None, Some(jwt)) => match jwt.verify(&credential, clock::wall().as_secs()) {
                Ok(bearer) => Ok(bearer.admission()),
                Err(Rejection::Invalid(why)) => Err(invalid_token(why)),
                Err(Rejection::NotEnough) => Err(forbidden()),
            },
            (None, None) => Err(invalid_token("unknown token")),
        }
    }
}

fn forbidden() -> Refusal {
    Refusal::new(403).text("forbidden\n")
}

/// With the challenge that RFC 9110 section 11.6.1 demands of a 401.
fn unauthorized(challenge: &str) -> Refusal {
    Refusal::new(401).header("www-authenticate", challenge).text("unauthorized\n")
}

/// RFC 6750 section 3.1: the request repeats what may stand in it once.
fn invalid_request(why: &str) -> Refusal {
    let challenge = format!("Bearer error=\"invalid_request\", error_description=\"{why}\"");
    Refusal::new(400).header("www-authenticate", challenge).text("bad request\n")
}

/// RFC 6750 section 3.1. `why` is one of our own texts, never what the client sent.
fn invalid_token(why: &str) -> Refusal {
    unauthorized(&format!("Bearer error=\"invalid_token\", error_description=\"{why}\""))
}

export_filter!(Access);

#[cfg(test)]
mod tests;
