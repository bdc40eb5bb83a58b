//! What a TLS connection is decided by: which certificate a server shows, whom either side believes, and what lets a session
//! be resumed.
//!
//! Nothing here moves bytes or opens a file. A [`Server`], or a [`Client`] of an upstream, is made of the bytes of a configuration's files and is
//! immutable; another one takes its place for handshakes to come, and open connections go on with what they agreed.
//! There is one provider of cryptography, aws-lc.

mod certificate;
mod client;
mod identity;
mod issuers;
mod outcome;
mod reason;
mod renewed;
mod server;
mod shelf;
mod tickets;

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, aws_lc_rs};

pub use certificate::{Certificate, CertificateError};
pub use client::{Client, ClientSettings, Trust};
pub use identity::{Identity, common_name};
pub use issuers::{Issuers, IssuersError, Revocations};
pub use outcome::{failed, succeeded};
pub use reason::reason;
pub use renewed::Renewed;
pub use server::{ClientAuth, Server, Settings, Version};
pub use tickets::{Keys, Tickets};

/// Everything that is computed for TLS.
fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(aws_lc_rs::default_provider()));
    PROVIDER.clone()
}

/// The application protocol of an authority that validates a name (RFC 8737 section 4).
pub const ACME_TLS_1: &[u8] = b"acme-tls/1";
/// The application protocol of HTTP/1.1 (RFC 7301 section 6).
pub const HTTP_1_1: &[u8] = b"http/1.1";
/// HTTP/2 over TLS (RFC 9113 section 3.2).
pub const HTTP_2: &[u8] = b"h2";
