//! One attempt: connect, send the opening handshake, take the socket back.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, Uri, response};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::address::Address;
use super::answer::{self, InvalidAnswer, Sent};
use super::open::{open, within};
use super::resolve::{Resolver, Unresolved};
use super::shortage::is_shortage;
use crate::http::{Accepted, Answer, RelayedBody, Replay, UpstreamRequest, fields, poll_read_once};
use crate::metrics::ConnectOutcome;
use crate::tls;
use crate::transport::{Liveness, Transport};

/// How long the parts of an attempt may take; `None` really is without a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Resolving the name and connecting, over all addresses of the name.
    pub connect: Option<Duration>,
    /// From the connection to the upstream's answer.
    pub handshake: Option<Duration>,
    /// Relaying the body of an answer other than 101.
    pub answer_body: Duration,
    /// Noticing that the endpoint has vanished.
    pub liveness: Liveness,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Some(Duration::from_secs(3)),
            handshake: Some(Duration::from_secs(10)),
            answer_body: Duration::from_secs(10),
            liveness: Liveness::default(),
        }
    }
}

/// An open WebSocket connection to an upstream.
#[derive(Debug)]
pub struct Upgraded<S = Transport> {
    /// The socket.
    pub socket: S,
    /// What came after the answer's head: the start of the WebSocket stream.
    pub leftover: Bytes,
    /// What the upstream answered. It shares memory with the buffer the answer was read into, so drop it early.
    pub accepted: Accepted,
}

/// Why an attempt gave no WebSocket connection.
#[derive(Debug, Error)]
pub enum DialError {
    /// The endpoint's name has no address.
    #[error(transparent)]
    Unresolved(#[from] Unresolved),
    /// `connect_timeout` ran out before the endpoint's name had an address.
    #[error("the upstream's name did not resolve in time")]
    ResolveTimeout,
    /// No address took the connection.
    #[error("the upstream refused the connection: {0}")]
    Refused(io::Error),
    /// The connection was cut before an answer.
    #[error("the upstream cut the connection: {0}")]
    Cut(io::Error),
    /// The two do not agree about TLS, or the endpoint is not who it has to be.
    #[error("TLS with the upstream failed: {0}")]
    Tls(String),
    /// `connect_timeout` ran out.
    #[error("the upstream did not take the connection in time")]
    ConnectTimeout,
    /// `handshake_timeout` ran out.
    #[error("the upstream did not answer the handshake in time")]
    HandshakeTimeout,
    /// `request_timeout` ran out.
    #[error("the upstream did not begin its answer in time (request_timeout)")]
    AnswerTimeout,
    /// The upstream answered a plain request as a gateway or an overloaded server does, and another endpoint was asked.
    #[error("the upstream answered {0}")]
    Unwell(StatusCode),
    /// The answer is not one to what was asked.
    #[error(transparent)]
    InvalidAnswer(#[from] InvalidAnswer),
    /// The upstream answered something other than 101, which is for the client to read.
    #[error("the upstream answered {}", .0.head.status)]
    Answered(Box<Answer>),
}

/// Whether an attempt that failed speaks against its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No: the endpoint has answered, or what failed is on our side.
    None,
    /// Perhaps; another request may fare better with it.
    Doubtful,
    /// Yes.
    Certain,
}

impl DialError {
    /// A connection over which an answer was awaited.
    pub fn broken(error: hyper::Error) -> Self {
        if error.is_parse_too_large() {
            return InvalidAnswer::Http("its head is over 64 KiB, or has too many fields".to_owned()).into();
        }
        if error.is_parse() {
            return InvalidAnswer::Http(error.to_string()).into();
        }
        let kind = std::error::Error::source(&error)
            .and_then(|source| source.downcast_ref::<io::Error>())
            .map(io::Error::kind);
        Self::Cut(io::Error::new(kind.unwrap_or(io::ErrorKind::ConnectionAborted), error))
    }

    /// Whether another endpoint may be tried.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unresolved(_)
            | Self::ResolveTimeout
            | Self::Refused(_)
            | Self::Cut(_)
            | Self::Tls(_)
            | Self::ConnectTimeout
            | Self::HandshakeTimeout
            | Self::AnswerTimeout
            | Self::Unwell(_) => true,
            Self::InvalidAnswer(_) => false,
            Self::Answered(answer) => answer.is_retryable(),
        }
    }

    /// Whether the endpoint may have seen the request.
    pub fn was_sent(&self) -> bool {
        match self {
            Self::Cut(_)
            | Self::HandshakeTimeout
            | Self::AnswerTimeout
            | Self::InvalidAnswer(_)
            | Self::Answered(_)
            | Self::Unwell(_) => true,
            Self::Unresolved(_) | Self::ResolveTimeout | Self::Refused(_) | Self::Tls(_) | Self::ConnectTimeout => {
                false
            }
        }
    }

    /// Whose fault it is.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Refused(error) | Self::Cut(error) if is_ours(error) => Fault::None,
            Self::Unresolved(error) if error.is_shortage() => Fault::None,
            Self::Unresolved(_)
            | Self::ResolveTimeout
            | Self::Refused(_)
            | Self::Cut(_)
            | Self::Tls(_)
            | Self::ConnectTimeout
            | Self::HandshakeTimeout => Fault::Certain,
            Self::InvalidAnswer(InvalidAnswer::Http(_)) => Fault::Certain,
            // The one request may take that long.
            Self::InvalidAnswer(_) | Self::AnswerTimeout | Self::Unwell(_) => Fault::Doubtful,
            Self::Answered(answer) if answer.is_retryable() => Fault::Doubtful,
            Self::Answered(_) => Fault::None,
        }
    }

    /// Whether it failed for want of something of this machine, of descriptors mostly.
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Refused(error) | Self::Cut(error) => is_shortage(error),
            Self::Unresolved(error) => error.is_shortage(),
            _ => false,
        }
    }

    /// The status that tells the client.
    pub fn status(&self) -> StatusCode {
        match self {
            _ if self.is_shortage() => StatusCode::SERVICE_UNAVAILABLE,
            Self::Unresolved(_) | Self::Refused(_) | Self::Cut(_) | Self::Tls(_) | Self::InvalidAnswer(_) => {
                StatusCode::BAD_GATEWAY
            }
            Self::ResolveTimeout | Self::ConnectTimeout | Self::HandshakeTimeout | Self::AnswerTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Answered(answer) => answer.head.status,
            Self::Unwell(status) => *status,
        }
    }

    /// The label of the attempt.
    pub fn outcome(&self) -> ConnectOutcome {
        match self {
            _ if self.is_shortage() => ConnectOutcome::Shortage,
            Self::Unresolved(_) | Self::ResolveTimeout => ConnectOutcome::Unresolved,
            Self::Refused(_) | Self::Cut(_) => ConnectOutcome::Refused,
            Self::Tls(_) => ConnectOutcome::TlsFailed,
            Self::ConnectTimeout => ConnectOutcome::ConnectTimeout,
            Self::HandshakeTimeout | Self::AnswerTimeout => ConnectOutcome::HandshakeTimeout,
            Self::InvalidAnswer(_) => ConnectOutcome::InvalidAnswer,
            Self::Answered(_) | Self::Unwell(_) => ConnectOutcome::Answered,
        }
    }
}

/// Connects to an endpoint and upgrades the connection, over TLS where its url says so. Dropping the future closes the
/// connection.
pub async fn dial(
    address: &Address,
    request: &UpstreamRequest,
    timeouts: &Timeouts,
    resolver: &Resolver,
    tls: Option<&tls::Client>,
) -> Result<Upgraded, DialError> {
    let (transport, handshake) = open(address, request.introduction.as_deref(), timeouts, resolver, tls).await?;
    upgrade(transport, address, request, &Timeouts { handshake, ..*timeouts }).await
}

/// Upgrades a fresh connection to an endpoint.
pub async fn upgrade<S>(
    stream: S,
    address: &Address,
    request: &UpstreamRequest,
    timeouts: &Timeouts,
) -> Result<Upgraded<S>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let asked = pin!(ask(stream, address, request, timeouts.answer_body));
    within(timeouts.handshake, asked).await.ok_or(DialError::HandshakeTimeout)?
}

async fn ask<S>(
    stream: S,
    address: &Address,
    request: &UpstreamRequest,
    answer_body: Duration,
) -> Result<Upgraded<S>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let target = request.target.at(address.path()).map_err(impossible)?;
    let key = generate_key();
    let accept = derive_accept_key(key.as_bytes());
    let key = HeaderValue::from_str(&key).map_err(impossible)?;
    let UpstreamRequest { protocols, extensions, .. } = request;
    let sent = Sent { accept: &accept, protocols: protocols.as_ref(), extensions: extensions.as_ref() };

    let mut stream = stream;
    let wire = written(request, &target, address, &key);
    stream.write_all(&wire).await.map_err(DialError::Cut)?;
    drop(wire);
    let read = poll_fn(|context| poll_read_once(&mut stream, context, Bytes::copy_from_slice)).await;
    let read = read.map_err(DialError::Cut)?;
    if let Some((head, leftover)) = switching_protocols(&read) {
        return Ok(Upgraded { socket: stream, leftover, accepted: answer::check(head, &sent)? });
    }
    // Boxed, because it is large and rare.
    Box::pin(by_hyper(Replay::of_answer(read, stream), headers(request, &key), target, &sent, answer_body)).await
}

/// The request as it is sent.
fn written(request: &UpstreamRequest, target: &PathAndQuery, address: &Address, key: &HeaderValue) -> Vec<u8> {
    let mut wire = Vec::with_capacity(HEAD);
    let host = request.host.of(request.client_host.as_ref(), address.authority()).as_bytes();
    // First, as RFC 9110 section 7.2 asks.
    for part in [b"GET ", target.as_str().as_bytes(), b" HTTP/1.1\r\nHost: ", host, b"\r\n"] {
        wire.extend_from_slice(part);
    }
    let handshake = handshake(request, key);
    let handshake = handshake.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    fields::write(request.headers.iter().filter(|(name, _)| *name != header::HOST).chain(handshake), &mut wire);
    wire
}

/// The same fields for hyper, which believes that it sends them.
fn headers(request: &UpstreamRequest, key: &HeaderValue) -> HeaderMap {
    let mut headers = request.headers.clone();
    headers.remove(header::HOST);
    headers.extend(handshake(request, key).into_iter().filter_map(|(name, value)| Some((name, value?))));
    headers
}

/// The fields of the handshake, which each attempt has of its own.
fn handshake(request: &UpstreamRequest, key: &HeaderValue) -> [(HeaderName, Option<HeaderValue>); 6] {
    [
        (header::CONNECTION, Some(HeaderValue::from_static("Upgrade"))),
        (header::UPGRADE, Some(HeaderValue::from_static("websocket"))),
        (header::SEC_WEBSOCKET_VERSION, Some(HeaderValue::from_static("13"))),
        (header::SEC_WEBSOCKET_KEY, Some(key.clone())),
        (header::SEC_WEBSOCKET_PROTOCOL, request.protocols.clone()),
        (header::SEC_WEBSOCKET_EXTENSIONS, request.extensions.clone()),
    ]
}

/// A 101 that came whole, and what follows it; `None` when it is anything else, for hyper to read.
fn switching_protocols(bytes: &Bytes) -> Option<(response::Parts, Bytes)> {
    let mut lines = [httparse::EMPTY_HEADER; fields::MOST];
    let mut response = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(head) = response.parse(bytes).ok()? else { return None };
    if response.code != Some(StatusCode::SWITCHING_PROTOCOLS.as_u16()) || response.version != Some(1) {
        return None;
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = StatusCode::SWITCHING_PROTOCOLS;
    parts.headers = fields::parsed(bytes, response.headers)?;
    Some((parts, Bytes::copy_from_slice(bytes.get(head..)?)))
}

/// Reads the answer to a request that was sent, whatever it is.
async fn by_hyper<S>(
    stream: Replay<S>,
    headers: HeaderMap,
    target: PathAndQuery,
    sent: &Sent<'_>,
    answer_body: Duration,
) -> Result<Upgraded<S>, DialError>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut http = Request::new(Empty::<Bytes>::new());
    *http.uri_mut() = Uri::from(target);
    *http.headers_mut() = headers;
    let mut builder = http1::Builder::new();
    let (mut sender, mut connection) = builder
        .max_buf_size(MAX_BUFFER)
        .max_headers(MAX_FIELDS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(DialError::broken)?;
    let mut ended = false;
    let response = {
        let mut response = pin!(sender.send_request(http));
        poll_fn(|context| {
            // How the connection ends, the response tells.
            ended = ended || connection.poll_without_shutdown(context).is_ready();
            response.as_mut().poll(context)
        })
        .await
        .map_err(DialError::broken)?
    };
    let (head, body) = response.into_parts();
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        let connection = (!ended).then(|| Box::pin(connection) as _);
        return Err(DialError::Answered(Box::new(Answer::new(head, RelayedBody::new(connection, body, answer_body)))));
    }
    let accepted = answer::check(head, sent)?;
    if !ended {
        poll_fn(|context| connection.poll_without_shutdown(context)).await.map_err(DialError::broken)?;
    }
    let parts = connection.into_parts();
    let (stream, leftover) = parts.io.into_inner().resume(parts.read_buf);
    Ok(Upgraded { socket: stream, leftover, accepted })
}

/// A request that cannot be written down for this endpoint.
fn impossible(error: impl std::error::Error + Send + Sync + 'static) -> DialError {
    DialError::Refused(io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Whether a connection failed for want of something of this machine, or for what was asked.
fn is_ours(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidInput || is_shortage(error)
}

/// Room for the head of most requests.
const HEAD: usize = 512;

/// The most that is buffered of an upstream's answer: its head, or a part of its body.
const MAX_BUFFER: usize = 64 << 10;

/// As many fields as there may be in such a head, or nearly so: none is shorter than `a:` and an end of line.
const MAX_FIELDS: usize = MAX_BUFFER / 4;

#[cfg(test)]
mod tests;
