//! What a listener answers TLS with.

use std::sync::Arc;
use std::time::SystemTime;

use aws_lc_rs::digest::{self, SHA256};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{ServerConfig, SupportedProtocolVersion};

use super::certificate::Certificate;
use super::issuers::Issuers;
use super::renewed::Renewed;
use super::shelf::Shelf;
use super::tickets::{Keys, Tickets};
use super::{ACME_TLS_1, provider};
use crate::metrics::{CertificateExpiry, ListenerMetrics, Metrics};

/// The TLS of a listener.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
    metrics: Arc<ListenerMetrics>,
    renewed: Option<Arc<Renewed>>,
    /// When its certificates end, which is shown for as long as they are here.
    _expiries: Arc<[Arc<CertificateExpiry>]>,
}

/// What a listener is asked to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The first is for all who ask for no name, or for one that none has.
    pub certificates: Vec<Certificate>,
    /// One that renews itself, behind them.
    pub renewed: Option<Arc<Renewed>>,
    /// What is spoken at least.
    pub min_version: Version,
    /// What clients have to show.
    pub client_auth: Option<ClientAuth>,
    /// Application protocols (RFC 7301) that are spoken, the best first.
    pub protocols: Vec<Vec<u8>>,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// TLS 1.2 (RFC 5246).
    Tls12,
    /// TLS 1.3 (RFC 8446).
    Tls13,
}

/// Which certificates clients have to show.
#[derive(Clone, Debug)]
pub struct ClientAuth {
    /// Who may have issued them.
    pub issuers: Issuers,
    /// Whether a client may do without; one that shows a certificate has to show one that is valid.
    pub is_optional: bool,
    /// What tells these terms from others: sessions are resumed only under the same.
    pub terms: Vec<u8>,
}

impl Server {
    /// Answers with these settings; tickets are made with `keys`, and its listener is counted under a name.
    ///
    /// # Errors
    /// When the authorities of clients are none that certificates could come from, as a sentence.
    pub fn new(settings: Settings, keys: Arc<Keys>, listener: &str, metrics: &Metrics) -> Result<Self, String> {
        let Settings { certificates, renewed, min_version, client_auth, mut protocols } = settings;
        let terms = client_auth.as_ref().map(ClientAuth::digest).unwrap_or_default();
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(min_version))
            .map_err(|error| error.to_string())?;
        let builder = match client_auth {
            None => builder.with_no_client_auth(),
            Some(client_auth) => builder.with_client_cert_verifier(client_auth.verifier()?),
        };
        let mut config = builder.with_cert_resolver(Arc::new(Shelf::new(&certificates, renewed.clone())));
        protocols.extend(renewed.iter().map(|_| ACME_TLS_1.to_vec()));
        config.alpn_protocols = protocols;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = Arc::new(Tickets::new(keys, &terms));
        // A client resumes with one of them, and the others would be made and sent in vain.
        config.send_tls13_tickets = 1;
        let shown =
            |certificate: &Certificate| metrics.certificate(listener, certificate.name(), certificate.not_after());
        let by_itself = renewed.iter().map(|renewed| {
            let expiry = metrics.certificate(listener, renewed.name(), SystemTime::UNIX_EPOCH);
            renewed.tell(&expiry);
            expiry
        });
        Ok(Self {
            config: Arc::new(config),
            _expiries: certificates.iter().map(shown).chain(by_itself).collect(),
            metrics: metrics.listener(listener),
            renewed,
        })
    }

    /// What handshakes go by.
    pub fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }

    /// Its certificate that renews itself, if it has one.
    pub fn renewed(&self) -> Option<&Arc<Renewed>> {
        self.renewed.as_ref()
    }

    /// Where its handshakes are counted.
    pub fn metrics(&self) -> &ListenerMetrics {
        &self.metrics
    }
}

impl ClientAuth {
    fn verifier(self) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let Self { issuers, is_optional, .. } = self;
        let mut verifier = WebPkiClientVerifier::builder_with_provider(issuers.roots, provider());
        if !issuers.revoked.is_empty() {
            // Lists of some issuers say nothing of what others have issued.
            verifier = verifier.with_crls(issuers.revoked).allow_unknown_revocation_status();
        }
        if is_optional {
            verifier = verifier.allow_unauthenticated();
        }
        verifier.build().map_err(|error| error.to_string())
    }

    fn digest(&self) -> Vec<u8> {
        let mut terms = digest::Context::new(&SHA256);
        terms.update(&[u8::from(self.is_optional)]);
        terms.update(&self.terms);
        terms.finish().as_ref().to_vec()
    }
}

/// What is spoken from a version on.
pub(super) fn versions(least: Version) -> &'static [&'static SupportedProtocolVersion] {
    static ALL: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    match least {
        Version::Tls12 => &ALL,
        Version::Tls13 => ALL.get(..1).unwrap_or_default(),
    }
}
