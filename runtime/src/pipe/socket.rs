//! A TCP socket read and written with bare system calls.
//!
//! The C library makes every `recv` and `send` of a process with threads a cancellation point, which costs more than the
//! walk over a small frame. Readiness stays tokio's; a read or write that was short has emptied or filled the socket, so
//! the next one waits for the kernel's word instead of asking in vain.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A connected TCP socket.
#[derive(Debug)]
pub struct Socket(TcpStream);

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(stream)
    }
}

impl Socket {
    /// One attempt at moving at most `room` bytes. An attempt that moved some, but fewer, is reported to tokio as one
    /// that would block, because that is what the next one would do.
    fn attempt(
        &self,
        interest: Interest,
        room: usize,
        call: impl FnOnce(&TcpStream) -> rustix::io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let mut short = None;
        let moved = self.0.try_io(interest, || {
            let count = call(&self.0)?;
            if count > 0 && count < room {
                short = Some(count);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        match (moved, short) {
            (_, Some(count)) => Some(Ok(count)),
            (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => None,
            (Err(error), None) if error.kind() == io::ErrorKind::Interrupted => None,
            (moved, None) => Some(moved),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            let room = unfilled.len();
            if let Some(read) =
                self.attempt(Interest::READABLE, room, |stream| Ok(recv(stream, unfilled, RecvFlags::empty())?.0))
            {
                buffer.advance(read?);
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(context))?;
            if let Some(written) =
                self.attempt(Interest::WRITABLE, bytes.len(), |stream| send(stream, bytes, SendFlags::NOSIGNAL))
            {
                return Poll::Ready(written);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
