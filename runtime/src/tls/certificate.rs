//! A certificate with its chain and its key, as a server shows it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys};
use thiserror::Error;

use super::identity::{self, Parsed};
use super::provider;

/// A certificate of a server.
#[derive(Clone, Debug)]
pub struct Certificate {
    pub(super) key: Arc<CertifiedKey>,
    /// The names that it is for, in lower case; a `*.` stands for one label (RFC 6125 section 6.4.3).
    names: Vec<String>,
    not_before: SystemTime,
    not_after: SystemTime,
}

/// Why a certificate cannot be shown, as a sentence that follows the name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// There is none.
    #[error("holds no certificate")]
    NoCertificate,
    /// It is not in the form of RFC 7468, or what is in it is no certificate.
    #[error("holds a certificate that cannot be read")]
    MalformedCertificate,
    /// There is none, or it is encrypted.
    #[error("holds no private key, or one that is encrypted")]
    NoKey,
    /// It is of no kind that there is.
    #[error(
        "holds a private key that cannot be read: RSA of 2048 to 8192 bits, ECDSA P-256, P-384 or P-521, and Ed25519 can"
    )]
    MalformedKey,
    /// It is another's.
    #[error("holds a key that does not fit the first certificate of the chain")]
    OtherKey,
}

impl CertificateError {
    /// Whether it is about the key, and not about the chain.
    pub fn is_of_key(self) -> bool {
        matches!(self, Self::NoKey | Self::MalformedKey | Self::OtherKey)
    }

    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoCertificate | Self::MalformedCertificate => {
                "write a PEM file with the server's certificate first and its issuers behind it"
            }
            Self::NoKey => "write a PEM file with an unencrypted private key, `-----BEGIN PRIVATE KEY-----`",
            Self::MalformedKey => "have a key of one of these kinds made, and a certificate for it",
            Self::OtherKey => "write the chain and the key that were made together",
        }
    }
}

impl Certificate {
    /// Reads a chain, the certificate itself first, and its key, both in PEM (RFC 7468), and an OCSP response in DER
    /// (RFC 6960) that is shown with it.
    ///
    /// # Errors
    /// When there is none, it cannot be read, or the two do not belong together. Nothing of a key is quoted.
    pub fn read(chain: &[u8], key: &[u8], ocsp: Option<&[u8]>) -> Result<Self, CertificateError> {
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
        let chain = chain.map_err(|_| CertificateError::MalformedCertificate)?;
        let first = chain.first().ok_or(CertificateError::NoCertificate)?;
        let Parsed { names, not_before, not_after, .. } =
            identity::parse(first).ok_or(CertificateError::MalformedCertificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::NoKey)?;
        let mut certified = CertifiedKey::from_der(chain, key, &provider()).map_err(|error| match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::OtherKey,
            Error::InvalidCertificate(_) => CertificateError::MalformedCertificate,
            _ => CertificateError::MalformedKey,
        })?;
        certified.ocsp = ocsp.map(<[u8]>::to_vec);
        Ok(Self { key: Arc::new(certified), names, not_before, not_after })
    }

    /// What it is called where several are told apart: the first of its names.
    pub fn name(&self) -> &str {
        self.names.first().map_or("(no name)", String::as_str)
    }

    /// The names that it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// When it begins.
    pub fn not_before(&self) -> SystemTime {
        self.not_before
    }

    /// When it ends.
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// For how long it is over already; `None` while it is not.
    pub fn expired_for(&self, now: SystemTime) -> Option<Duration> {
        now.duration_since(self.not_after).ok().filter(|over| !over.is_zero())
    }
}
