//! The client's side of the opening handshake (RFC 6455 section 4.2).
//!
//! A socket brings [`Streams`], or a [`Multiplex`] of many at a time: each [`Stream`] is a request under way, which is refused
//! or becomes a [`Tunnel`], and nobody above knows over which HTTP. [`Requests`] is that of HTTP/1.1: it reads requests and
//! answers them, or gives the socket back after a 101. What lies between is values: [`Target`] says where a request wants to go, [`validate`] makes
//! an [`Opening`] of it or a [`Refused`], and [`Forwarding`] makes the request for the upstream. Routing comes before
//! validation, so that a plain request can find a route that is not for WebSockets; the pieces therefore do not depend on
//! each other.
//!
//! A request shares memory with the buffer it was read into: drop it when the connection is open.

mod access;
mod body;
mod claims;
mod correlation;
mod forwarding;
mod heads;
mod http1;
mod http2;
mod networks;
mod opening;
mod refused;
mod reply;
mod request_body;
mod requests;
mod shortcut;
mod stream;
mod target;

pub use access::Access;
pub use body::AnswerBody;
pub use correlation::{REQUEST_ID, RequestId, TraceId, correlate};
pub use forwarding::{Client, Forwarding, Scheme, apply};
pub use http2::{Exchange, Multiplex, Parted, Request, speaks_http2};
pub use networks::{Network, Networks};
pub use opening::{Opening, describe, is_opening, validate};
pub use refused::{Refused, answer, refusal, relayed, text, told};
pub use request_body::{BrokenOff, RequestBody};
pub use requests::{ClientGone, HeadLimits, ReadError, Requests, WriteError};
pub use stream::{Missed, Stream, Streams, Tunnel, Unreadable};
pub use target::Target;
