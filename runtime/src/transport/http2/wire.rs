//! What carries the frames of a connection: a transport that reads a bounded part at a time, and writes all that one turn
//! has made of it at once.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::reactor::give_way;
use crate::transport::{Transport, Unwritten};

thread_local! {
    /// Room for what one turn makes, which all connections of a worker use in turn: one that has nothing to write has none.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The end that `h2` has. It is flushed by whoever has the other, once for all frames of a turn.
pub struct Wire(Rc<Way>);

/// The transport, and what is on its way to it.
#[derive(Debug)]
pub struct Way {
    transport: RefCell<Transport>,
    unwritten: RefCell<Unwritten>,
    /// What may be read yet before others have their turn.
    allowance: Cell<usize>,
    /// What was read since somebody asked.
    brought: Cell<usize>,
}

impl Way {
    /// That of a connection of which nothing is read.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport: RefCell::new(transport),
            unwritten: RefCell::default(),
            allowance: Cell::new(ALLOWANCE),
            brought: Cell::new(0),
        }
    }

    /// Whether it has brought so much since it last had.
    pub fn has_brought(&self, much: usize) -> bool {
        let has = self.brought.get() >= much;
        if has {
            self.brought.set(0);
        }
        has
    }

    /// Has what was written leave; it has to be asked until it is ready.
    ///
    /// # Errors
    /// When the transport is broken.
    pub fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (mut transport, mut unwritten) = (self.transport.borrow_mut(), self.unwritten.borrow_mut());
        if !unwritten.is_empty() {
            ready!(transport.poll_take(context, &mut unwritten))?;
            SPARE.set(std::mem::take(&mut *unwritten).into_room());
        }
        Transport::poll_flush(&mut transport, context)
    }

    /// Writes what there is, says that nothing more comes, and reads what the client sends until it says the same: who closes
    /// a socket with something unread in it takes back what was written last.
    #[expect(clippy::await_holding_refcell_ref, reason = "it has no other user any more")]
    pub async fn drain(&self) {
        let (mut transport, unwritten) = (self.transport.borrow_mut(), self.unwritten.take());
        if transport.write_all(unwritten.bytes()).await.is_ok() && transport.shutdown().await.is_ok() {
            let mut discarded = [0; 4096];
            while transport.read(&mut discarded).await.is_ok_and(|count| count > 0) {}
        }
    }
}

impl Wire {
    /// The other end of this.
    pub fn new(way: Rc<Way>) -> Self {
        Self(way)
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Way { transport, allowance, brought, .. } = &*self.0;
        if allowance.get() == 0 {
            allowance.set(ALLOWANCE);
            give_way(context);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut *transport.borrow_mut()).poll_read(context, buffer);
        let count = buffer.filled().len() - before;
        brought.set(brought.get() + count);
        allowance.set(if polled.is_pending() { ALLOWANCE } else { allowance.get().saturating_sub(count) });
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Way { unwritten, .. } = &*self.0;
        if unwritten.borrow().bytes().len() >= ALLOWANCE {
            ready!(self.0.poll_flush(context))?;
        }
        let mut unwritten = unwritten.borrow_mut();
        if unwritten.room() == 0 {
            *unwritten = Unwritten::within(SPARE.take());
        }
        unwritten.extend(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut count = 0;
        for slice in slices {
            match self.as_mut().poll_write(context, slice) {
                Poll::Ready(Ok(written)) => count += written,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if count == 0 => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(count))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.0.poll_flush(context))?;
        self.0.transport.borrow_mut().poll_shutdown(context)
    }
}

/// What is read before others have their turn, and what is written before the transport has taken it.
const ALLOWANCE: usize = 64 << 10;
