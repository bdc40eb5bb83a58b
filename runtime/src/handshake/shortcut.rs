//! The usual case, without hyper: a request without a body that one read brings whole, an opening handshake and its 101 or a
//! plain one and a [`Reply`].
//!
//! It needs no buffer while it is waited for, and none that outlives it. Whatever is not plainly such a request, or its
//! answer, is left to hyper, which reads the same bytes again.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Request, Response, Uri};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use super::body::AnswerBody;
use super::reply::Reply;
use super::requests::{HeadLimits, WriteError};
use crate::http::{fields, poll_read_once};
use crate::reactor::after_others;

/// A socket on which nothing but such a request was read since the last answer, if anything.
#[derive(Debug)]
pub(super) struct Shortcut<S> {
    stream: S,
    /// What the first read brought: the request, and perhaps what follows it.
    first: Bytes,
    /// Length of the request's head.
    head: usize,
    /// Whether that is a plain one, with nothing behind it.
    is_plain: bool,
    /// When it came.
    read_at: Option<Instant>,
    /// What the client sent while it waited for its answer.
    early: Vec<u8>,
    /// Whether it said that it sends nothing more, after messages that the upstream shall have.
    has_finished: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shortcut<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            first: Bytes::new(),
            head: 0,
            is_plain: false,
            read_at: None,
            early: Vec::new(),
            has_finished: false,
        }
    }

    /// The request that the first read brings; `None` when it brings anything else, a part of one, or the end, for hyper to
    /// read. Cancel safe.
    pub(super) async fn first(&mut self, limits: &HeadLimits) -> Option<Parts> {
        if !self.early.is_empty() || self.has_finished {
            return None;
        }
        poll_fn(|context| {
            let read = ready!(poll_read_once(&mut self.stream, context, Bytes::copy_from_slice));
            // An error comes up again where hyper reads.
            self.first = read.unwrap_or_default();
            self.read_at = Some(Instant::now());
            let (parts, head) = parse(&self.first, limits).unzip();
            self.head = head.unwrap_or_default();
            // Who sends the next one before it has its answer has hyper keep them apart.
            self.is_plain = parts.as_ref().is_some_and(|parts| !is_opening(parts)) && self.first.len() == self.head;
            Poll::Ready(parts)
        })
        .await
    }

    /// When the request came.
    pub(super) fn read_at(&self) -> Option<Instant> {
        self.read_at
    }

    /// The length of an answer that is written here, if it may be: to a plain request, and of known length.
    pub(super) fn takes(&self, response: &Response<AnswerBody>) -> Option<u64> {
        let is_alone = self.is_plain && self.early.is_empty() && !self.has_finished;
        Reply::length(response).filter(|_| is_alone)
    }

    /// Answers the request; meanwhile what stands `beside` it is polled. A next one may come.
    pub(super) async fn answer(
        &mut self,
        mut reply: Reply,
        beside: Pin<&mut dyn Future<Output = ()>>,
    ) -> Result<(), WriteError> {
        let mut beside = Some(beside);
        after_others().await;
        poll_fn(|context| {
            if beside.as_mut().is_some_and(|beside| beside.as_mut().poll(context).is_ready()) {
                beside = None;
            }
            match reply.poll(&mut self.stream, context) {
                Poll::Ready(written) => Poll::Ready(written),
                Poll::Pending => self.poll_gone(context).map(|()| Err(WriteError::Closed)),
            }
        })
        .await?;
        (self.first, self.head, self.is_plain, self.read_at) = (Bytes::new(), 0, false, None);
        Ok(())
    }

    /// Ready when the client has left; keeps what it sends meanwhile. One that has sent messages and only then its end has
    /// not: it wants them delivered.
    pub(super) fn poll_gone(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.early.len() < EARLY && !self.has_finished {
            let Self { stream, early, .. } = self;
            let mut ended = false;
            let read = ready!(poll_read_once(stream, context, |bytes| {
                ended = bytes.is_empty();
                early.extend_from_slice(bytes);
            }));
            let has_sent = !self.early.is_empty() || self.first.len() > self.head;
            match read {
                Ok(()) if !ended => {}
                Ok(()) if has_sent => self.has_finished = true,
                _ => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// Answers with 101 and these fields. Gives the socket, and what was read behind the request.
    pub(super) async fn switch(mut self, headers: &HeaderMap) -> io::Result<(S, Bytes)> {
        let mut wire = Vec::with_capacity(HEAD);
        wire.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
        fields::write(headers, &mut wire);
        self.stream.write_all(&wire).await?;
        let mut leftover = self.first.get(self.head..).unwrap_or_default().to_vec();
        leftover.append(&mut self.early);
        Ok((self.stream, leftover.into()))
    }

    /// The socket, and all that was read from it.
    pub(super) fn into_parts(mut self) -> (S, Bytes) {
        if self.early.is_empty() {
            return (self.stream, self.first);
        }
        let mut all = self.first.to_vec();
        all.append(&mut self.early);
        (self.stream, all.into())
    }
}

/// The request at the start of `bytes`, with the length of its head, if it is whole, has no body and nothing is unusual about
/// it. What it says of the WebSocket protocol is not judged here.
fn parse(bytes: &Bytes, limits: &HeadLimits) -> Option<(Parts, usize)> {
    let mut lines = [httparse::EMPTY_HEADER; fields::MOST];
    let mut request = httparse::Request::new(&mut lines);
    let httparse::Status::Complete(head) = request.parse(bytes).ok()? else { return None };
    if request.method != Some(Method::GET.as_str()) || request.version != Some(1) {
        return None;
    }
    if head > limits.max_header_bytes || request.headers.len() > limits.max_header_fields {
        return None;
    }
    // A `Uri` has no fragment, and does not say that it left one out.
    if request.path?.contains('#') {
        return None;
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.uri = Uri::from_maybe_shared(bytes.slice_ref(request.path?.as_bytes())).ok()?;
    parts.headers = fields::parsed(bytes, request.headers)?;
    let has_body = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT]
        .iter()
        .any(|name| parts.headers.contains_key(name));
    let is_last = fields::has_token(&parts.headers, &header::CONNECTION, "close");
    (!has_body && (!is_last || is_opening(&parts))).then_some((parts, head))
}

fn is_opening(parts: &Parts) -> bool {
    fields::has_token(&parts.headers, &header::UPGRADE, "websocket")
}

/// Room for the head of most answers.
const HEAD: usize = 256;

/// Bytes after which a client that sends before it has its answer is not read any more; the rest waits in its socket.
const EARLY: usize = 16 << 10;
