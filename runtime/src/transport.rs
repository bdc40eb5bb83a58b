//! Sockets, on whichever leg of a connection they are.

mod liveness;

pub use liveness::Liveness;
