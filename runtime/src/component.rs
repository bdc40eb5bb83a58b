//! The host of the components: the only module that knows wasmtime, and no type of it leaves.
//!
//! Compiling and linking happen on the control thread and give a [`PredicateUse`], [`BalancerUse`] or [`FilterUse`]: a
//! component with its configuration, immutable and shared. Each worker's [`Pool`] keeps one store and one instance for
//! each use; connections are sessions inside it. A trap poisons the store, which is dropped and made anew; only the
//! connection whose call trapped learns of it.

mod pool;
mod balancer;
mod session;
mod verdicts;
mod uses;
mod instance;
mod load;
mod cache;
mod quarantine;
mod probation;
mod order;
mod survey;
mod packages;
mod engine;
mod seats;
mod hollow;
mod wasi;
mod lent;
mod exports;
mod failure;
mod answer;
mod guest;
mod endpoints;
mod log;
mod limits;
mod configuration;
mod deadline;
mod ticker;
mod wishes;
mod wire;
mod types;
mod spent;
mod fields;

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::guests;

pub use cache::{CacheDirectory, CacheError};
pub use configuration::{Configuration, Words};
pub use endpoints::{EndpointCounts, EndpointFacts, PickEndpoint, PickSet};
pub use engine::{Host, HostError};
pub use exports::Kind;
pub use fields::Fields;
pub use limits::{Isolation, Limits};
pub use load::{Component, Import, LoadError};
pub use order::Moment;
pub use pool::Pool;
pub use probation::Probation;
pub use session::{Admission, MAX_BATCH, MAX_BATCH_BYTES, Opened, Resumed, Session};
pub use spent::Spent;
pub use types::{
    Choice, CloseFrame, Content, Failure, Handshake, HeaderEdit, Interest, Kinds, Message, Need, Outgoing, Part,
    PartVerdict, Reaction, Refusal, Selection, Verdict,
};
pub use uses::{AnyUse, BalancerUse, ConfigureError, FilterUse, OnFailure, PredicateUse};
pub use verdicts::Verdicts;
