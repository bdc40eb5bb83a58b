//! A certificate of the demo's own, made on the spot: a browser asks once whether to believe it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{PrivateKeyDer, ServerName};
use tempfile::TempDir;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::tls::{Client, ClientSettings, Issuers, Trust, Version};

/// TLS of the demo: for its front, for the way from there to the proxy, and for the proxy, which reads files.
pub(super) struct Secured {
    pub(super) acceptor: TlsAcceptor,
    pub(super) connector: TlsConnector,
    /// Only this user can read what is in it.
    directory: TempDir,
}

impl Secured {
    /// Makes a certificate for this machine.
    ///
    /// # Errors
    /// When there are no random numbers, or its files cannot be written.
    pub(super) fn new() -> io::Result<Self> {
        let names = [NAME, "127.0.0.1", "::1"].map(str::to_owned);
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(names).map_err(io::Error::other)?;
        let directory = tempfile::Builder::new().prefix("tidegate-demo-").tempdir()?;
        std::fs::write(directory.path().join(CHAIN), cert.pem())?;
        std::fs::write(directory.path().join(KEY), signing_key.serialize_pem())?;

        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).map_err(io::Error::other)?;
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = server.and_then(|it| it.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key));
        let trust = Trust::Issuers(Issuers::read(cert.pem().as_bytes()).map_err(io::Error::other)?);
        let asking = ClientSettings { trust, certificate: None, min_version: Version::Tls13, server_name: None };
        let client = Client::new(asking).map_err(io::Error::other)?;
        Ok(Self {
            acceptor: Arc::new(server.map_err(io::Error::other)?).into(),
            connector: client.config().into(),
            directory,
        })
    }

    /// Whom the front expects behind it.
    pub(super) fn name(&self) -> ServerName<'static> {
        ServerName::try_from(NAME).unwrap_or(ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into()))
    }

    /// The line of a listener that shows the certificate.
    pub(super) fn toml(&self) -> String {
        toml(self.directory.path())
    }
}

/// The line of a listener that shows a certificate in a directory.
pub(super) fn toml(directory: &Path) -> String {
    let (chain, key) = (directory.join(CHAIN), directory.join(KEY));
    format!("\ntls = {{ certificates = [{{ chain = {chain:?}, key = {key:?} }}] }}")
}

const NAME: &str = "localhost";
const CHAIN: &str = "chain.pem";
const KEY: &str = "key.pem";
