//! Certificates that renew themselves (ACME, RFC 8555): ordered, validated over TLS (RFC 8737) or HTTP, kept on disk, and
//! renewed in time.
//!
//! Whoever builds a configuration asks for [`Acme::certificate`] and gets a [`Renewed`](crate::tls::Renewed), which listeners
//! show; all else happens on the control runtime ([`Keeper`]), for as long as somebody has it. Among processes that share a
//! directory one orders, and the others show what it has got, and answer for its challenges.

mod ask;
mod challenges;
mod keeper;
mod order;
mod store;
mod terms;

pub use challenges::Challenges;
pub use keeper::{Acme, Keeper};
pub use terms::{Terms, Ways};
