//! One side of a connection: its socket, and the way out to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

use super::emit::encode_close;
use super::item::Boundary;
use super::outlet::Outlet;
use crate::peer::Side;
use crate::ws::CloseFrame;

/// One side of a connection.
#[derive(Debug)]
pub(super) struct Leg<S> {
    pub(super) stream: S,
    pub(super) peer: Peer,
}

/// What is known of the peer on one side, and what goes to it.
#[derive(Debug)]
pub(super) struct Peer {
    side: Side,
    pub(super) outlet: Outlet,
    /// Whether its close frame has come.
    pub(super) received_close: bool,
    /// Whether its socket has ended.
    pub(super) eof: bool,
    /// Whether nothing can be written to it any more.
    broken: bool,
    shut: Shut,
}

/// How far the ending of our half of a socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shut {
    No,
    AfterFlush,
    Done,
}

impl<S: AsyncWrite + Unpin> Leg<S> {
    pub(super) fn new(side: Side, stream: S) -> Self {
        let outlet = Outlet::new();
        let peer = Peer { side, outlet, received_close: false, eof: false, broken: false, shut: Shut::No };
        Self { stream, peer }
    }

    /// Hands over bytes that end at `end`; nothing happens when the socket is broken.
    ///
    /// # Errors
    /// When the socket breaks now.
    pub(super) fn put(&mut self, context: &mut Context<'_>, wire: &[u8], end: Boundary) -> io::Result<()> {
        if self.peer.broken {
            return Ok(());
        }
        let put = self.peer.outlet.put(context, &mut self.stream, wire, end);
        if put.is_err() {
            self.peer.give_up();
        }
        put
    }

    /// Writes what the socket takes; ready when nothing is left, and at once when it is broken.
    ///
    /// # Errors
    /// When the socket breaks now.
    pub(super) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.peer.broken {
            self.peer.outlet.discard();
            return Poll::Ready(Ok(()));
        }
        let flushed = self.peer.outlet.poll_flush(context, &mut self.stream);
        if let Poll::Ready(Err(_)) = flushed {
            self.peer.give_up();
        }
        if flushed.is_ready() && self.peer.shut == Shut::AfterFlush && !self.peer.outlet.is_waiting() {
            self.peer.shut = Shut::Done;
            // A socket that cannot be shut down is gone already.
            let _ = Pin::new(&mut self.stream).poll_shutdown(context);
        }
        flushed
    }
}

impl Peer {
    /// Ends our half of the socket once everything is written.
    pub(super) fn shut_after_flush(&mut self) {
        if self.shut == Shut::No {
            self.shut = Shut::AfterFlush;
        }
    }

    /// A frame under way to it will never be finished, so that there is no place for a close frame.
    pub(super) fn cut_off(&mut self) {
        self.outlet.mark_closed();
        self.shut_after_flush();
    }

    /// Sends a close frame, empty without a code, unless one was sent or waits.
    pub(super) fn send_close(&mut self, close: Option<&CloseFrame>) {
        self.outlet.insert_close(encode_close(close, self.side));
    }

    /// Whether nothing is left to do on this side. We leave a client's socket first, as RFC 6455 section 7.1.1 asks of
    /// a server, and wait for an upstream to leave its own, which also keeps its port from lingering here.
    pub(super) fn is_done(&self) -> bool {
        let closed = self.outlet.is_closed() && self.outlet.is_empty() && self.received_close;
        self.broken || self.eof && self.outlet.is_empty() || closed && self.side == Side::Client
    }

    fn give_up(&mut self) {
        self.broken = true;
        self.outlet.discard();
    }
}
