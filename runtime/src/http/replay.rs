//! A socket whose start was read already, for hyper to read it again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Reads what was read before, then the socket.
#[derive(Debug)]
pub struct Replay<S> {
    start: Bytes,
    stream: S,
    request: Request,
}

/// What is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// It goes to the socket.
    ToSend,
    /// It was sent already, and is still to be thrown away: its answer must not be read before.
    Sent,
    /// It was thrown away.
    Told,
}

impl<S> Replay<S> {
    /// Reads `start` before `stream`.
    pub fn new(start: Bytes, stream: S) -> Self {
        Self { start, stream, request: Request::ToSend }
    }

    /// The same, for a request that `stream` was sent by other hands: it is not sent again.
    pub fn of_answer(start: Bytes, stream: S) -> Self {
        Self { start, stream, request: Request::Sent }
    }

    /// The socket, and what is to be read before it: `read`, which was taken from here, and what was not taken yet.
    pub fn resume(self, read: Bytes) -> (S, Bytes) {
        let rest = match (read.is_empty(), self.start.is_empty()) {
            // An empty slice would keep the whole buffer alive.
            (true, true) => Bytes::new(),
            (false, true) => read,
            (true, false) => self.start,
            (false, false) => [read, self.start].concat().into(),
        };
        (self.stream, rest)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replay<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.request == Request::Sent {
            // The write wakes the task.
            return Poll::Pending;
        }
        let count = self.start.len().min(buffer.remaining());
        if count == 0 {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        buffer.put_slice(self.start.get(..count).unwrap_or_default());
        self.start.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replay<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.request != Request::ToSend {
            self.request = Request::Told;
            context.waker().wake_by_ref();
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
