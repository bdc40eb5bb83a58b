//! What a peer can do wrong.

use thiserror::Error;

use super::{FrameLimits, InvalidClose};
use crate::metrics::{InflateFailure, Limit};

/// A breach of RFC 6455, or of a limit, by the sender of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// A reserved bit that no extension gives a meaning.
    #[error("a reserved bit is set without an extension that uses it")]
    ReservedBits,
    /// An opcode that is not defined.
    #[error("opcode {0} is not defined")]
    Opcode(u8),
    /// A client's frame without a mask.
    #[error("a client's frame is not masked")]
    Unmasked,
    /// A server's frame with a mask.
    #[error("a server's frame is masked")]
    Masked,
    /// A control frame that is not final.
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A control frame over 125 bytes.
    #[error("a control frame has more than 125 bytes")]
    ControlTooLong,
    /// A length in more bytes than it needs.
    #[error("a payload length is not minimally encoded")]
    LengthNotMinimal,
    /// A length over 2^63 - 1.
    #[error("a payload length is over 2^63 - 1")]
    LengthTooLarge,
    /// A continuation frame outside a message.
    #[error("a continuation frame continues nothing")]
    ContinuationWithoutStart,
    /// A text or binary frame inside a message.
    #[error("a message starts inside another")]
    DataInsideMessage,
    /// A frame over the route's `max_frame_size`.
    #[error("a frame is larger than {limit} bytes")]
    FrameTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A message, to be assembled, over the route's `max_message_size`.
    #[error("a message is larger than {limit} bytes")]
    MessageTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A compressed message, to be assembled, that inflates to more than the route's `max_message_size`.
    #[error("a compressed message inflates to more than {limit} bytes")]
    InflatedTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A compressed message over the route's `max_compression_ratio`.
    #[error("a compressed message inflates to more than {limit} times its size")]
    CompressionRatio {
        /// The limit.
        limit: u32,
    },
    /// More control frames in a second than the route's `control_frames_per_second`.
    #[error("more than {limit} control frames came in a second")]
    ControlFrames {
        /// The limit.
        limit: u32,
    },
    /// A message of more fragments that carry little than the route's `max_fragments`.
    #[error("a message has more than {limit} fragments of less than {} bytes", FrameLimits::SMALL)]
    Fragments {
        /// The limit.
        limit: u32,
    },
    /// A message, to be assembled, that takes longer than the route's `message_timeout`.
    #[error("message_timeout: a message took too long to come")]
    MessageTimeout,
    /// A compressed message that is no deflate data (RFC 1951), or refers to what its sender never sent.
    #[error("a compressed message cannot be inflated")]
    InvalidDeflate,
    /// Text, assembled, that is not UTF-8.
    #[error("a text message is not UTF-8")]
    InvalidUtf8,
    /// A close frame with a bad body.
    #[error("{0}")]
    Close(#[from] InvalidClose),
}

impl Violation {
    /// The close code that answers it (RFC 6455 section 7.4.1).
    pub fn code(self) -> u16 {
        match self {
            Self::FrameTooLarge { .. }
            | Self::MessageTooLarge { .. }
            | Self::InflatedTooLarge { .. }
            | Self::CompressionRatio { .. } => 1009,
            Self::ControlFrames { .. } | Self::Fragments { .. } | Self::MessageTimeout => 1008,
            Self::InvalidDeflate | Self::InvalidUtf8 | Self::Close(InvalidClose::Reason) => 1007,
            _ => 1002,
        }
    }

    /// How it shows in `limit_closes_total`, if it does.
    pub fn limit(self) -> Option<Limit> {
        match self {
            Self::FrameTooLarge { .. } => Some(Limit::MaxFrameSize),
            Self::MessageTooLarge { .. } | Self::InflatedTooLarge { .. } => Some(Limit::MaxMessageSize),
            Self::CompressionRatio { .. } => Some(Limit::MaxCompressionRatio),
            Self::ControlFrames { .. } => Some(Limit::ControlFramesPerSecond),
            Self::Fragments { .. } => Some(Limit::MaxFragments),
            Self::MessageTimeout => Some(Limit::MessageTimeout),
            _ => None,
        }
    }

    /// How it shows in `inflate_failures_total`, if it does.
    pub fn inflate_failure(self) -> Option<InflateFailure> {
        match self {
            Self::InflatedTooLarge { .. } => Some(InflateFailure::Size),
            Self::CompressionRatio { .. } => Some(InflateFailure::Ratio),
            Self::InvalidDeflate => Some(InflateFailure::InvalidData),
            _ => None,
        }
    }
}
