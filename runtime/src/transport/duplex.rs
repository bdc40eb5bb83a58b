//! Streams of bytes of any other kind than the runtime's own.

use std::fmt::Debug;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{End, Transport};

/// A stream of bytes in each direction, of any kind.
pub trait Duplex: AsyncRead + AsyncWrite + Unpin + Debug {
    /// See [`Transport::poll_end`].
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let _ = context;
        Poll::Pending
    }
}

impl Transport {
    /// A transport of any kind of stream.
    pub fn boxed(stream: impl Duplex + 'static) -> Self {
        Self::Boxed(Box::new(stream))
    }
}

pub(super) fn poll_receive(
    stream: &mut Box<dyn Duplex>,
    context: &mut Context<'_>,
    room: &mut [u8],
) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(room);
    ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

#[cfg(test)]
impl Duplex for tokio::io::DuplexStream {}
