//! Endpoints, their effective weights and live counts, and leases on them.
//!
//! A [`Balance`] is one upstream's set of endpoints, immutable and shared by all workers; only the counts inside it
//! move. Which endpoint gets a connection is decided by the upstream's balancer component, which the caller asks for us;
//! when it fails, we choose uniformly ourselves. What an endpoint carries is counted by its [`Lease`]s, which give it
//! back when they are dropped. No health is kept here.

mod endpoint;
mod pick;
mod weight;

pub use endpoint::{Endpoint, EndpointSpec, Lease};
pub use pick::{Balance, NoEndpoint};
pub use weight::{JustStarted, effective_weight};
