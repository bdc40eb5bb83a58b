//! The piping of frames between a client and an upstream.

mod settings;

pub use settings::{Limits, Timers};
