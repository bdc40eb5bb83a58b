//! A TCP socket of an open connection, read and written with bare system calls.
//!
//! The C library makes every `recv` and `send` of a process with threads a cancellation point, which costs more than the
//! walk over a small frame. A read or write that was short has emptied or filled the socket, so the next one waits for
//! the kernel's word instead of asking in vain.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream as TokioStream;

use super::reactor::{Port, Reactor};
use super::transport::{End, Transport};
use crate::peer::Side;

/// A connected TCP socket. It belongs to the task that polls it, which is that of the other socket of its connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    side: Side,
    port: Rc<Port>,
}

impl Socket {
    /// The sockets of one connection, moved from the runtime's reactor to the worker's own.
    ///
    /// # Errors
    /// When the system refuses to watch a further socket.
    pub fn pair(reactor: &Rc<Reactor>, client: TokioStream, upstream: TokioStream) -> io::Result<(Self, Self)> {
        let (client, upstream) = (client.into_std()?, upstream.into_std()?);
        let port = reactor.watch(&client, &upstream)?;
        let client = Self { stream: client, side: Side::Client, port: port.clone() };
        let upstream = Self { stream: upstream, side: Side::Upstream, port };
        Ok((client, upstream))
    }
}

impl Transport for Socket {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if self.port.is_broken(self.side) {
            // A write may have taken the error already.
            let error = self.stream.take_error().ok().flatten();
            return Poll::Ready(End::Broken(error.unwrap_or_else(|| io::ErrorKind::ConnectionReset.into())));
        }
        if self.port.has_ended(self.side, context) { Poll::Ready(End::Finished) } else { Poll::Pending }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.port.may_read(self.side, context) {
            let unfilled = buffer.initialize_unfilled();
            let room = unfilled.len();
            match retry_on_intr(|| recv(&self.stream, &mut *unfilled, RecvFlags::empty())) {
                Ok((count, _)) => {
                    if (1..room).contains(&count) {
                        self.port.drained(self.side);
                    }
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) => self.port.empty(self.side),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        while self.port.may_write(self.side, context) {
            match retry_on_intr(|| send(&self.stream, bytes, SendFlags::NOSIGNAL)) {
                Ok(count) => {
                    if count < bytes.len() {
                        self.port.filled(self.side);
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => self.port.filled(self.side),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        Poll::Pending
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.stream.shutdown(Shutdown::Write))
    }
}
