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
//! other thread. One further thread has a tokio runtime, the control runtime, which [`server`] owns: it watches files, serves
//! the admin API and has [`control`] make an immutable [`session::Snapshot`] of a configuration, in a reload on a thread of
//! the lowest priority; a worker reads the published one once for each handshake. The endpoints of an upstream are apart from it:
//! whoever knows them hands them in by a [`balance::Feed`], and a worker sees them at its next pick.
//!
//! # Where things go
//!
//! Each row names all places that a new one touches, the first being its room.
//!
//! | what is new | where |
//! |---|---|
//! | a transport (TLS, a unix socket) | a variant of [`transport::Transport`]; [`listener`] (accepted) or [`upstream`] (dialled, and its scheme in [`upstream::Address`]) makes one, and nobody else knows which it is. Who has no place is answered by `listener::refuse` |
//! | what a proxy in front says of a connection | a field of [`proxy_protocol::Header`]; [`listener::introduction`] reads it, [`session`] tells it on |
//! | a version of HTTP that clients speak | [`handshake`]: its [`handshake::Stream`]s come from [`handshake::Streams`], and [`session`] serves each as it does any other; one with many at once, as [`handshake::Multiplex`], has a task for each, in `session::multiplexed` |
//! | a version of HTTP towards upstreams | [`upstream`], which gives an [`upstream::Upgraded`] whatever carries it |
//! | something that the proxy answers by itself | [`answers`]: an [`answers::Answer`]; its key in `config::sections::answer` |
//! | a source of endpoints (DNS, a registry) | [`discovery`]: a [`discovery::Source`] with its terms, which reports all that it finds; its keys in `config::sections::discover`. What the configuration itself names is handed in by `control::endpoints`, the same way |
//! | a kind of component | an interface in `wit/`; [`component::Kind`] and its functions in [`component`]; its section in [`config`], its use in `control::build` and in the [`session::Snapshot`]; who calls it: [`session`] at the handshake, [`pipe`] for messages |
//! | a hook of filters, or something that they are lent | an interface in `wit/`, [`component`], and `pipe::chain` where it is about messages |
//! | a way to try or to replace a version of a filter | [`rollout`] decides, [`component`] runs what it is told; what becomes of an open connection is `pipe::change`, of one that opens `session::admit` |
//! | an endpoint of the admin API | `admin::endpoints` (path, method, a line of its index) and its view; what it shows or does comes through [`admin::Operations`], which [`server`] answers |
//! | a key of the configuration | its section in [`config`], of the type that the runtime runs on; `control::build` puts it in force, and `session::effect` says what it does to open connections |
//! | something that another server is asked, or answers, about who comes in | [`authorize`]: [`authorize::Question`], [`authorize::Terms`]; its key in `config::sections::authorize` |
//! | a place where tokens stand, or something that is asked of them | [`token`]: a [`token::Source`], a term of [`token::Terms`]; its key in `config::sections::tokens` |
//! | a way in which an authority of certificates convinces itself | [`acme`]: [`acme::Ways`], `acme::order`; who answers it: [`tls`] in a handshake, [`session`] in clear text |
//! | a way for plain requests and messages to meet | [`bridge`], which is the WebSocket's client, or the server of one whose messages an application is told; `session::bridge` makes the connections of the first streams like any other, `session::application` has the stages of the other |
//! | a header field that the proxy owns | `http::field_names`, and `header-edit` in `wit/types.wit`, which names them (a test compares the two) |
//! | a metric | [`metrics`], which has its name, and `docs/operations.md` |
//!
//! # Module order
//!
//! A module may use what stands below it in this file, never what stands above; `tests/layers.rs` checks it.

// What enters from outside: any bytes, a command, a try without a configuration.
#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod cli;
pub mod demo;
// The process: its threads, what it is told to be, who asks about it.
pub mod server;
pub mod control;
pub mod admin;
pub mod config;
// Where endpoints come from, beside the configuration.
pub mod discovery;
// A connection, from its socket to the frames on it.
pub mod listener;
pub mod session;
pub mod answers;
pub mod exchange;
pub mod handshake;
pub mod route;
pub mod balance;
pub mod upstream;
pub mod bridge;
pub mod pipe;
// Components: which version serves, and what runs it.
pub mod rollout;
pub mod component;
// Who may come in, who we are to clients, and who is asked about either.
pub mod token;
pub mod acme;
pub mod authorize;
pub mod inquiry;
// The ground: nouns and mechanism that know nothing of a proxy.
pub mod http;
pub mod template;
pub mod duration;
pub mod proxy_protocol;
pub mod transport;
pub mod tls;
pub mod reactor;
pub mod drain;
pub mod ws;
pub mod background;
pub mod file;
pub mod log;
pub mod metrics;
pub mod peer;
