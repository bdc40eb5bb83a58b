//! Streams of bytes to a peer, whatever they are made of, and what is set on their sockets.
//!
//! Whoever carries frames knows a [`Transport`] and nothing of what is below it. A new kind of one is a variant here:
//! each method says what it has to do.

mod duplex;
mod http2;
mod liveness;
mod tls;
mod unwritten;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub use duplex::Duplex;
pub use http2::{Http2, Http2Limits, Inlet, Way, Wire};
pub use liveness::Liveness;
pub use tls::{HandshakeError, Tls};
pub use unwritten::Unwritten;

use crate::reactor::Socket;

/// A stream of bytes to a peer and back. It belongs to one task at a time: only the last that waited for it is woken.
#[derive(Debug)]
pub enum Transport {
    /// A plain socket, of TCP or a unix one.
    Socket(Socket),
    /// TLS over one.
    Tls(Box<Tls>),
    /// A stream of an HTTP/2 connection.
    Http2(Box<Http2>),
    /// Any other stream of bytes, as tests play peers with.
    Boxed(Box<dyn Duplex>),
}

/// How a peer's sending half has ended.
#[derive(Debug)]
pub enum End {
    /// The peer has said that it sends nothing more; it may still receive.
    Finished,
    /// The stream is broken: nothing comes and nothing goes.
    Broken(io::Error),
}

impl Transport {
    /// Lends what has come: bytes in `room`, or in room of the transport's own that it had to have anyway, as one that
    /// decrypts. None: the peer sends nothing more.
    ///
    /// # Errors
    /// When the stream is broken.
    #[inline]
    pub fn poll_lend<'a>(&'a mut self, context: &mut Context<'_>, room: &'a mut [u8]) -> Poll<io::Result<&'a [u8]>> {
        let count = match self {
            Self::Socket(socket) => ready!(socket.poll_receive(context, room))?,
            Self::Tls(tls) => ready!(tls.poll_receive(context, room))?,
            Self::Http2(stream) => return stream.poll_lend(context, room),
            Self::Boxed(stream) => ready!(duplex::poll_receive(stream, context, room))?,
        };
        Poll::Ready(Ok(room.get(..count).unwrap_or_default()))
    }

    /// Whether asking for bytes may bring some, or an end; otherwise the task is woken when it may. A transport that cannot
    /// tell has to be asked.
    #[inline]
    pub fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        match self {
            Self::Socket(socket) => socket.poll_readable(context),
            Self::Tls(tls) => tls.poll_readable(context),
            Self::Http2(stream) => stream.poll_readable(context),
            Self::Boxed(_) => Poll::Ready(()),
        }
    }

    /// Takes some of `bytes`, which stay the caller's.
    ///
    /// # Errors
    /// When the stream is broken, or takes nothing more for ever.
    #[inline]
    pub fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = match self {
            Self::Socket(socket) => socket.poll_send(context, bytes),
            Self::Tls(tls) => tls.poll_send(context, bytes),
            Self::Http2(stream) => stream.poll_send(context, bytes),
            Self::Boxed(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        match sent {
            Poll::Ready(Ok(0)) if !bytes.is_empty() => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => sent,
        }
    }

    /// Takes a buffer: its bytes, or the buffer itself where the transport has to keep them until they are written. Ready
    /// when nothing is left in it.
    ///
    /// # Errors
    /// Those of [`poll_send`](Self::poll_send).
    pub fn poll_take(&mut self, context: &mut Context<'_>, buffer: &mut Unwritten) -> Poll<io::Result<()>> {
        while !buffer.is_empty() {
            let count = ready!(self.poll_send(context, buffer.bytes()))?;
            buffer.advance(count);
        }
        Poll::Ready(Ok(()))
    }

    /// Has everything that was taken leave; it has to be asked until it is ready.
    ///
    /// # Errors
    /// When the stream is broken.
    #[inline]
    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // What a socket has taken leaves by itself; that of a stream, with its connection.
            Self::Socket(_) | Self::Http2(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_flush(context),
            Self::Boxed(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    /// Ends our sending half; it has to be asked until it is ready.
    ///
    /// # Errors
    /// When the stream is broken.
    pub fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Socket(socket) => Poll::Ready(socket.finish()),
            Self::Tls(tls) => tls.poll_shutdown(context),
            Self::Http2(stream) => Poll::Ready(stream.finish()),
            Self::Boxed(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }

    /// Has everything that was taken leave, and says what has to be said before the stream is dropped; it has to be asked
    /// until it is ready.
    ///
    /// # Errors
    /// When the stream is broken.
    pub fn poll_farewell(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // Closing a socket says it.
            Self::Socket(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.poll_farewell(context),
            Self::Http2(stream) => Poll::Ready(stream.finish()),
            Self::Boxed(stream) => {
                ready!(Pin::new(&mut *stream).poll_flush(context))?;
                Pin::new(stream).poll_shutdown(context)
            }
        }
    }

    /// How the peer's sending half has ended, told without reading what is left of what it has sent; otherwise the task is
    /// woken when it ends. A stream that cannot tell is pending for ever.
    #[inline]
    pub fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        match self {
            Self::Socket(socket) => {
                socket.poll_end(context).map(|ended| ended.map_or_else(End::Broken, |()| End::Finished))
            }
            Self::Tls(tls) => tls.poll_end(context),
            Self::Http2(stream) => stream.poll_end(context),
            Self::Boxed(stream) => stream.poll_end(context),
        }
    }
}

impl From<Socket> for Transport {
    fn from(socket: Socket) -> Self {
        Self::Socket(socket)
    }
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Socket(socket) => Pin::new(socket).poll_read(context, buffer),
            Self::Tls(tls) => {
                let count = ready!(tls.poll_receive(context, buffer.initialize_unfilled()))?;
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            Self::Http2(stream) => {
                let count = ready!(stream.poll_receive(context, buffer.initialize_unfilled()))?;
                buffer.advance(count);
                Poll::Ready(Ok(()))
            }
            Self::Boxed(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_flush(self.get_mut(), context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Self::poll_shutdown(self.get_mut(), context)
    }
}
