//! The requests on an accepted socket.
//!
//! A request without a body that comes alone and whole needs no more than a [`Shortcut`], and so does its answer if that has a
//! length; everything else is [`Http`]'s, from there on.

use std::future::{pending, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::HeaderMap;
use http::request::Parts;
use http::{Response, StatusCode};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::body::AnswerBody;
use super::http1::Http;
use super::reply::Reply;
use super::request_body::RequestBody;
use super::shortcut::Shortcut;
use crate::http::{Paths, RelayError, Replay};

/// What is taken as the head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The most bytes a request line and its fields may have; a larger head is answered with 431.
    pub max_header_bytes: usize,
    /// The most fields; more are answered with 431.
    pub max_header_fields: usize,
    /// Which paths it may ask for.
    pub paths: Paths,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { max_header_bytes: 16 << 10, max_header_fields: 100, paths: Paths::default() }
    }
}

/// The requests of one accepted connection. One is under way at a time: after [`next`](Self::next) has given one, it is
/// answered by [`answer`](Self::answer) or [`switch`](Self::switch).
#[derive(Debug)]
pub struct Requests<S> {
    stage: Stage<S>,
    limits: HeadLimits,
    /// Whether a part of a request has come that is not answered.
    has_begun: bool,
}

/// Who reads and answers.
#[derive(Debug)]
enum Stage<S> {
    Shortcut(Shortcut<S>),
    Http(Box<Http<Replay<S>>>),
    /// Between the two.
    Leaving,
}

/// A request that could not be read. [`Requests::reject`] answers it.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Its head is over `max_header_bytes`.
    #[error("the head of the request has more than {0} bytes (max_header_bytes)")]
    TooLarge(usize),
    /// It has more fields than `max_header_fields`.
    #[error("the request has more than {0} header fields (max_header_fields)")]
    TooManyFields(usize),
    /// Its target is longer than any may be.
    #[error("the target of the request has more than 65534 bytes")]
    TargetTooLong,
    /// It is no HTTP/1 request.
    #[error("malformed request: {0}")]
    Malformed(hyper::Error),
    /// The connection broke, or was closed, within a request.
    #[error("the client's connection broke: {0}")]
    Broken(hyper::Error),
}

impl ReadError {
    /// The status that tells the client.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) | Self::TooManyFields(_) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::Malformed(_) | Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

/// An answer that did not reach the client.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The connection broke.
    #[error("the client's connection broke: {0}")]
    Broken(io::Error),
    /// The body of the answer ended early, so the client got a part of it.
    #[error("the answer's body broke off: {0}")]
    Body(hyper::Error),
    /// The same, over HTTP/2.
    #[error("the answer's body broke off: {0}")]
    Relayed(RelayError),
    /// The client has not read the answer.
    #[error("the client took nothing of its answer for too long")]
    Stalled,
    /// The client was gone before its answer.
    #[error("the client closed its connection")]
    Closed,
}

/// The client has closed its connection while its request was under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the client closed its connection")]
pub struct ClientGone;

impl<S: AsyncRead + AsyncWrite + Unpin + 'static> Requests<S> {
    /// Starts to speak HTTP/1.1 on a connection.
    pub fn new(stream: S, limits: &HeadLimits) -> Self {
        Self { stage: Stage::Shortcut(Shortcut::new(stream)), limits: limits.clone(), has_begun: false }
    }

    /// The next request; `None` when the client has left between requests, or before the first. Its body is not read before
    /// somebody asks [for it](Self::body).
    ///
    /// Cancel safe. Bounding the time it takes is the caller's business.
    pub async fn next(&mut self) -> Result<Option<Parts>, ReadError> {
        if let Stage::Shortcut(shortcut) = &mut self.stage
            && let Some(parts) = shortcut.first(&self.limits).await
        {
            return Ok(Some(parts));
        }
        let Some(http) = self.http() else { return Ok(None) };
        match http.next().await {
            Err(ReadError::Broken(error)) if !self.has_begun && !error.is_incomplete_message() => Ok(None),
            next => next,
        }
    }

    /// When the first bytes of a request came that is not the first; `None` when they were there before the last answer, or
    /// have not come.
    pub(super) fn read_at(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Http(http) => http.read_at(),
            Stage::Shortcut(shortcut) => shortcut.read_at(),
            Stage::Leaving => None,
        }
    }

    /// The body of the request under way. It moves while the request is [waited with](Self::during) or answered.
    pub fn body(&self) -> RequestBody {
        match &self.stage {
            Stage::Http(http) => http.body().map_or(RequestBody::Empty, RequestBody::Http1),
            Stage::Shortcut(_) | Stage::Leaving => RequestBody::Empty,
        }
    }

    /// Whether the client may still be sending the body of a request that was answered.
    pub fn is_cut(&self) -> bool {
        matches!(&self.stage, Stage::Http(http) if http.is_cut())
    }

    /// Answers the request with something other than 101, and returns when the answer is written. The connection goes
    /// on with [`next`](Self::next), which says whether it stays open.
    pub async fn answer(&mut self, response: Response<AnswerBody>) -> Result<(), WriteError> {
        self.answer_beside(response, pin!(pending())).await
    }

    /// The same; meanwhile what stands `beside` it is polled, as what brings the body of the answer.
    pub async fn answer_beside(
        &mut self,
        response: Response<AnswerBody>,
        beside: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), WriteError> {
        let shortcut = match &mut self.stage {
            Stage::Shortcut(shortcut) => {
                if let Some(length) = shortcut.takes(&response) {
                    return shortcut.answer(Reply::new(response, length), beside).await;
                }
                true
            }
            Stage::Http(_) | Stage::Leaving => false,
        };
        let Some(http) = self.http() else { return Err(WriteError::Closed) };
        // hyper answers what it has read itself.
        if shortcut && !matches!(http.next().await, Ok(Some(_))) {
            return Err(WriteError::Closed);
        }
        http.answer(response, beside).await?;
        self.has_begun = false;
        Ok(())
    }

    /// Runs a future while the client waits for its answer, and notices when the client leaves.
    pub async fn during<F: Future>(&mut self, mut future: Pin<&mut F>) -> Result<F::Output, ClientGone> {
        poll_fn(|context| {
            if let Poll::Ready(output) = future.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            self.poll_gone(context).map(|()| Err(ClientGone))
        })
        .await
    }

    /// Answers the request, which must be a valid opening handshake, with 101 and these fields, and gives the socket
    /// back together with what was read past the request.
    pub async fn switch(self, headers: HeaderMap) -> Result<(S, Bytes), WriteError> {
        match self.stage {
            Stage::Shortcut(shortcut) => shortcut.switch(&headers).await.map_err(WriteError::Broken),
            Stage::Http(http) => {
                let (replay, leftover) = Box::pin(http.switch(headers)).await?;
                Ok(replay.resume(leftover))
            }
            Stage::Leaving => Err(WriteError::Closed),
        }
    }

    /// Ends a connection whose request does not come: with 408 when a part of its head has (RFC 9110 section 15.5.9),
    /// which is also the answer. Bounding the time is the caller's business.
    pub async fn time_out(self) -> bool {
        match self.stage {
            Stage::Http(http) => Box::pin(http.time_out()).await,
            _ => false,
        }
    }

    /// Answers a request that could not be read, by the id that it is known by, and ends the connection. Bounding the time is the caller's business.
    pub async fn reject(self, error: &ReadError, id: &str) {
        let Stage::Http(http) = self.stage else { return };
        let Some(replay) = http.into_inner() else { return };
        let mut stream = replay.resume(Bytes::new()).0;
        // Who does not read it has lost nothing.
        if stream.write_all(&last_words(error.status(), Some(id), &error.to_string())).await.is_ok() {
            drain(stream).await;
        }
    }

    /// Ends the connection so that the last answer arrives even if the client is still sending: what it sends is read
    /// and thrown away until it closes, too. Bounding the time is the caller's business.
    pub async fn close(self) {
        match self.stage {
            Stage::Shortcut(shortcut) => drain(shortcut.into_parts().0).await,
            Stage::Http(http) => {
                if let Some(replay) = http.into_inner() {
                    drain(replay.resume(Bytes::new()).0).await;
                }
            }
            Stage::Leaving => {}
        }
    }

    fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match &mut self.stage {
            Stage::Shortcut(shortcut) => shortcut.poll_gone(context),
            Stage::Http(http) => http.poll_gone(context),
            Stage::Leaving => Poll::Ready(()),
        }
    }

    /// Leaves the shortcut: hyper starts over with all that was read.
    fn http(&mut self) -> Option<&mut Http<Replay<S>>> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Leaving) {
            Stage::Shortcut(shortcut) => {
                let (stream, read) = shortcut.into_parts();
                self.has_begun = !read.is_empty();
                Stage::Http(Box::new(Http::new(Replay::new(read, stream), &self.limits)))
            }
            stage => stage,
        };
        match &mut self.stage {
            Stage::Http(http) => Some(http),
            _ => None,
        }
    }
}

/// Says that nothing more comes, and waits for the client to do the same.
async fn drain<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    if stream.shutdown().await.is_ok() {
        let mut discarded = [0; 512];
        while stream.read(&mut discarded).await.is_ok_and(|count| count > 0) {}
    }
}

/// An answer that ends a connection, for where hyper has none to write it for.
pub(super) fn last_words(status: StatusCode, id: Option<&str>, text: &str) -> Vec<u8> {
    let (reason, length) = (status.canonical_reason().unwrap_or_default(), text.len() + 1);
    let id = id.map(|id| format!("X-Request-Id: {id}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\nConnection: close\r\n{id}Content-Type: text/plain; charset=utf-8\r\n\
         Content-Length: {length}\r\n\r\n{text}\n",
        status.as_u16()
    )
    .into_bytes()
}

#[cfg(test)]
mod tests;
