//! Endpoints, their effective weights and live counts, and leases on them.
//!
//! A [`Balance`] is one upstream's endpoints, shared by all workers: an [`EndpointSet`] that is immutable and swapped as a
//! whole, so that a worker sees another one at its next pick, without a lock; only what is known of each endpoint moves,
//! and that outlives the set. Which endpoint gets a connection is decided by the upstream's balancer component, which the
//! caller asks for us; when it fails, we choose uniformly ourselves. What an endpoint carries is counted by its [`Lease`]s,
//! which give it back when they are dropped.
//!
//! # Where endpoints come from
//!
//! A source says what there is by [`Feed::replace`], and whose endpoints they are makes no difference here: the
//! configuration hands in those that it names when a reload puts it in force. A source that finds them (a name that is
//! looked up again and again, etcd, Consul, a file) is a task of the control runtime: it gets the feed of its upstream from
//! whoever starts it, turns what it finds into [`EndpointSpec`]s, and hands in all of them whenever there are others. It
//! owes nobody an order or a rest: what is the same costs a comparison, and neither routes nor open connections nor
//! balancers hear of it. A source that has lost its server should leave what it has said last.
//!
//! # How attempts end
//!
//! How attempts to reach an endpoint ended is told here, too: one that failed comes last for a while, whatever the
//! balancer is, because the balancer is asked to pass it over. Nothing is asked that no client has asked for.

mod endpoint;
mod failures;
mod feed;
mod lease;
mod pick;
mod set;
mod weight;

pub use endpoint::{Endpoint, EndpointSpec};
pub use failures::FailingNow;
pub use feed::Feed;
pub use lease::{Dialling, Lease};
pub use pick::{Balance, NoEndpoint};
pub use set::EndpointSet;
pub use weight::{JustStarted, effective_weight};
