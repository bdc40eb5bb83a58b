//! Whom certificates of the other side have to come from, and which of them are revoked.

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use thiserror::Error;

/// Certificates of authorities that are believed.
#[derive(Clone, Debug)]
pub struct Issuers {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) revoked: Vec<CertificateRevocationListDer<'static>>,
}

/// Why nobody could be believed, as a sentence that follows the name of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum IssuersError {
    /// There is none.
    #[error("holds no certificate of an authority")]
    NoCertificate,
    /// It is not in the form of RFC 7468, or what is in it is no certificate.
    #[error("holds a certificate that cannot be read")]
    MalformedCertificate,
    /// There is none, or it cannot be read.
    #[error("holds no revocation list that can be read")]
    NoRevocations,
}

impl IssuersError {
    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoCertificate | Self::MalformedCertificate => "write a PEM file with the authority's certificate",
            Self::NoRevocations => "write a PEM file, `-----BEGIN X509 CRL-----`, that the authority has signed",
        }
    }
}

impl Issuers {
    /// Reads the certificates of authorities, in PEM.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn read(authorities: &[u8]) -> Result<Self, IssuersError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(|_| IssuersError::MalformedCertificate)?;
            roots.add(certificate).map_err(|_| IssuersError::MalformedCertificate)?;
        }
        if roots.is_empty() {
            return Err(IssuersError::NoCertificate);
        }
        Ok(Self { roots: Arc::new(roots), revoked: Vec::new() })
    }

    /// Has what these lists name believed no more: certificate revocation lists (RFC 5280 section 5), in PEM.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn without(mut self, revocations: &[u8]) -> Result<Self, IssuersError> {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(revocations).collect();
        self.revoked = lists.ok().filter(|lists| !lists.is_empty()).ok_or(IssuersError::NoRevocations)?;
        Ok(self)
    }
}
