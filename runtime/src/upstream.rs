//! The way to an endpoint: resolve its name, connect, ask for the upgrade, check the answer.
//!
//! Each attempt has a connection of its own, and gives either a socket that speaks WebSocket from its first unread
//! byte on, or a reason why not: a connection that was asked once is never asked again. What may be tried on another
//! endpoint is said by [`DialError::is_retryable`]; trying it is the session's business. Nothing of HTTP stays
//! allocated once [`dial`] has returned an [`Upgraded`] and its [`Accepted`](crate::http::Accepted) is dropped.

mod address;
mod answer;
mod connect;
mod dial;
mod http2;
mod open;
mod resolve;
mod secure;
mod shortage;

pub use address::{Address, AddressError, Place};
pub use answer::InvalidAnswer;
pub use dial::{DialError, Fault, Timeouts, Upgraded, dial, upgrade};
pub use http2::{Endpoint, Http2Connections};
pub use open::open;
pub use resolve::{Lookups, Resolver, Unresolved};
