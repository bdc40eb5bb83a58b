//! Who may come in by a token (RFC 7519): where it stands in a request, what has to be true of it, and whose keys say so.
//!
//! A worker verifies with what is published at the moment and takes no lock. The keys that an issuer publishes are fetched
//! on the control runtime ([`Refresher`]), and the last good set stays until there is another. No token, and no part of one but its
//! claims, leaves this room.

mod bearer;
mod issuers;
mod keys;
mod refused;
mod requirement;
mod rules;
mod secret;
mod source;

pub use jsonwebtoken::Algorithm;

pub use bearer::Bearer;
pub use issuers::{Issuers, Refresher, ask};
pub use keys::{InvalidKeys, KeySet, Keys};
pub use refused::Refused;
pub use requirement::{Admitted, Offered, Requirement};
pub use rules::{Rules, Terms, is_symmetric};
pub use secret::Secret;
pub use source::{InvalidSource, Source};

/// What the names of attributes begin with that only the runtime sets.
pub const OWN_ATTRIBUTES: [&str; 3] = ["proxy.", "tls.", "token."];
