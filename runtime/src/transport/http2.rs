//! One stream of an HTTP/2 connection (RFC 9113), as bytes to a peer and back.
//!
//! The connection has a task of its own, which moves frames between its socket and the streams. What a stream has taken of
//! ours leaves when that task has its turn; how much it takes is the peer's word, by the windows of the stream and of the
//! connection. The peer may send on as far as an [`Inlet`] says that its bytes were taken on. A reset is a broken stream.

mod inlet;
mod wire;

use std::any::Any;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;

pub use inlet::Inlet;
use inlet::Taken;
pub use wire::{Way, Wire};

use super::End;

/// What a connection over HTTP/2 is allowed, with clients or with an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Limits {
    /// Streams at a time; towards an endpoint no more than that takes.
    pub max_streams: u32,
    /// How far the peer may send ahead on a stream of what was taken on, in bytes.
    pub stream_window: u32,
    /// How long it may be without a stream.
    pub idle_timeout: Duration,
}

/// A stream of an HTTP/2 connection, open in both directions. Dropping it resets the stream, unless both have ended.
pub struct Http2 {
    send: SendStream<Bytes>,
    inlet: Rc<Inlet>,
    /// What is lent to the reader.
    lent: Bytes,
    /// Whether we have said that we send nothing more.
    has_finished: bool,
    /// Dropped with it.
    _held: Option<Box<dyn Any>>,
}

impl Http2 {
    /// Both halves of a stream.
    pub fn new(send: SendStream<Bytes>, inlet: Rc<Inlet>) -> Self {
        Self { send, inlet, lent: Bytes::new(), has_finished: false, _held: None }
    }

    /// The same, with what is to be kept as long as the stream.
    pub fn holding(self, held: impl Any) -> Self {
        Self { _held: Some(Box::new(held)), ..self }
    }

    /// See [`Transport::poll_lend`](super::Transport::poll_lend). A large frame is lent as it came; small ones are gathered
    /// in `room`.
    pub(super) fn poll_lend<'a>(
        &'a mut self,
        context: &mut Context<'_>,
        room: &'a mut [u8],
    ) -> Poll<io::Result<&'a [u8]>> {
        Poll::Ready(Ok(match ready!(self.inlet.poll_take(context, room))? {
            Taken::Copied(count) => room.get(..count).unwrap_or_default(),
            Taken::Whole(bytes) => {
                self.lent = bytes;
                &self.lent
            }
        }))
    }

    /// Reads to `room`, and gives how many bytes.
    pub(super) fn poll_receive(&mut self, context: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(match ready!(self.inlet.poll_take(context, room))? {
            Taken::Copied(count) => count,
            Taken::Whole(bytes) => {
                if let Some(room) = room.get_mut(..bytes.len()) {
                    room.copy_from_slice(&bytes);
                }
                bytes.len()
            }
        }))
    }

    /// See [`Transport::poll_readable`](super::Transport::poll_readable).
    #[inline]
    pub(super) fn poll_readable(&self, context: &Context<'_>) -> Poll<()> {
        self.inlet.poll_readable(context)
    }

    /// See [`Transport::poll_send`](super::Transport::poll_send).
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let room = ready!(self.poll_room(context, bytes.len()))?;
        let bytes = bytes.get(..room).unwrap_or(bytes);
        self.send.send_data(Bytes::copy_from_slice(bytes), false).map_err(broken)?;
        Poll::Ready(Ok(bytes.len()))
    }

    /// How many of so many bytes the peer takes.
    fn poll_room(&mut self, context: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let wanted = wanted.min(MOST_SENT);
        self.send.reserve_capacity(wanted);
        loop {
            let room = self.send.capacity();
            if room > 0 || wanted == 0 {
                return Poll::Ready(Ok(room.min(wanted)));
            }
            match ready!(self.send.poll_capacity(context)) {
                Some(room) => drop(room.map_err(broken)?),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
    }

    /// Says that we send nothing more.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.has_finished, true) {
            return Ok(());
        }
        self.send.send_data(Bytes::new(), true).map_err(broken)
    }

    /// See [`Transport::poll_end`](super::Transport::poll_end).
    pub(super) fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        if let Poll::Ready(ended) = self.inlet.poll_end(context) {
            return Poll::Ready(ended.map_or_else(End::Broken, |()| End::Finished));
        }
        let reason = ready!(self.send.poll_reset(context));
        Poll::Ready(End::Broken(reason.map_or_else(broken, |reason| broken(reason.into()))))
    }
}

impl fmt::Debug for Http2 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Http2").field("stream", &self.send.stream_id()).finish_non_exhaustive()
    }
}

/// What has happened to a stream, as what happens to a socket.
fn broken(error: h2::Error) -> io::Error {
    match error.get_io() {
        // A connection that has ended without more ado is no fault of its own.
        Some(error) => io::Error::new(error.kind(), error.to_string()),
        None if error.is_reset() => io::Error::new(io::ErrorKind::ConnectionReset, error),
        None => io::Error::other(error),
    }
}

/// The most that is handed over at once, and no more than waits for its turn.
const MOST_SENT: usize = 64 << 10;
