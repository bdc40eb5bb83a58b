//! The content of an answer whose head has told its length, as it is read from its connection.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use hyper::body::Incoming;
use tokio::io::AsyncReadExt;

use crate::transport::Transport;

/// What comes over a connection until so many bytes have come.
#[derive(Debug)]
pub struct Content {
    transport: Transport,
    /// What has come with the head.
    start: Bytes,
    /// How much is still to be read, with that.
    left: u64,
    /// Room for a read, which the next has again when what it brought is passed on.
    room: BytesMut,
    /// How large that is: it grows while reads fill it.
    wanted: usize,
    is_broken: bool,
}

/// Where the content of an answer comes from.
#[derive(Debug)]
pub enum Streamed {
    /// It is framed in any way, and read by hyper.
    Hyper(Incoming),
    /// It has a length, and is read from its connection.
    Content(Rc<RefCell<Content>>),
}

impl Content {
    /// So many bytes, of which these have come.
    pub fn new(transport: Transport, start: Bytes, length: u64) -> Self {
        Self { transport, start, left: length, room: BytesMut::new(), wanted: LEAST_READ, is_broken: false }
    }

    /// How much is still to be read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next part of it; `None` at its end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut part = std::mem::take(&mut self.start);
        if part.is_empty() {
            // With room for one byte more than there may be, so that a read which has emptied the socket is known as one.
            let left = usize::try_from(self.left).unwrap_or(usize::MAX);
            self.room.reserve(self.wanted.min(left).saturating_add(1));
            let read = ready!(pin!(self.transport.read_buf(&mut self.room)).poll(context));
            if let Err(error) = read.and_then(|count| if count == 0 { Err(cut()) } else { Ok(()) }) {
                self.is_broken = true;
                return Poll::Ready(Some(Err(error)));
            }
            if self.room.len() == self.room.capacity() {
                self.wanted = MOST_READ.min(2 * self.wanted);
            }
            part = self.room.split().freeze();
        }
        let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
        if length > self.left {
            // What stands behind the content, nobody has asked for.
            self.is_broken = true;
            part.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
        }
        self.left = self.left.saturating_sub(length);
        Poll::Ready(Some(Ok(part)))
    }

    /// The connection, if nothing is left of the content.
    pub fn into_rest(self) -> Option<Transport> {
        (self.left == 0 && !self.is_broken).then_some(self.transport)
    }
}

fn cut() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed within it")
}

/// What is read at once at first, and at most: larger reads wake sender and receiver less often.
const LEAST_READ: usize = 16 << 10;
const MOST_READ: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    async fn read(length: u64, start: &'static [u8], rest: &[u8]) -> (Vec<u8>, bool, bool) {
        let (mut upstream, ours) = duplex(1 << 20);
        upstream.write_all(rest).await.unwrap();
        drop(upstream);
        let mut content = Content::new(Transport::boxed(ours), Bytes::from_static(start), length);
        let mut all = Vec::new();
        let mut is_whole = true;
        while let Some(part) = poll_fn(|context| content.poll_next(context)).await {
            match part {
                Ok(part) => all.extend_from_slice(&part),
                Err(_) => {
                    is_whole = false;
                    break;
                }
            }
        }
        (all, is_whole, content.into_rest().is_some())
    }

    #[tokio::test]
    async fn content_ends_where_its_length_says() {
        for (length, start, rest, expected) in [
            (0, &b""[..], &b""[..], (&b""[..], true, true)),
            (3, b"abc", b"", (b"abc", true, true)),
            (5, b"ab", b"cde", (b"abcde", true, true)),
            (3, b"", b"abc", (b"abc", true, true)),
            // Cut short, and followed by what nobody has asked for: neither connection goes on.
            (5, b"ab", b"cd", (b"abcd", false, false)),
            (4, b"ab", b"cdHTTP/1.1 200 OK", (b"abcd", true, false)),
        ] {
            let (all, is_whole, goes_on) = read(length, start, rest).await;
            assert_eq!((&*all, is_whole, goes_on), expected, "{length} {start:?} {rest:?}");
        }
    }

    #[tokio::test]
    async fn large_content_comes_in_parts() {
        let whole = vec![b'x'; 300_000];
        let (all, is_whole, goes_on) = read(300_000, b"", &whole).await;
        assert!(all == whole && is_whole && goes_on);
    }
}
