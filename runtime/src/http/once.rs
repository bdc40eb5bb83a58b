//! A read whose bytes are looked at, or copied in the size that they have.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

thread_local! {
    /// What all connections of a worker read the heads of their handshakes to: one that waits has no room of its own, and
    /// room on the stack would have to be cleared each time.
    static ROOM: RefCell<[u8; READ]> = const { RefCell::new([0; READ]) };
}

/// Reads once, up to 4 KiB, and shows what has come; nothing at the end.
///
/// # Errors
/// When the stream is broken.
pub fn poll_read_once<S: AsyncRead + Unpin, T>(
    stream: &mut S,
    context: &mut Context<'_>,
    took: impl FnOnce(&[u8]) -> T,
) -> Poll<io::Result<T>> {
    ROOM.with(|room| {
        let Ok(mut room) = room.try_borrow_mut() else { return Poll::Ready(Err(io::ErrorKind::ResourceBusy.into())) };
        let mut buffer = ReadBuf::new(&mut *room);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(took(buffer.filled())))
    })
}

/// More than the head of an opening handshake or of its answer has, but for many cookies.
const READ: usize = 4 << 10;
