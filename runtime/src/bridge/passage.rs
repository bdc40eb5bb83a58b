//! A stream of bytes within the process, between a pipe and an endpoint of our own.
//!
//! Both ends belong to one thread. Beside the bytes it tells the endpoint what no socket could: that the pipe has passed on
//! all that it was given. A pipe asks for more only when whatever it has read before is written to the other side's socket, so a
//! question that finds nothing is that word; it counts once the pipe has looked at its sockets in between, for an upstream that
//! is gone is seen there first.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::reactor::give_way;
use crate::transport::{Duplex, End};

/// The end that a pipe takes for a peer.
#[derive(Debug)]
pub struct Inner(Rc<RefCell<Passage>>);

/// The end of the endpoint.
#[derive(Debug)]
pub struct Outer(Rc<RefCell<Passage>>);

#[derive(Debug, Default)]
struct Passage {
    inward: Way,
    outward: Way,
    /// How far it is known that all bytes that went in were passed on.
    passed: Passed,
    /// Waits for that.
    waiter: Option<Waker>,
}

/// Bytes in one direction.
#[derive(Debug, Default)]
struct Way {
    bytes: BytesMut,
    is_ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Passed {
    /// All that there was.
    #[default]
    All,
    /// The pipe has asked for more, and is still to look at its sockets.
    Asked,
    /// There is something that it has not asked behind.
    NotYet,
}

/// A stream with both of its ends.
pub fn passage() -> (Inner, Outer) {
    let passage = Rc::new(RefCell::new(Passage::default()));
    (Inner(passage.clone()), Outer(passage))
}

impl Way {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() && !self.is_ended {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(self.bytes.get(..count).unwrap_or_default());
        self.bytes.advance(count);
        if self.bytes.is_empty() {
            // An idle connection owns no buffer.
            self.bytes = BytesMut::new();
        }
        wake(&mut self.writer);
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.is_ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(ROOM.saturating_sub(self.bytes.len()));
        if count == 0 && !bytes.is_empty() {
            self.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.bytes.extend_from_slice(bytes.get(..count).unwrap_or_default());
        wake(&mut self.reader);
        Poll::Ready(Ok(count))
    }

    fn end(&mut self) {
        self.is_ended = true;
        wake(&mut self.reader);
        wake(&mut self.writer);
    }
}

impl Outer {
    /// Waits until all that was written here is passed on; `false`: nobody is there any more who could.
    pub async fn until_passed(&self) -> bool {
        poll_fn(|context| self.poll_passed(context)).await
    }

    /// The same, once.
    pub fn poll_passed(&self, context: &mut Context<'_>) -> Poll<bool> {
        let mut passage = self.0.borrow_mut();
        match passage.passed {
            Passed::All => Poll::Ready(true),
            _ if passage.outward.is_ended => Poll::Ready(false),
            Passed::Asked | Passed::NotYet => {
                passage.waiter = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for Inner {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut passage = self.0.borrow_mut();
        let polled = passage.inward.poll_read(context, buffer);
        if polled.is_pending() {
            match passage.passed {
                Passed::NotYet => {
                    passage.passed = Passed::Asked;
                    give_way(context);
                }
                Passed::Asked => {
                    passage.passed = Passed::All;
                    wake(&mut passage.waiter);
                }
                Passed::All => {}
            }
        }
        polled
    }
}

impl AsyncWrite for Inner {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().outward.poll_write(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().outward.end();
        Poll::Ready(Ok(()))
    }
}

impl Duplex for Inner {
    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let mut passage = self.0.borrow_mut();
        if passage.inward.is_ended {
            return Poll::Ready(End::Finished);
        }
        passage.inward.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut passage = self.0.borrow_mut();
        passage.inward.end();
        passage.outward.end();
        wake(&mut passage.waiter);
    }
}

impl AsyncRead for Outer {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().outward.poll_read(context, buffer)
    }
}

impl AsyncWrite for Outer {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut passage = self.0.borrow_mut();
        let written = passage.inward.poll_write(context, bytes);
        if matches!(written, Poll::Ready(Ok(count)) if count > 0) {
            passage.passed = Passed::NotYet;
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().inward.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Outer {
    fn drop(&mut self) {
        let mut passage = self.0.borrow_mut();
        passage.inward.end();
        passage.outward.end();
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// What is kept in a direction at most, before its writer waits: as much as one read of a pipe.
const ROOM: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_come_out_at_the_other_end_and_a_writer_waits_for_a_slow_reader() {
        let (mut inner, mut outer) = passage();
        outer.write_all(b"up").await.unwrap();
        inner.write_all(b"down").await.unwrap();
        let mut room = [0; 8];
        assert_eq!(inner.read(&mut room).await.unwrap(), 2);
        assert_eq!(outer.read(&mut room).await.unwrap(), 4);
        assert_eq!(&room[..4], b"down");
        let mut writing = Box::pin(outer.write_all(&[7; ROOM + 1]));
        assert!(poll!(writing.as_mut()).is_pending());
        let mut all = vec![0; ROOM + 1];
        let (read, written) = tokio::join!(inner.read_exact(&mut all), writing);
        assert_eq!((read.unwrap(), written.unwrap()), (ROOM + 1, ()));
    }

    #[tokio::test]
    async fn what_is_written_is_passed_on_once_the_pipe_has_asked_for_more_twice() {
        let (mut inner, mut outer) = passage();
        assert!(outer.until_passed().await, "there was nothing");
        outer.write_all(b"message").await.unwrap();
        let mut room = [0; 16];
        assert_eq!(inner.read(&mut room).await.unwrap(), 7);
        for _ in 0..2 {
            let passed = outer.until_passed();
            let mut passed = Box::pin(passed);
            assert!(poll!(passed.as_mut()).is_pending());
            assert!(poll!(Box::pin(inner.read(&mut room))).is_pending());
        }
        assert!(outer.until_passed().await);
    }

    #[tokio::test]
    async fn nothing_is_passed_on_any_more_once_the_pipe_is_gone() {
        let (inner, mut outer) = passage();
        outer.write_all(b"message").await.unwrap();
        let passed = async { outer.until_passed().await };
        let (passed, ()) = tokio::join!(passed, async { drop(inner) });
        assert!(!passed);
        assert_eq!(outer.write(b"more").await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(outer.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn the_pipe_sees_that_the_endpoint_has_left() {
        let (mut inner, outer) = passage();
        let mut context = Context::from_waker(Waker::noop());
        assert!(inner.poll_end(&mut context).is_pending());
        drop(outer);
        assert!(matches!(inner.poll_end(&mut context), Poll::Ready(End::Finished)));
        assert_eq!(inner.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
