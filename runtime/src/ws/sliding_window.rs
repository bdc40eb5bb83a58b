//! What permessage-deflate lets each sender do (RFC 7692 section 7.1), and what else was agreed on.

use crate::peer::Side;

/// What both handshakes agreed on in `Sec-WebSocket-Extensions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Whether there is any, so that RSV1 may be set.
    pub agreed: bool,
    /// The parameters of permessage-deflate, where it is among them.
    pub deflate: Option<DeflateParameters>,
}

/// The parameters of permessage-deflate. They hold on both legs alike, because the negotiation is end to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeflateParameters {
    /// Of what the client sends.
    pub client: SlidingWindow,
    /// Of what the server sends: to the client the proxy, to the proxy the upstream.
    pub server: SlidingWindow,
}

impl DeflateParameters {
    /// Those of one sender.
    pub fn of(&self, sender: Side) -> SlidingWindow {
        match sender {
            Side::Client => self.client,
            Side::Upstream => self.server,
        }
    }
}

impl Default for DeflateParameters {
    /// Those of an answer without parameters.
    fn default() -> Self {
        Self { client: SlidingWindow::LARGEST, server: SlidingWindow::LARGEST }
    }
}

/// The LZ77 sliding window of one sender's compressed messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlidingWindow {
    /// Base-2 logarithm of its size in bytes, 8 to 15 (`client_max_window_bits`, `server_max_window_bits`).
    pub bits: u8,
    /// Whether a message may refer to those before it: no `client_no_context_takeover`, `server_no_context_takeover`.
    pub takeover: bool,
}

impl SlidingWindow {
    /// What a sender may use that no parameter limits.
    pub const LARGEST: Self = Self { bits: 15, takeover: true };

    /// Its size in bytes.
    pub fn size(self) -> usize {
        1 << self.bits
    }
}
