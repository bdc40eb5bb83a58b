//! What a peer can do wrong.

use thiserror::Error;

use super::InvalidClose;

/// A breach of RFC 6455, or of a limit, by the sender of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    #[error("a reserved bit is set without an extension that uses it")]
    ReservedBits,
    #[error("opcode {0} is not defined")]
    Opcode(u8),
    #[error("a client's frame is not masked")]
    Unmasked,
    #[error("a server's frame is masked")]
    Masked,
    #[error("a control frame is fragmented")]
    FragmentedControl,
    #[error("a control frame has more than 125 bytes")]
    ControlTooLong,
    #[error("a payload length is not minimally encoded")]
    LengthNotMinimal,
    #[error("a payload length is over 2^63 - 1")]
    LengthTooLarge,
    #[error("a continuation frame continues nothing")]
    ContinuationWithoutStart,
    #[error("a message starts inside another")]
    DataInsideMessage,
    #[error("a frame is larger than {limit} bytes")]
    FrameTooLarge { limit: u64 },
    #[error("a message is larger than {limit} bytes")]
    MessageTooLarge { limit: usize },
    #[error("a text message is not UTF-8")]
    InvalidUtf8,
    #[error("{0}")]
    Close(#[from] InvalidClose),
}

impl Violation {
    /// The close code that answers it (RFC 6455 section 7.4.1).
    pub fn code(self) -> u16 {
        match self {
            Self::FrameTooLarge { .. } | Self::MessageTooLarge { .. } => 1009,
            Self::InvalidUtf8 | Self::Close(InvalidClose::Reason) => 1007,
            _ => 1002,
        }
    }
}
