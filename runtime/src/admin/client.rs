//! The other end: what `tidegate reload` and its like send to a running proxy.

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

use super::socket::Stream;
use super::{MAX_LIFETIME, NAME};

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
    /// What listens there does not speak HTTP.
    #[error("{address} did not answer in HTTP: {error}")]
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

/// Sends a request without a body to an admin listener (`host:port`, or `unix:` and a path) and returns the status and the body of its answer,
/// which may take ten seconds.
pub async fn ask(address: &str, method: Method, path: &str) -> Result<(StatusCode, String), ClientError> {
    send(method, address, path, PATIENCE).await
}

/// As [`ask`], with as much patience as the server has: ten minutes.
pub async fn ask_patiently(address: &str, method: Method, path: &str) -> Result<(StatusCode, String), ClientError> {
    send(method, address, path, MAX_LIFETIME).await
}

async fn send(
    method: Method,
    address: &str,
    path: &str,
    patience: Duration,
) -> Result<(StatusCode, String), ClientError> {
    let late = |patience| move |_| ClientError::Timeout { address: address.to_owned(), patience };
    let connect = |error| ClientError::Connect { address: address.to_owned(), error };
    let stream = timeout(PATIENCE, reach(address)).await.map_err(late(PATIENCE))?.map_err(connect)?;
    timeout(patience, exchange(stream, method, address, path)).await.map_err(late(patience))?
}

async fn reach(address: &str) -> io::Result<Stream> {
    match address.strip_prefix(UNIX) {
        Some(path) => UnixStream::connect(path).await.map(Stream::Unix),
        None => TcpStream::connect(address).await.map(Stream::Tcp),
    }
}

async fn exchange(
    stream: Stream,
    method: Method,
    address: &str,
    path: &str,
) -> Result<(StatusCode, String), ClientError> {
    let http = |error| ClientError::Http { address: address.to_owned(), error };
    let host = if address.starts_with(UNIX) { "localhost" } else { address };
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
            return Err(ClientError::Foreign(address.to_owned()));
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

/// Nothing but a reload takes longer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The variable of the environment with the token that is sent along, if it is set: arguments are seen by others.
const TOKEN: &str = "TIDEGATE_ADMIN_TOKEN";
const UNIX: &str = "unix:";
const MAX_BODY: usize = 16 << 20;
