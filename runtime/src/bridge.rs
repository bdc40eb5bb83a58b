//! The bridge between plain requests and WebSockets: a request becomes a message, and a message an answer or an event.
//!
//! One direction: plain requests go in, and a WebSocket comes out.
//! Here we are the WebSocket's client, as no browser and no proxy is: tungstenite answers pings and closes for us. What is
//! between it and the upstream is an ordinary stream with its filters, limits, timers and its line in the log, which takes the
//! other end of a [`passage`] for its client. That is also how it is known that a message was written: see there.
//!
//! A message is sent at most once. What was answered 202 was written to the socket of an upstream that was there; of what was
//! answered 502 or 504 it is not known; what was answered 503 was not sent.
//!
//! The other direction: a WebSocket comes in, and an [`Application`] is told of it by plain requests, each an [`Event`]. What
//! it has [`Said`] with its answers, and what it pushes, goes to the client. Here we are the WebSocket's server, at a [`Seat`]
//! at the other end of the same kind of passage; the stream in between is as ordinary. An event is sent at most once, too, and
//! one after the other for each connection.

mod application;
mod event;
mod events;
mod failure;
mod line;
mod message;
mod passage;
mod pool;
mod queue;
mod said;
mod seat;
mod terms;

pub use application::{Application, Form, Telling};
pub use event::{Event, Farewell, Opens, is_ours};
pub use events::Events;
pub use failure::Failure;
pub use line::{Ended, Line};
pub use message::{NotText, body, message};
pub use passage::{Inner, Outer, passage};
pub use pool::{Dial, Pool, Sent};
pub use queue::{Queue, Untaken};
pub use said::{Said, Unintelligible, asked_to_close};
pub use seat::{Outgoing, Seat, TooLarge};
pub use terms::{Reply, Terms};
