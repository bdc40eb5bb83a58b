//! A TCP socket read and written with bare system calls.
//!
//! The C library makes every `recv` and `send` of a process with threads a cancellation point, which costs more than the
//! walk over a small frame. Readiness stays tokio's; a read or write that was short has emptied or filled the socket, so
//! the next one waits for the kernel's word instead of asking in vain.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::retry_on_intr;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;

/// A connected TCP socket. It belongs to one task: who polls it from another is not woken.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    reading: Reading,
}

/// What is known of the bytes to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// Nothing.
    Unknown,
    /// There are none, because the last read did not fill its buffer.
    Drained,
    /// The task will be woken when there are some. While tokio knows of none, there is no need to ask again.
    Awaited,
}

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self { stream, reading: Reading::Unknown }
    }
}

impl Socket {
    /// One attempt at moving at most `room` bytes. An attempt that moved some, but fewer, is reported to tokio as one
    /// that would block, because that is what the next one would do.
    fn attempt(
        stream: &TcpStream,
        interest: Interest,
        room: usize,
        mut call: impl FnMut(&TcpStream) -> rustix::io::Result<usize>,
    ) -> Option<io::Result<usize>> {
        let mut short = None;
        let moved = stream.try_io(interest, || {
            let count = retry_on_intr(|| call(stream))?;
            if count > 0 && count < room {
                short = Some(count);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(count)
        });
        match (moved, short) {
            (_, Some(count)) => Some(Ok(count)),
            (Err(error), None) if error.kind() == io::ErrorKind::WouldBlock => None,
            (moved, None) => Some(moved),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, reading } = &mut *self;
        loop {
            if *reading != Reading::Drained {
                let unfilled = buffer.initialize_unfilled();
                let room = unfilled.len();
                let receive = |stream: &TcpStream| Ok(recv(stream, &mut *unfilled, RecvFlags::empty())?.0);
                if let Some(read) = Self::attempt(stream, Interest::READABLE, room, receive) {
                    let count = read?;
                    *reading = if (1..room).contains(&count) { Reading::Drained } else { Reading::Unknown };
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                if *reading == Reading::Awaited {
                    return Poll::Pending;
                }
            }
            *reading = Reading::Awaited;
            ready!(stream.poll_read_ready(context))?;
            *reading = Reading::Unknown;
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let give = |stream: &TcpStream| send(stream, bytes, SendFlags::NOSIGNAL);
            if let Some(written) = Self::attempt(&self.stream, Interest::WRITABLE, bytes.len(), give) {
                return Poll::Ready(written);
            }
            ready!(self.stream.poll_write_ready(context))?;
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
