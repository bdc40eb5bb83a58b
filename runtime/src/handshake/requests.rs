//! The requests on an accepted socket.
//!
//! An opening handshake that comes alone and whole needs no more than a [`Shortcut`]; everything else is [`Http`]'s.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Response;
use http::header::HeaderMap;
use http::request::Parts;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::body::AnswerBody;
use super::http::Http;
use super::shortcut::Shortcut;
use crate::route::Paths;
use crate::upstream::Replay;

/// What is taken as the head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The most bytes a request line and its fields may have; a larger head is answered with 431.
    pub max_header_bytes: usize,
    /// Which paths it may ask for.
    pub paths: Paths,
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self { max_header_bytes: 16 << 10, paths: Paths::default() }
    }
}

/// The requests of one accepted connection. One is under way at a time: after [`next`](Self::next) has given one, it is
/// answered by [`answer`](Self::answer) or [`switch`](Self::switch).
#[derive(Debug)]
pub struct Requests<S> {
    stage: Stage<S>,
    limits: HeadLimits,
}

/// Who reads and answers.
#[derive(Debug)]
enum Stage<S> {
    Shortcut(Shortcut<S>),
    Http(Box<Http<Replay<S>>>),
    /// Between the two.
    Leaving,
}

/// A request that could not be read. hyper has answered it, as far as it can be.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Answered with 431: the head is over the limit.
    #[error("the head of the request is too large")]
    TooLarge,
    /// Answered with 400: no HTTP/1 request.
    #[error("malformed request: {0}")]
    Malformed(hyper::Error),
    /// The connection broke, or was closed within a request.
    #[error("the client's connection broke: {0}")]
    Broken(hyper::Error),
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
        Self { stage: Stage::Shortcut(Shortcut::new(stream)), limits: limits.clone() }
    }

    /// The next request; `None` when the client has closed the connection between requests. A body is not read.
    ///
    /// Cancel safe. Bounding the time it takes is the caller's business.
    pub async fn next(&mut self) -> Result<Option<Parts>, ReadError> {
        if let Stage::Shortcut(shortcut) = &mut self.stage
            && let Some(parts) = shortcut.first(self.limits.max_header_bytes).await
        {
            return Ok(Some(parts));
        }
        match self.http() {
            Some(http) => http.next().await,
            None => Ok(None),
        }
    }

    /// Answers the request with something other than 101, and returns when the answer is written. The connection goes
    /// on with [`next`](Self::next), which says whether it stays open.
    pub async fn answer(&mut self, response: Response<AnswerBody>) -> Result<(), WriteError> {
        let shortcut = matches!(self.stage, Stage::Shortcut(_));
        let Some(http) = self.http() else { return Err(WriteError::Closed) };
        // hyper answers what it has read itself.
        if shortcut && !matches!(http.next().await, Ok(Some(_))) {
            return Err(WriteError::Closed);
        }
        http.answer(response).await
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

    /// Ends the connection so that the last answer arrives even if the client is still sending: what it sends is read
    /// and thrown away until it closes, too. Bounding the time is the caller's business.
    pub async fn close(self) {
        let mut stream = match self.stage {
            Stage::Shortcut(shortcut) => shortcut.into_parts().0,
            Stage::Http(http) => http.into_inner().resume(Bytes::new()).0,
            Stage::Leaving => return,
        };
        if stream.shutdown().await.is_err() {
            return;
        }
        let mut discarded = [0; 512];
        while stream.read(&mut discarded).await.is_ok_and(|count| count > 0) {}
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

#[cfg(test)]
mod tests;
