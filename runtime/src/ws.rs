//! RFC 6455 without sockets: frame headers, masks, the order of frames, close codes.
//!
//! Everything takes bytes and values. Short input is no error: it gives `None` and consumes nothing.

mod close;
mod frame;
mod mask;
mod sequence;
mod violation;

pub use close::{CloseFrame, InvalidClose};
pub use frame::{FrameHeader, Opcode};
pub use mask::{apply_mask, extend_masked};
pub use sequence::{FramePlace, FrameSequence};
pub use violation::Violation;
