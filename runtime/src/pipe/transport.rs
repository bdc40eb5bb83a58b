//! What a pipe asks of the sockets that it joins.

use std::io;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::reactor::Socket;

/// A connected stream of bytes, whose end can be seen from afar.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Whether the other end sends nothing more, told without reading what is left of what it has sent; otherwise the
    /// task is woken when that changes. A stream that cannot tell is pending for ever.
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let _ = context;
        Poll::Pending
    }
}

/// How a stream has ended.
#[derive(Debug)]
pub enum End {
    /// Its other end has said that it sends nothing more; it may still receive.
    Finished,
    /// It is broken: nothing comes and nothing goes.
    Broken(io::Error),
}

impl Transport for Socket {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        Self::poll_end(self, context).map(|ended| ended.map_or_else(End::Broken, |()| End::Finished))
    }
}

#[cfg(any(fuzzing, test))]
impl Transport for std::io::Cursor<Vec<u8>> {}

#[cfg(test)]
impl Transport for tokio::io::DuplexStream {}
