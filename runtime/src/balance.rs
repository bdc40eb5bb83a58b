//! Endpoints, their effective weights and live counts, and leases on them.
//!
//! A [`Balance`] is one upstream's set of endpoints, immutable and shared by all workers; only what is known of each
//! endpoint moves, and that outlives the set. Which endpoint gets a connection is decided by the upstream's balancer
//! component, which the caller asks for us; when it fails, we choose uniformly ourselves. What an endpoint carries is
//! counted by its [`Lease`]s, which give it back when they are dropped.
//!
//! How attempts to reach an endpoint ended is told here, too: one that failed comes last for a while, whatever the
//! balancer is, because the balancer is asked to pass it over. Nothing is asked that no client has asked for.

mod candidates;
mod endpoint;
mod failures;
mod lease;
mod pick;
mod weight;

pub use endpoint::{Endpoint, EndpointSpec};
pub use failures::FailingNow;
pub use lease::{Dialling, Lease};
pub use pick::{Balance, NoEndpoint};
pub use weight::{JustStarted, effective_weight};
