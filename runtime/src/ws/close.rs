//! The body of a close frame (RFC 6455 sections 5.5.1 and 7.4).

use thiserror::Error;

/// A close code with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseFrame {
    /// A code that may stand on the wire, see [`CloseFrame::is_sendable`].
    pub code: u16,
    /// At most [`CloseFrame::MAX_REASON`] bytes.
    pub reason: String,
}

/// A close frame that its receiver has to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidClose {
    /// One byte cannot hold a code; to be answered with 1002.
    #[error("a close frame's body has 0 or at least 2 bytes")]
    Truncated,
    /// The code is reserved or undefined; to be answered with 1002.
    #[error("close code {0} must not stand in a frame")]
    Code(u16),
    /// The reason is not UTF-8; to be answered with 1007.
    #[error("the close reason is not UTF-8")]
    Reason,
}

impl CloseFrame {
    /// A control frame carries 125 bytes, two of which are the code.
    pub const MAX_REASON: usize = 123;

    /// A close frame with a reason, cut at a character boundary where it is too long.
    pub fn new(code: u16, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        if reason.len() > Self::MAX_REASON {
            let end = (0..=Self::MAX_REASON).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
            reason.truncate(end);
        }
        Self { code, reason }
    }

    /// Whether a code may stand on the wire: not 1004, 1005, 1006 or 1015, and within a range that has a meaning.
    pub fn is_sendable(code: u16) -> bool {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
    }

    /// Reads an unmasked body; `None` for an empty one, which is valid and says nothing.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, InvalidClose> {
        match body {
            [] => Ok(None),
            [_] => Err(InvalidClose::Truncated),
            [high, low, reason @ ..] => {
                let code = u16::from_be_bytes([*high, *low]);
                if !Self::is_sendable(code) {
                    return Err(InvalidClose::Code(code));
                }
                let reason = std::str::from_utf8(reason).map_err(|_| InvalidClose::Reason)?;
                Ok(Some(Self { code, reason: reason.to_owned() }))
            }
        }
    }

    /// The body as it stands in a frame.
    pub fn body(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(2 + self.reason.len());
        body.extend_from_slice(&self.code.to_be_bytes());
        body.extend_from_slice(self.reason.as_bytes());
        body
    }
}
