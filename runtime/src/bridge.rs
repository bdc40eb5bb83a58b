//! The bridge between plain requests and WebSockets: a request becomes a message, and a message an answer or an event.
//!
//! Here we are the WebSocket's client, as no browser and no proxy is: tungstenite answers pings and closes for us. What is
//! between it and the upstream is an ordinary stream with its filters, limits, timers and its line in the log, which takes the
//! other end of a [`passage`] for its client. That is also how it is known that a message was written: see there.
//!
//! A message is sent at most once. What was answered 202 was written to the socket of an upstream that was there; of what was
//! answered 502 or 504 it is not known; what was answered 503 was not sent.

mod events;
mod failure;
mod line;
mod message;
mod passage;
mod pool;
mod terms;

pub use events::Events;
pub use failure::Failure;
pub use line::{Ended, Line};
pub use message::{NotText, body, message};
pub use passage::{Inner, Outer, passage};
pub use pool::{Dial, Pool, Sent};
pub use terms::{Reply, Terms};
