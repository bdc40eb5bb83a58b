//! An upstream's 101, on its way to the client.

use http::header::{HeaderMap, HeaderValue};

use crate::ws::Extensions;

/// What an upstream has said with its 101, checked.
#[derive(Debug)]
pub struct Accepted {
    /// The end-to-end fields of the answer, without those of the handshake.
    pub headers: HeaderMap,
    /// The subprotocol the upstream chose, one that the client offered.
    pub protocol: Option<HeaderValue>,
    /// The extensions the upstream chose, with their parameters, all of them offered.
    pub extensions: Option<HeaderValue>,
    /// What they mean for the frames.
    pub agreed: Extensions,
}

impl Accepted {
    /// What it says to the client, and leaves what it means.
    pub fn take(&mut self) -> Self {
        let Self { headers, protocol, extensions, agreed } = self;
        Self {
            headers: std::mem::take(headers),
            protocol: protocol.take(),
            extensions: extensions.take(),
            agreed: *agreed,
        }
    }
}
