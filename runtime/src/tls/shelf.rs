//! The certificates of a listener, of which each handshake gets one.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::certificate::Certificate;

/// Certificates by the names that they are for. The first is for all who ask for no name, or for one that none has.
#[derive(Debug)]
pub(super) struct Shelf {
    first: Option<Arc<CertifiedKey>>,
    /// By name, or by what stands behind the `*` of one.
    by_name: HashMap<String, Arc<CertifiedKey>>,
}

impl Shelf {
    /// Of two that are for one name, the earlier has it.
    pub(super) fn new(certificates: &[Certificate]) -> Self {
        let mut by_name = HashMap::new();
        for certificate in certificates {
            for name in certificate.names() {
                let name = name.strip_prefix('*').unwrap_or(name).to_owned();
                by_name.entry(name).or_insert_with(|| certificate.key.clone());
            }
        }
        Self { first: certificates.first().map(|certificate| certificate.key.clone()), by_name }
    }

    /// That for a name, as RFC 6066 section 3 has it sent: a name itself comes before a wildcard, which stands for one label.
    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || name.find('.').and_then(|dot| self.by_name.get(name.get(dot..)?));
            self.by_name.get(&name).or_else(wildcard).cloned()
        });
        named.or_else(|| self.first.clone())
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name())
    }
}
