//! Tidegate's bench tool: a load generator and an echo server that check every payload and its order.
//!
//! One thread each, epoll underneath, so that on two cores the proxy has one for itself. What is measured is CPU time
//! per message from the scheduler's own accounts: it does not depend on how fast the load generator is, and ratios of
//! two proxies hold where absolute figures drift. Every scenario counts lost, changed, reordered, repeated and
//! misdelivered messages; a figure of a run with a fault is worth nothing.

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "lengths are checked where they are parsed; a panic here ends a measurement and not a service"
)]

pub mod cli;
pub mod compare;
pub mod scenario;
pub mod multiplexer;
pub mod generator;
pub mod connection;
pub mod tools;
pub mod echo;
pub mod order;
pub mod totals;
pub mod wire;
pub mod page;
pub mod payload;
pub mod deflate;
pub mod handshake;
pub mod frame;
pub mod small;
pub mod random;
pub mod process;
pub mod clock;
