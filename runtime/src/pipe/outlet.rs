//! What goes to one peer: bytes its socket has not taken yet, and frames of our own that wait for a place.
//!
//! A frame of ours may stand only where a frame ends, and a message only where a message ends; an outlet knows where
//! the bytes put into it end. It holds at most what one read brought, because nothing is read while it holds anything.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::item::Boundary;

/// The way out to one peer.
#[derive(Debug)]
pub(super) struct Outlet {
    /// Boxed, because an idle connection owns no buffer, and most never need one.
    pending: Option<Box<Pending>>,
    /// Where what was put in ends.
    end: Boundary,
    /// Frames of our own that wait for a place; most connections never have any.
    own: Option<Box<Own>>,
    /// Whether messages of our own are among what is pending.
    replied: bool,
    /// Whether a close frame was put in, ours or the other peer's: nothing may follow it.
    closed: bool,
}

/// What its socket has not taken yet.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

/// Frames of our own that wait for a place.
#[derive(Debug, Default)]
struct Own {
    /// They wait for the end of a frame.
    control: Vec<u8>,
    /// They wait for the end of a message.
    messages: Vec<u8>,
    /// It waits for the end of a frame.
    close: Option<Vec<u8>>,
}

impl Own {
    fn is_empty(&self) -> bool {
        self.control.is_empty() && self.messages.is_empty() && self.close.is_none()
    }
}

impl Outlet {
    pub(super) fn new() -> Self {
        Self { pending: None, end: Boundary::Message, own: None, replied: false, closed: false }
    }

    /// Whether everything put in was written.
    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_none()
    }

    /// Whether something of our own waits for a place.
    pub(super) fn is_waiting(&self) -> bool {
        self.own.as_ref().is_some_and(|own| !own.is_empty()) && !self.closed
    }

    /// Whether messages of our own are still here: who causes them has to wait.
    pub(super) fn holds_messages(&self) -> bool {
        self.own.as_ref().is_some_and(|own| !own.messages.is_empty()) || self.replied && self.pending.is_some()
    }

    /// Whether a close frame was put in.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a frame is under way, so that nothing can be put in.
    pub(super) fn inside_frame(&self) -> bool {
        self.end == Boundary::Inside
    }

    /// Says that nothing may follow what was put in: it ends with a close frame, or inside a frame for ever.
    pub(super) fn mark_closed(&mut self) {
        self.closed = true;
        self.own = None;
    }

    /// Puts in bytes that end at `end`, writing what the socket takes at once.
    pub(super) fn put<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        bytes: &[u8],
        end: Boundary,
    ) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.end = end;
        let mut taken = 0;
        if self.pending.is_none() {
            while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                match Pin::new(&mut *stream).poll_write(context, rest) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(count)) => taken += count,
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => break,
                }
            }
        }
        self.append(bytes.get(taken..).unwrap_or_default());
        self.replied &= self.pending.is_some();
        Ok(())
    }

    /// Puts in a control frame of our own as soon as it may stand.
    pub(super) fn insert_control(&mut self, frame: &[u8]) {
        // One at a time: a peer that does not read is not sent a second ping.
        let own = self.own.get_or_insert_default();
        if own.control.is_empty() {
            own.control.extend_from_slice(frame);
        }
        self.settle();
    }

    /// Where to append messages of our own, for [`Outlet::settle`] to put in as soon as they may stand.
    pub(super) fn messages(&mut self) -> &mut Vec<u8> {
        &mut self.own.get_or_insert_default().messages
    }

    /// Puts in our close frame as soon as it may stand; nothing follows it. The first close frame counts.
    pub(super) fn insert_close(&mut self, frame: Vec<u8>) {
        if !self.closed {
            self.own.get_or_insert_default().close.get_or_insert(frame);
        }
        self.settle();
    }

    /// Puts in what waits and may stand here.
    pub(super) fn settle(&mut self) {
        if self.own.is_none() {
            return;
        }
        let mut wire = Vec::new();
        self.place(self.end, &mut wire);
        self.append(&wire);
    }

    fn append(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.pending.get_or_insert_default().bytes.extend_from_slice(bytes);
        }
    }

    /// Appends to `wire`, which ends at `end`, what waits and may stand there.
    pub(super) fn place(&mut self, end: Boundary, wire: &mut Vec<u8>) {
        let Some(own) = self.own.as_mut().filter(|_| end != Boundary::Inside && !self.closed) else { return };
        wire.append(&mut own.control);
        if end == Boundary::Message && !own.messages.is_empty() {
            wire.append(&mut own.messages);
            self.replied = true;
        }
        if let Some(close) = own.close.take() {
            wire.extend_from_slice(&close);
            self.closed = true;
        }
        // Messages may still wait for the end of a message, after which nothing but a close frame was sent.
        if self.closed || own.is_empty() {
            self.own = None;
        }
    }

    /// Writes what the socket takes; ready when nothing is left.
    pub(super) fn poll_flush<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
    ) -> Poll<io::Result<()>> {
        if let Some(pending) = &mut self.pending {
            while let Some(rest) = pending.bytes.get(pending.written..).filter(|rest| !rest.is_empty()) {
                let count = ready!(Pin::new(&mut *stream).poll_write(context, rest))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                pending.written += count;
            }
        }
        self.pending = None;
        self.replied = false;
        Poll::Ready(Ok(()))
    }

    /// Forgets everything: the socket takes nothing more.
    pub(super) fn discard(&mut self) {
        self.pending = None;
        self.closed = true;
    }
}
