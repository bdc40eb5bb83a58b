//! Write Tidegate components in Rust.
//!
//! A component is a type that implements one trait, [`Filter`], [`Predicate`] or [`Balancer`], and one line that
//! exports it. This is a whole filter:
//!
//! ```
//! use serde::Deserialize;
//! use tidegate_guest::{Admission, Filter, Handshake, Message, Refusal, Verdict, export_filter};
//!
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Shout {
//!     suffix: String,
//! }
//!
//! impl Filter for Shout {
//!     type Session = ();
//!
//!     fn open(&self, _: &Handshake) -> Result<Admission<()>, Refusal> {
//!         Ok(Admission::of(()))
//!     }
//!
//!     fn on_message(&self, _: &mut (), message: Message<'_>) -> Verdict {
//!         match message.text() {
//!             Some(text) => Verdict::replace(text.to_uppercase() + &self.suffix),
//!             None => Verdict::Forward,
//!         }
//!     }
//! }
//!
//! export_filter!(Shout);
//! # let shout = Shout { suffix: "!".into() };
//! # let verdict = shout.on_message(&mut (), Message::text_from(tidegate_guest::Side::Client, "ahoy"));
//! # assert_eq!(verdict, Verdict::replace("AHOY!"));
//! ```
//!
//! # Building
//!
//! Make the crate a `cdylib` (and nothing else: an `rlib` beside it makes the component larger) and build it with
//! `cargo build --release --target wasm32-unknown-unknown` or `--target wasm32-wasip2`. The first is smaller and asks for
//! no WASI import; with the second, the standard library imports parts of `wasi:cli` and `wasi:io`.
//!
//! # Configuration
//!
//! The implementing type *is* the configuration: the SDK reads it with serde from the `config` table of the use, before
//! anything else. Put `#[serde(deny_unknown_fields)]` on it, so that a misspelt key is refused and not ignored, and
//! `#[serde(default)]` on keys that may be absent. What a type cannot say, `configured` checks: it consumes the parsed
//! value and gives it back, with caches built and bounds checked, or an error that the operator sees as it is. State
//! that is no configuration stands in fields marked `#[serde(skip)]`.
//!
//! # State is per worker
//!
//! **Each worker thread of the proxy runs an instance of its own, and none knows of the others.** What a component keeps
//! (a count for each user, a cache) is counted once for each worker: with 4 workers, a limit of 2 a second for a user lets
//! up to 8 a second through. Where a connection lands is the proxy's choice. After a trap, and after a reload that changes
//! the component or its configuration, an instance begins anew. What belongs to one connection stands in
//! its [`Filter::Session`], and moves to the next version with [`Filter::save`] and [`Filter::resume`].
//!
//! # What a component may do
//!
//! Nothing but compute, and call [`log`], [`clock`], [`random`], (a balancer) [`endpoint_stats`] and (a filter) [`timer`] and
//! [`connection`]. What it calls
//! becomes an import, and its imports are its permissions. **`println!` is not heard**: on `wasm32-unknown-unknown` the
//! standard library throws it away. Use [`log::info`] and its like; `tidegate log-level debug` shows [`log::debug`], too.
//!
//! # Tests
//!
//! Outside WebAssembly the export macros only check the type, and the host functions have stand-ins that `testing`
//! controls, so `cargo test` runs a component's tests on the machine that builds it; [`testing`] shows one. A panic in a
//! component is a trap: its text goes to the proxy's log, and the runtime builds a new instance.

mod balancer;
#[expect(missing_docs, reason = "generated code; what is public of it has its words from the WIT")]
mod bindings;
mod config;
mod filter;
mod handshake;
mod host;
mod predicate;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use balancer::{Balancer, Choice, Endpoint, Endpoints};
pub use filter::{
    Admission, Content, Filter, HeaderEdit, Interest, Kinds, Message, Need, Origins, Outgoing, Part, PartVerdict,
    Reaction, Refusal, Selection, Verdict,
};
pub use handshake::{CloseFrame, Handshake, Header, MessageKind, Side};
pub use host::{clock, connection, endpoint_stats, log, random, timer};
pub use predicate::Predicate;

/// Reads a small JSON text, as the SDK reads configurations: an error names the key it is about. Nesting is limited to
/// 64, so the text may come from anywhere. serde_json does more, and makes a component larger.
pub fn read_json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    config::json::read(text)
}

/// For the export macros only; no part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use crate::balancer::Export as BalancerExport;
    pub use crate::bindings::{balancer, filter, predicate};
    pub use crate::filter::Export as FilterExport;
    pub use crate::predicate::Export as PredicateExport;
}
