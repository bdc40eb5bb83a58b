//! Messages part by part, as they come.

pub use crate::bindings::filter::exports::tidegate::edge::streaming::PartVerdict;
use crate::{CloseFrame, MessageKind};

/// A part of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Text or binary.
    pub kind: MessageKind,
    /// Whether the message begins with it.
    pub first: bool,
    /// Whether the message ends with it.
    pub last: bool,
    /// As many bytes as there are at the moment; of a text they may end inside a character, and nobody has checked that
    /// they are UTF-8.
    pub bytes: &'a [u8],
}

impl PartVerdict {
    /// These bytes go on in its place. Only for a selection to rewrite.
    pub fn replace(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Replace(bytes.into())
    }

    /// It goes no further, and the connection is closed on both sides with this.
    pub fn close(code: u16, reason: impl Into<String>) -> Self {
        Self::Close(CloseFrame::new(code, reason))
    }
}
