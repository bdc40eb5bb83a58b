//! RFC 6455 without sockets: frame headers, masks, the order of frames, close codes.
//!
//! Everything takes bytes and values. Short input is no error: it gives `None` and consumes nothing.

mod close;

pub use close::{CloseFrame, InvalidClose};
