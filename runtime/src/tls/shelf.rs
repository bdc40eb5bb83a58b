//! The certificates of a listener, of which each handshake gets one.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::ACME_TLS_1;
use super::certificate::Certificate;
use super::renewed::Renewed;

/// Certificates by the names that they are for. The first is for all who ask for no name, or for one that none has.
#[derive(Debug)]
pub(super) struct Shelf {
    first: Option<Place>,
    /// By name, or by what stands behind the `*` of one.
    by_name: HashMap<String, Place>,
    /// The one that renews itself, and that an authority may ask for.
    renewed: Option<Arc<Renewed>>,
}

/// Where a certificate stands.
#[derive(Clone, Debug)]
enum Place {
    Fixed(Arc<CertifiedKey>),
    Renewed(Arc<Renewed>),
}

impl Place {
    fn key(&self) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Fixed(key) => Some(key.clone()),
            Self::Renewed(renewed) => renewed.certificate().map(|certificate| certificate.key.clone()),
        }
    }
}

impl Shelf {
    /// Of two that are for one name, the earlier has it.
    pub(super) fn new(certificates: &[Certificate], renewed: Option<Arc<Renewed>>) -> Self {
        let fixed = certificates.iter().map(|it| (it.names(), Place::Fixed(it.key.clone())));
        let by_itself = renewed.iter().map(|it| (it.names(), Place::Renewed(it.clone())));
        let (mut by_name, mut first) = (HashMap::new(), None);
        for (names, place) in fixed.chain(by_itself) {
            for name in names {
                let name = name.strip_prefix('*').unwrap_or(name).to_owned();
                by_name.entry(name).or_insert_with(|| place.clone());
            }
            first.get_or_insert(place);
        }
        Self { first, by_name, renewed }
    }

    /// That for a name, as RFC 6066 section 3 has it sent: a name itself comes before a wildcard, which stands for one label.
    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            let wildcard = || name.find('.').and_then(|dot| self.by_name.get(name.get(dot..)?));
            self.by_name.get(&name).or_else(wildcard)
        });
        named.or(self.first.as_ref()).and_then(Place::key)
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(renewed) = &self.renewed
            && hello.alpn().is_some_and(|mut offered| offered.any(|protocol| protocol == ACME_TLS_1))
        {
            return renewed.proof(hello.server_name()?);
        }
        self.find(hello.server_name())
    }
}
