//! The socket below hyper, which is told of what passes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Exchange;
use crate::http::spell_head;

/// The socket, and whether it would take more. hyper writes names in lower case; here they get their spelling.
pub(super) struct Watched<S> {
    stream: S,
    exchange: Rc<Exchange>,
    /// The head of an answer and what came with it, as far as it is still to be written.
    head: Vec<u8>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, exchange: Rc<Exchange>) -> Self {
        Self { stream, exchange, head: Vec::new() }
    }

    pub(super) fn into_stream(self) -> S {
        self.stream
    }

    fn watch<T>(&self, poll: Poll<T>) -> Poll<T> {
        self.exchange.blocked.set(poll.is_pending());
        poll
    }

    /// The same for what was written.
    fn count(&self, poll: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(count)) = &poll {
            let written = self.exchange.written.get().wrapping_add(u64::try_from(*count).unwrap_or_default());
            self.exchange.written.set(written);
        }
        self.watch(poll)
    }

    /// Takes the head of an answer out of what is to be written, if that is where it begins.
    fn spell(&mut self, bytes: &[u8]) {
        if !self.exchange.answered.get() && !bytes.starts_with(CONTINUE) {
            self.exchange.answered.set(true);
            let end = bytes.windows(END_OF_HEAD.len()).position(|four| four == END_OF_HEAD);
            let Some(end) = end.map(|end| end + END_OF_HEAD.len()) else { return };
            self.head = bytes.get(..bytes.len().min(end.max(TOGETHER))).unwrap_or_default().to_vec();
            self.head.get_mut(..end).into_iter().for_each(spell_head);
        }
    }
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    fn put(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.spell(bytes);
        // A part of the head that is not taken is offered again.
        let next = if self.head.is_empty() { bytes } else { &self.head };
        let poll = Pin::new(&mut self.stream).poll_write(context, next);
        if let Poll::Ready(Ok(count)) = &poll {
            self.head.drain(..self.head.len().min(*count));
        }
        self.count(poll)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let came = buffer.filled().get(before..).unwrap_or_default();
        self.exchange.heads.borrow_mut().read(came);
        if !came.is_empty() && self.exchange.read_at.get().is_none() {
            self.exchange.read_at.set(Some(Instant::now()));
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if !self.exchange.is_answering.get() {
            return Poll::Ready(Ok(bytes.len()));
        }
        self.put(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if !self.exchange.is_answering.get() {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        if !self.exchange.answered.get() || !self.head.is_empty() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.put(context, first.map_or(&[][..], |slice| slice));
        }
        let poll = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.count(poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// What is written at once of a head and the start of a body.
const TOGETHER: usize = 4 << 10;

const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// How the interim answer begins that hyper gives by itself, before the head of the answer.
const CONTINUE: &[u8] = b"HTTP/1.1 100 ";
