//! The usual case, without hyper: an opening handshake that one read brings whole, and its 101.
//!
//! It needs no buffer while it is waited for, and none that outlives it. Whatever is not plainly such a request is left
//! to hyper, which reads the same bytes again.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::request::Parts;
use http::{Method, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::requests::HeadLimits;
use crate::http::{fields, poll_read_once};

/// A socket on which nothing but an opening handshake was read so far, if anything.
#[derive(Debug)]
pub(super) struct Shortcut<S> {
    stream: S,
    /// What the first read brought: the request, and perhaps what follows it.
    first: Bytes,
    /// Length of the request's head.
    head: usize,
    /// What the client sent while it waited for its answer.
    early: Vec<u8>,
    /// Whether it said that it sends nothing more, after messages that the upstream shall have.
    has_finished: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Shortcut<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, first: Bytes::new(), head: 0, early: Vec::new(), has_finished: false }
    }

    /// The opening handshake that the first read brings; `None` when it brings anything else, a part of one, or the end,
    /// for hyper to read. Cancel safe.
    pub(super) async fn first(&mut self, limits: &HeadLimits) -> Option<Parts> {
        poll_fn(|context| {
            let read = ready!(poll_read_once(&mut self.stream, context, Bytes::copy_from_slice));
            // An error comes up again where hyper reads.
            self.first = read.unwrap_or_default();
            let (parts, head) = parse(&self.first, limits).unzip();
            self.head = head.unwrap_or_default();
            Poll::Ready(parts)
        })
        .await
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

/// The opening handshake at the start of `bytes`, with the length of its head, if it is whole and nothing is unusual
/// about it. What it says of the WebSocket protocol is not judged here.
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
    let is_opening = fields::has_token(&parts.headers, &header::UPGRADE, "websocket");
    (is_opening && !has_body).then_some((parts, head))
}

/// Room for the head of most answers.
const HEAD: usize = 256;

/// Bytes after which a client that sends before it has its answer is not read any more; the rest waits in its socket.
const EARLY: usize = 16 << 10;
