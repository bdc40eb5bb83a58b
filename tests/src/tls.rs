//! Certificates for tests, whom peers believe, and TLS by tokio-rustls, which knows nothing of the proxy.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
    date_time_ymd,
};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::http::{Reply, Request};
use crate::{Peer, Role, within};

/// An authority, with a folder for what it issues.
#[derive(Debug)]
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    directory: TempDir,
}

/// A certificate and its key, as files and as a peer has them.
#[derive(Debug)]
pub struct Issued {
    /// The certificate in PEM.
    pub chain: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
    certificate: CertificateDer<'static>,
    secret: KeyPair,
}

/// Whom a client believes, and what it shows.
#[derive(Clone, Debug)]
pub struct Trust(pub Arc<ClientConfig>);

impl Authority {
    /// One that nobody knows yet.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("Authority {number}"));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("an authority");
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("ca.pem"), issuer.pem()).expect("write");
        Self { issuer, directory }
    }

    /// Its own certificate in PEM.
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// A certificate for these names, in files of this name.
    pub fn issue(&self, file: &str, names: &[&str]) -> Issued {
        self.issue_until(file, names, 2100)
    }

    /// One that ends with the beginning of a year.
    pub fn issue_until(&self, file: &str, names: &[&str], year: i32) -> Issued {
        let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.distinguished_name.push(DnType::CommonName, file);
        params.not_after = date_time_ymd(year, 1, 1);
        params.serial_number = Some(SerialNumber::from_slice(file.as_bytes()));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let secret = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&secret, &self.issuer).expect("a certificate");
        let path = |end: &str| self.directory.path().join(format!("{file}{end}"));
        let (chain, key) = (path(".pem"), path(".key"));
        std::fs::write(&key, secret.serialize_pem()).expect("write");
        std::fs::write(&chain, certificate.pem()).expect("write");
        Issued { chain, key, certificate: certificate.der().clone(), secret }
    }

    /// A list that revokes what was issued for these files.
    pub fn revoke(&self, files: &[&str]) -> PathBuf {
        self.revoke_until(files, 2100)
    }

    /// One that ends with the beginning of a year.
    pub fn revoke_until(&self, files: &[&str], year: i32) -> PathBuf {
        let revoked = |file: &&str| RevokedCertParams {
            serial_number: SerialNumber::from_slice(file.as_bytes()),
            revocation_time: date_time_ymd(2025, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2025, 1, 1),
            next_update: date_time_ymd(year, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: files.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let path = self.directory.path().join(format!("crl-{year}.pem"));
        std::fs::write(&path, list.signed_by(&self.issuer).expect("a list").pem().expect("PEM")).expect("write");
        path
    }

    /// A client that believes this authority.
    pub fn trust(&self) -> Trust {
        let client = self.client().with_no_client_auth();
        Trust(Arc::new(client))
    }

    /// A client that shows a certificate, too.
    pub fn trust_as(&self, issued: &Issued) -> Trust {
        let client = self.client().with_client_auth_cert(vec![issued.certificate.clone()], issued.private());
        Trust(Arc::new(client.expect("a client's certificate")))
    }

    fn client(&self) -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("a root");
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        builder.expect("versions").with_root_certificates(roots)
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Issued {
    /// `{ chain = "…", key = "…" }`.
    pub fn toml(&self) -> String {
        format!("{{ chain = {:?}, key = {:?} }}", self.chain, self.key)
    }

    /// A server that shows it.
    pub fn acceptor(&self) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_no_client_auth();
        let server = builder.with_single_cert(vec![self.certificate.clone()], self.private());
        TlsAcceptor::from(Arc::new(server.expect("a server")))
    }

    /// A server that shows it, and agrees on these application protocols (RFC 7301).
    pub fn acceptor_offering(&self, protocols: &[&str]) -> TlsAcceptor {
        let mut server = ServerConfig::clone(self.acceptor().config());
        server.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(server))
    }

    /// A server that shows it, and lets clients in whose certificates come from an authority.
    pub fn acceptor_of_clients(&self, authority: &Authority) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).expect("a root");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_client_cert_verifier(verifier.expect("a verifier"));
        let server = builder.with_single_cert(vec![self.certificate.clone()], self.private());
        TlsAcceptor::from(Arc::new(server.expect("a server")))
    }

    fn private(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(self.secret.serialize_der()).expect("a key")
    }
}

impl Trust {
    /// A client that believes the authorities of a PEM text.
    pub fn of(pem: &str) -> Self {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            roots.add(certificate.expect("a certificate")).expect("a root");
        }
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        Self(Arc::new(builder.expect("versions").with_root_certificates(roots).with_no_client_auth()))
    }

    /// The same that begins every session anew, so that it is shown a certificate each time.
    pub fn without_resumption(self) -> Self {
        let mut config = Arc::unwrap_or_clone(self.0);
        config.resumption = Resumption::disabled();
        Self(Arc::new(config))
    }

    /// With these application protocols (RFC 7301), the best first.
    pub fn offering(self, protocols: &[&str]) -> Self {
        let mut config = Arc::unwrap_or_clone(self.0);
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Connects to a server of this name; the error is what TLS has against it.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> std::io::Result<Peer> {
        let stream = within("a TCP connection", TcpStream::connect(address)).await?;
        self.over(Peer::new(stream, Role::Client), name).await
    }

    /// Speaks TLS from here on with a server of this name.
    pub async fn over(&self, peer: Peer, name: &str) -> std::io::Result<Peer> {
        let stream = peer.into_stream();
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let connector = TlsConnector::from(self.0.clone());
        let stream = within("a TLS handshake", connector.connect(name, stream)).await?;
        Ok(Peer::secured(stream.into(), Role::Client))
    }

    /// Connects, sends a request and reads its answer.
    pub async fn handshake(&self, address: SocketAddr, name: &str, request: &Request) -> (Peer, Reply) {
        let mut peer = self.connect(address, name).await.expect("a TLS connection");
        let reply = peer.exchange(request).await;
        (peer, reply)
    }
}

/// How many there were.
static AUTHORITIES: AtomicU32 = AtomicU32::new(0);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}
