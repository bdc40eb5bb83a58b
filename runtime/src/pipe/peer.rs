//! What is known of the peer on one side, and the way out to it.

use super::emit::encode_close;
use super::outlet::Outlet;
use crate::peer::Side;
use crate::ws::CloseFrame;

/// One peer.
#[derive(Debug)]
pub(super) struct Peer {
    side: Side,
    pub(super) outlet: Outlet,
    /// Whether its close frame has come.
    pub(super) received_close: bool,
    /// Whether it sends nothing more.
    pub(super) eof: bool,
    /// Whether nothing can be written to it any more.
    broken: bool,
    shut: Shut,
}

/// How far the ending of our sending half has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shut {
    No,
    AfterFlush,
    Done,
}

impl Peer {
    pub(super) fn new(side: Side) -> Self {
        Self { side, outlet: Outlet::new(), received_close: false, eof: false, broken: false, shut: Shut::No }
    }

    /// Whether nothing can be written to it any more.
    #[inline]
    pub(super) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Nothing can be written to it any more.
    pub(super) fn give_up(&mut self) {
        self.broken = true;
        self.outlet.discard();
    }

    /// Ends our sending half once everything is written.
    pub(super) fn shut_after_flush(&mut self) {
        if self.shut == Shut::No {
            self.shut = Shut::AfterFlush;
        }
    }

    /// Whether our sending half is to end now that everything is written.
    #[inline]
    pub(super) fn is_to_shut(&self) -> bool {
        self.shut == Shut::AfterFlush && !self.outlet.is_waiting()
    }

    /// Our sending half has ended.
    pub(super) fn has_shut(&mut self) {
        self.shut = Shut::Done;
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
}
