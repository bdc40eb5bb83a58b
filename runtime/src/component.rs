//! The host of the components: the only module that knows wasmtime, and no type of it leaves.
//!
//! Compiling and linking happen on the control thread and give a [`PredicateUse`], [`BalancerUse`] or [`FilterUse`]: a
//! component with its configuration, immutable and shared. Each worker's [`Pool`] keeps one store and one instance for
//! each use; connections are sessions inside it. A trap poisons the store, which is dropped and made anew; only the
//! connection whose call trapped learns of it.

mod types;

pub use types::{
    CloseFrame, Failure, Handshake, HeaderEdit, Interest, Kinds, Message, Outgoing, Payload, Refusal, Selection, Verdict,
};
