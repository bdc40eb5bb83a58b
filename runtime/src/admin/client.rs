//! The other end: what `tidegate reload` and its like send to a running proxy.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST, SERVER};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::socket::Stream;
use super::{MAX_LIFETIME, NAME};
use crate::tls;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing listens there, or not for us.
    #[error("nothing answers at {address}: {error}")]
    Connect {
        /// Where, as given.
        address: String,
        /// What the system said.
        error: io::Error,
    },
    /// What listens there does not speak TLS, or is not who it has to be.
    #[error("there is no TLS with {address}: {why}")]
    Tls {
        /// Where, as given.
        address: String,
        /// What is wrong.
        why: String,
    },
    /// What listens there does not speak HTTP.
    #[error("{address} did not answer in HTTP; where it speaks TLS, ask it by `https://`: {error}")]
    Http {
        /// Where, as given.
        address: String,
        /// What hyper said.
        error: hyper::Error,
    },
    /// What listens there is another server.
    #[error("{0} answers, but is not Tidegate's admin API")]
    Foreign(String),
    /// The address or path cannot stand in a request.
    #[error("not an address and a path: {0}")]
    Request(#[from] http::Error),
    /// The answer has more than 16 MiB, breaks off, or is not UTF-8.
    #[error("the answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    /// It took longer than ten seconds to connect or to answer, or ten minutes where patience was asked for.
    #[error("{address} has not answered within {patience:?}")]
    Timeout {
        /// Where, as given.
        address: String,
        /// How long it had.
        patience: Duration,
    },
}

/// The way to an admin API.
#[derive(Clone, Debug)]
pub struct Client {
    /// A host and a port, or `unix:` and a path.
    address: String,
    tls: Option<tls::Client>,
}

impl Client {
    /// Asks at `address`, a host and a port, or `unix:` and a path, in clear text or over TLS.
    pub fn new(address: String, tls: Option<tls::Client>) -> Self {
        Self { address, tls }
    }

    /// Sends a request without a body, and returns the status and the body of its answer, which may take ten seconds.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ask(&self, method: Method, path: &str) -> Result<(StatusCode, String), ClientError> {
        self.send(method, path, PATIENCE).await
    }

    /// As [`ask`](Self::ask), with as much patience as the server has: ten minutes.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn ask_patiently(&self, method: Method, path: &str) -> Result<(StatusCode, String), ClientError> {
        self.send(method, path, MAX_LIFETIME).await
    }

    async fn send(&self, method: Method, path: &str, patience: Duration) -> Result<(StatusCode, String), ClientError> {
        let late = |patience| move |_| ClientError::Timeout { address: self.to_string(), patience };
        let stream = timeout(PATIENCE, self.reach()).await.map_err(late(PATIENCE))??;
        timeout(patience, self.exchange(stream, method, path)).await.map_err(late(patience))?
    }

    async fn reach(&self) -> Result<Stream, ClientError> {
        let stream = match self.address.strip_prefix(UNIX) {
            Some(path) => UnixStream::connect(path).await.map(Stream::Unix),
            None => TcpStream::connect(&self.address).await.map(Stream::Tcp),
        };
        let stream = stream.map_err(|error| ClientError::Connect { address: self.to_string(), error })?;
        let Some(tls) = &self.tls else { return Ok(stream) };
        let refused = |why| ClientError::Tls { address: self.to_string(), why };
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        let name = tls.name(host).ok_or_else(|| refused("no certificate could be for this host".to_owned()))?;
        let secured = TlsConnector::from(tls.config()).connect(name, stream).await.map_err(|error| {
            let said = error.get_ref().and_then(|error| error.downcast_ref());
            refused(said.map_or_else(|| error.to_string(), tls::reason))
        })?;
        Ok(Stream::Tls(Box::new(secured.into())))
    }

    async fn exchange(&self, stream: Stream, method: Method, path: &str) -> Result<(StatusCode, String), ClientError> {
        let http = |error| ClientError::Http { address: self.to_string(), error };
        let host = if self.address.starts_with(UNIX) { "localhost" } else { &self.address };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = std::env::var(TOKEN).ok().filter(|token| !token.is_empty()) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Empty::<Bytes>::new())?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(http)?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(http)?;
            let (parts, body) = response.into_parts();
            if parts.headers.get(SERVER) != Some(&NAME) {
                return Err(ClientError::Foreign(self.to_string()));
            }
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(ClientError::Body)?.to_bytes();
            let text = String::from_utf8(body.into()).map_err(|error| ClientError::Body(error.into()))?;
            Ok((parts.status, text))
        };
        // The connection only moves the bytes that the answer waits for; its error reaches the answer.
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }
}

/// Where it asks, as an operator writes it.
impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls.is_some() { HTTPS } else { "" };
        write!(f, "{scheme}{}", self.address)
    }
}

/// Nothing but a reload takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The variable of the environment with the token that is sent along, if it is set: arguments are seen by others.
const TOKEN: &str = "TIDEGATE_ADMIN_TOKEN";
const UNIX: &str = "unix:";
const HTTPS: &str = "https://";
const MAX_BODY: usize = 16 << 20;
