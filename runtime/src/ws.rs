//! RFC 6455 and RFC 7692 without sockets: frame headers, masks, the order of frames, close codes, compression.
//!
//! Everything takes bytes and values. Short input is no error: it gives `None` and consumes nothing.

mod close;
pub mod cost;
mod deflate;
mod frame;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod inflate;
mod mask;
mod sequence;
mod sliding_window;
mod violation;

pub use close::{CloseFrame, InvalidClose};
pub use deflate::Deflater;
pub use frame::{FrameHeader, Opcode};
pub use inflate::{Growth, InflateLimits, Inflater};
pub use mask::{apply_mask, extend_masked};
pub use sequence::{FrameLimits, FramePlace, FrameSequence};
pub use sliding_window::{DeflateParameters, Extensions, SlidingWindow};
pub use violation::Violation;
