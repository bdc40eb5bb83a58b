//! What an upstream is asked with, where it speaks TLS.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::certificate::Certificate;
use super::issuers::Issuers;
use super::server::{Version, versions};
use super::{HTTP_1_1, HTTP_2, provider};

/// The TLS of an upstream.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    config_for_http2: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
}

/// What an upstream is asked with.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// Whom its certificate has to come from.
    pub trust: Trust,
    /// What is shown to it, where it asks.
    pub certificate: Option<Certificate>,
    /// What is spoken at least.
    pub min_version: Version,
    /// The name that its certificate has to be for, and that it is asked for; `None`: the host of the endpoint's url.
    pub server_name: Option<ServerName<'static>>,
}

/// Who is believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The authorities that the system knows.
    System,
    /// These authorities.
    Issuers(Issuers),
    /// Anybody: whoever is on the way can read and change everything.
    Anybody,
}

impl Client {
    /// Asks with these settings.
    ///
    /// # Errors
    /// When nobody could be believed, as a sentence.
    pub fn new(settings: ClientSettings) -> Result<Self, String> {
        let ClientSettings { trust, certificate, min_version, server_name } = settings;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(min_version))
            .map_err(|error| error.to_string())?;
        let builder = match trust {
            Trust::System => builder.with_root_certificates(of_system()?),
            Trust::Issuers(issuers) => builder.with_root_certificates(issuers.roots),
            Trust::Anybody => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider()))),
        };
        let mut config = match certificate {
            None => builder.with_no_client_auth(),
            Some(Certificate { key, .. }) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key))),
        };
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        let mut config_for_http2 = config.clone();
        config_for_http2.alpn_protocols.insert(0, HTTP_2.to_vec());
        Ok(Self { config: Arc::new(config), config_for_http2: Arc::new(config_for_http2), server_name })
    }

    /// What handshakes go by.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.clone()
    }

    /// The same for those who speak HTTP/2, too.
    pub fn config_for_http2(&self) -> Arc<ClientConfig> {
        self.config_for_http2.clone()
    }

    /// The name that a server's certificate has to be for, when it is found at a host; `None` where that is no name that a
    /// certificate could be for.
    pub fn name(&self, host: &str) -> Option<ServerName<'static>> {
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        self.server_name.clone().or_else(|| ServerName::try_from(host.to_owned()).ok())
    }
}

fn of_system() -> Result<Arc<RootCertStore>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match roots.is_empty() {
        true => Err("the system knows no authority that certificates could come from".to_owned()),
        false => Ok(Arc::new(roots)),
    }
}

/// Believes any certificate, and sees that its key is there.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
