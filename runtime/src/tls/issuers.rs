//! Whom certificates of the other side have to come from, and which of them are revoked.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use thiserror::Error;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode;
use x509_cert::name::Name;

use super::provider;

/// Certificates of authorities that are believed.
#[derive(Clone, Debug)]
pub struct Issuers {
    pub(super) roots: Arc<RootCertStore>,
    /// Who they are.
    names: Vec<Name>,
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
    /// There is one that nobody could be looked up in.
    #[error("holds a revocation list of a kind that is not known")]
    ForeignRevocations,
}

/// A certificate revocation list, as far as a person wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocations {
    /// Who has signed it (RFC 4514).
    pub issuer: String,
    /// Whether that is none of the authorities.
    pub is_foreign: bool,
    /// When there should be another.
    pub not_after: Option<SystemTime>,
}

impl IssuersError {
    /// What to do about it.
    pub fn advice(self) -> &'static str {
        match self {
            Self::NoCertificate | Self::MalformedCertificate => "write a PEM file with the authority's certificate",
            Self::NoRevocations => "write a PEM file, `-----BEGIN X509 CRL-----`, that the authority has signed",
            Self::ForeignRevocations => {
                "have the authority sign a full list of version 2 that has a number (RFC 5280 section 5)"
            }
        }
    }
}

impl Issuers {
    /// Reads the certificates of authorities, in PEM.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn read(authorities: &[u8]) -> Result<Self, IssuersError> {
        let (mut roots, mut names) = (RootCertStore::empty(), Vec::new());
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(|_| IssuersError::MalformedCertificate)?;
            names.extend(x509_cert::Certificate::from_der(&certificate).map(|it| it.tbs_certificate.subject));
            roots.add(certificate).map_err(|_| IssuersError::MalformedCertificate)?;
        }
        if roots.is_empty() {
            return Err(IssuersError::NoCertificate);
        }
        Ok(Self { roots: Arc::new(roots), names, revoked: Vec::new() })
    }

    /// Has what these lists name believed no more: certificate revocation lists (RFC 5280 section 5), in PEM.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn without(mut self, revocations: &[u8]) -> Result<Self, IssuersError> {
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(revocations).collect();
        self.revoked = lists.ok().filter(|lists| !lists.is_empty()).ok_or(IssuersError::NoRevocations)?;
        let verifier = WebPkiClientVerifier::builder_with_provider(self.roots.clone(), provider());
        match verifier.with_crls(self.revoked.clone()).build() {
            Err(VerifierBuilderError::InvalidCrl(_)) => Err(IssuersError::ForeignRevocations),
            Ok(_) | Err(_) => Ok(self),
        }
    }

    /// The lists that revoke.
    pub fn revocations(&self) -> impl Iterator<Item = Revocations> {
        let lists = self.revoked.iter().filter_map(|list| CertificateList::from_der(list).ok());
        lists.map(|CertificateList { tbs_cert_list: list, .. }| Revocations {
            issuer: list.issuer.to_string(),
            is_foreign: !self.names.contains(&list.issuer),
            not_after: list.next_update.map(|time| time.to_system_time()),
        })
    }
}
