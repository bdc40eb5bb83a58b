//! A certificate that becomes another by itself, and what convinces an authority meanwhile.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;
use super::provider;
use crate::metrics::CertificateExpiry;

/// A certificate that becomes another by itself. Handshakes get what is there at their moment.
pub struct Renewed {
    names: Vec<String>,
    current: ArcSwapOption<Certificate>,
    /// What authorities are shown, by the names that they ask for.
    proofs: Mutex<HashMap<String, Arc<CertifiedKey>>>,
    /// Where it is shown when it ends.
    expiries: Mutex<Vec<Weak<CertificateExpiry>>>,
}

impl Renewed {
    /// None yet, for these names in lower case.
    pub fn new(names: Vec<String>) -> Self {
        let (current, proofs, expiries) = (ArcSwapOption::empty(), Mutex::default(), Mutex::default());
        Self { names, current, proofs, expiries }
    }

    /// The names that it is for.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What it is called where several are told apart.
    pub(super) fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// The one that is shown now.
    pub fn certificate(&self) -> Option<Arc<Certificate>> {
        self.current.load_full()
    }

    /// Shows another from the next handshake on.
    pub fn show(&self, certificate: Certificate) {
        let not_after = certificate.not_after();
        self.current.store(Some(Arc::new(certificate)));
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.retain(|expiry| expiry.upgrade().inspect(|expiry| expiry.set(not_after)).is_some());
    }

    /// Shows an authority that asks for a name over TLS what it expects (`tls-alpn-01`, RFC 8737 section 3).
    ///
    /// # Errors
    /// When no such certificate can be made, as a sentence.
    pub fn prove(&self, name: &str, key_authorization: &[u8]) -> Result<(), String> {
        let proof = proof(name, key_authorization).map_err(|error| error.to_string())?;
        self.proofs().insert(name.to_owned(), Arc::new(proof));
        Ok(())
    }

    /// Shows it no more.
    pub fn withdraw(&self, name: &str) {
        self.proofs().remove(name);
    }

    /// What an authority is shown.
    pub(super) fn proof(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.proofs().get(&name.to_ascii_lowercase()).cloned()
    }

    /// Has it shown when it ends.
    pub(super) fn tell(&self, expiry: &Arc<CertificateExpiry>) {
        let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.retain(|known| known.strong_count() > 0);
        expiries.push(Arc::downgrade(expiry));
        if let Some(certificate) = self.certificate() {
            expiry.set(certificate.not_after());
        }
    }

    fn proofs(&self) -> MutexGuard<'_, HashMap<String, Arc<CertifiedKey>>> {
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Renewed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Renewed").field("names", &self.names).finish_non_exhaustive()
    }
}

fn proof(name: &str, key_authorization: &[u8]) -> Result<CertifiedKey, Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new(vec![name.to_owned()])?;
    let digest = digest(&SHA256, key_authorization);
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest.as_ref())];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    // Made for each other; what compares them knows nothing of the extension, which is critical.
    let key = provider().key_provider.load_private_key(key)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}
