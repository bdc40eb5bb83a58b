//! Why a token lets nobody in, and what the client is told of it (RFC 6750 section 3).

use http::{HeaderValue, StatusCode};
use thiserror::Error;

/// Why somebody does not come in. No text quotes the token.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refused {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// There are several in a place for one. Who gets the request may take another than was verified.
    #[error("there are several tokens where one may be")]
    Several,
    /// It is no JSON Web Token with a signature, or longer than 16 KiB.
    #[error("the token is no signed JSON Web Token")]
    Malformed,
    /// It is signed by an algorithm that is not taken.
    #[error("the token is signed by an algorithm that is not taken")]
    Algorithm,
    /// The issuer does not publish the key.
    #[error("the token is signed with a key that is not known")]
    UnknownKey,
    /// It was not signed by that key, or is another since.
    #[error("the signature of the token is wrong")]
    Signature,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
    /// Somebody else has issued it.
    #[error("the token is of another issuer")]
    Issuer,
    /// It is for others.
    #[error("the token is for another audience")]
    Audience,
    /// It lacks a claim that each has to have, or has it in another form.
    #[error("the token has no valid claim `{0}`")]
    Claim(String),
    /// A claim does not say what the route asks for.
    #[error("the claim `{0}` of the token is not one that may come in")]
    Unmet(String),
    /// A token that renews is for somebody else.
    #[error("the token is for another subject")]
    Subject,
    /// The issuer's keys could not be had so far.
    #[error("the keys of the issuer are not there yet")]
    NoKeys,
}

impl Refused {
    /// The status that tells the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::NoKeys => StatusCode::SERVICE_UNAVAILABLE,
            Self::Several => StatusCode::BAD_REQUEST,
            Self::Unmet(_) => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// What `WWW-Authenticate` says. Whoever has sent no token is told no error.
    pub fn challenge(&self) -> Option<HeaderValue> {
        let code = match self {
            Self::NoKeys => return None,
            Self::Missing => return Some(HeaderValue::from_static("Bearer")),
            Self::Several => "invalid_request",
            Self::Unmet(_) => "insufficient_scope",
            _ => "invalid_token",
        };
        // The names of claims that are quoted have no sign that would end the text; see the configuration.
        HeaderValue::try_from(format!("Bearer error=\"{code}\", error_description=\"{self}\"")).ok()
    }

    /// Whether other keys could make a difference.
    pub fn is_about_keys(&self) -> bool {
        matches!(self, Self::UnknownKey | Self::NoKeys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_says_what_is_wrong_with_a_token_and_nothing_where_there_is_none() {
        for (refused, status, challenge) in [
            (Refused::Missing, 401, Some("Bearer")),
            (
                Refused::Expired,
                401,
                Some("Bearer error=\"invalid_token\", error_description=\"the token has expired\""),
            ),
            (
                Refused::Unmet("role".to_owned()),
                403,
                Some(
                    "Bearer error=\"insufficient_scope\", error_description=\"the claim `role` of the token is not \
                     one that may come in\"",
                ),
            ),
            (Refused::NoKeys, 503, None),
        ] {
            let told = refused.challenge();
            assert_eq!(
                (refused.status().as_u16(), told.as_ref().map(|told| told.to_str().unwrap())),
                (status, challenge)
            );
        }
    }
}
