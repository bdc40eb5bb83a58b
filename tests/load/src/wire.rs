//! What carries the bytes of a connection: a socket, or TLS over one.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use mio::net::TcpStream;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::ServerName;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

/// A stream of bytes that does not block.
#[derive(Debug)]
pub enum Wire {
    /// In clear text.
    Tcp(TcpStream),
    /// Sealed.
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How connections speak TLS: 1.3 with AES-128-GCM, X25519 and nothing else, so that all proxies compute the same.
#[derive(Clone, Debug)]
pub struct Tls {
    config: Arc<ClientConfig>,
    /// Whether sessions are to be resumed.
    pub resumes: bool,
}

/// A certificate of a proxy, ECDSA with P-256, as the files that proxies read.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate in PEM.
    pub chain: PathBuf,
    /// Its key in PEM.
    pub key: PathBuf,
    /// Both in one file.
    pub both: PathBuf,
    roots: Arc<RootCertStore>,
}

impl Identity {
    /// Makes one, with its files in a directory.
    pub fn make(directory: &Path) -> anyhow::Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(vec![NAME.to_owned()])?;
        let place = |name: &str, text: String| {
            let path = directory.join(name);
            std::fs::write(&path, text).map(|()| path).with_context(|| name.to_owned())
        };
        let mut roots = RootCertStore::empty();
        roots.add(cert.der().clone())?;
        Ok(Self {
            chain: place("chain.pem", cert.pem())?,
            key: place("key.pem", signing_key.serialize_pem())?,
            both: place("both.pem", cert.pem() + &signing_key.serialize_pem())?,
            roots: Arc::new(roots),
        })
    }

    /// How connections speak TLS with whoever shows it.
    pub fn tls(&self, resumes: bool) -> anyhow::Result<Tls> {
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_root_certificates(self.roots.clone()).with_no_client_auth();
        if !resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Tls { config: Arc::new(config), resumes })
    }
}

impl Wire {
    /// Over a socket that may still be connecting.
    pub fn new(stream: TcpStream, tls: Option<&Tls>) -> io::Result<Self> {
        let Some(tls) = tls else { return Ok(Self::Tcp(stream)) };
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        let connection = ClientConnection::new(tls.config.clone(), name).map_err(io::Error::other)?;
        Ok(Self::Tls(Box::new(StreamOwned::new(connection, stream))))
    }

    /// The socket.
    pub fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_mut(),
        }
    }

    /// Whether a read that was short may have left something: a record is read at a time.
    pub fn may_hold_more(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// Whether a session was resumed, once that is known.
    pub fn has_resumed(&self) -> bool {
        matches!(self, Self::Tls(stream) if stream.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}

impl Read for Wire {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(room),
            // Who has closed the WebSocket needs not close TLS.
            Self::Tls(stream) => match stream.read(room) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
                read => read,
            },
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Tcp(_) => Ok(()),
            Self::Tls(stream) => stream.flush(),
        }
    }
}

const NAME: &str = "bench.example";
