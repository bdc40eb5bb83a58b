//! Tidegate: a WebSocket edge proxy whose policy is WebAssembly.
//!
//! The runtime has mechanism and no policy: it owns sockets, the opening handshake and the piping of frames. Which
//! route a handshake takes, which endpoint gets the connection and what happens to each message is decided by
//! sandboxed components behind the interfaces of `wit/`; the standard ones ship inside the binary.
//!
//! # One connection, top to bottom
//!
//! An accepted socket brings streams, each of them a request ([`handshake`]), which finds its [`route`]; the route's
//! filters are opened, its balancer gives a lease on an endpoint ([`balance`]), [`upstream`] dials and upgrades it, the
//! client gets its answer, and a [`pipe`] carries frames both ways until it ends in an outcome, which is counted and
//! logged. [`session`] is the only place that sees all of these stages; each of them consumes the one before it.
//!
//! # Threads
//!
//! Each worker is an OS thread with an event loop of its own ([`reactor`]), its own listening sockets and its own
//! component instances. A connection lives on one worker, both sides of it, so the data path takes no lock and wakes no
//! other thread. One further thread has a tokio runtime, the control runtime: it watches files, serves the admin API and
//! has components compiled, in a reload on a thread of the lowest priority; it publishes an immutable
//! [`session::Snapshot`] that a worker reads once for each handshake. The endpoints of an upstream are apart from it:
//! whoever knows them hands them in by a [`balance::Feed`], and a worker sees them at its next pick.
//!
//! # Where things go
//!
//! | what is new | its room |
//! |---|---|
//! | a transport (TLS, a unix socket, an HTTP/2 stream) | a variant of [`transport::Transport`]; who accepts or dials makes one, and nobody else knows which it is |
//! | a source of endpoints (DNS, a registry) | whoever knows them calls [`balance::Feed::replace`]; a key for it stands in [`config`], and [`server`] runs it on the control runtime |
//! | a kind of component | an interface in `wit/`, its functions and [`component::Kind`] in [`component`], and who calls it: [`session`] at the handshake, [`pipe`] for messages |
//! | a hook of filters, or something that they are lent | an interface in `wit/`, [`component`], and `pipe::chain` where it is about messages |
//! | a way to try or to replace a version of a filter | [`rollout`], which decides; [`component`] runs what it is told |
//! | an endpoint of the admin API | `endpoints` of [`admin`], its view beside it, and its answer in [`server`] |
//! | a version of HTTP that clients speak | [`handshake`]: a [`handshake::Stream`] of it, which [`session`] serves as it does any other |
//! | a key of the configuration | its section in [`config`], of the type that the runtime runs on |
//!
//! # Module order
//!
//! A module may use what stands below it in this file, never what stands above; `tests/layers.rs` checks it.

#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod cli;
pub mod demo;
pub mod server;
pub mod control;
pub mod admin;
pub mod config;
pub mod listener;
pub mod session;
pub mod handshake;
pub mod route;
pub mod balance;
pub mod upstream;
pub mod pipe;
pub mod rollout;
pub mod component;
pub mod http;
pub mod transport;
pub mod reactor;
pub mod drain;
pub mod ws;
pub mod log;
pub mod metrics;
pub mod peer;
