//! What is counted, and where: one shard of counters for each thread that counts.
//!
//! A counter has one writer, its thread, so counting is a load and a store without a locked instruction and without a
//! cache line that two cores fight over. A scrape reads all shards and sums them, so `/metrics` is exact, not sampled.
//! Label values come from closed sets or from the configuration, never from a peer.

mod application;
mod authorization;
mod candidate;
mod cells;
mod component;
mod discovery;
mod exposition;
mod http2;
mod incidents;
mod isolated;
mod labels;
mod listener;
mod registry;
mod request;
mod roster;

pub use application::{ApplicationMetrics, ApplicationShard};
pub use authorization::{AuthorizationMetrics, AuthorizationShard};
pub use candidate::CandidateShard;
pub use cells::{Counter, Gauge, Histogram, Sharded, WorkerIndex};
pub use component::{ComponentMetrics, ComponentShard, UseMetrics, UseShard};
pub use discovery::DiscoveryMetrics;
pub use exposition::Scrape;
pub use http2::{Http2Metrics, Http2Shard};
pub use isolated::IsolatedInstances;
pub use labels::{
    AdminRefusal, AuthorizationOutcome, CallVerdict, CloseLabel, CompileSource, ConnectOutcome, ConnectionRefusal,
    EventKind, EventOutcome, FailureReason, HandshakeOutcome, Http2End, InflateFailure, Initiator, InstanceHolder,
    Limit, PushOutcome, ReloadOutcome, ShadowOutcome, SwapOutcome, TlsOutcome, TlsVersion, UpgradeFailure,
};
pub use listener::{AcmeOrders, CertificateExpiry, ListenerMetrics, ListenerShard};
pub use registry::{CandidateMetrics, EndpointMetrics, EndpointShard, Metrics, RouteMetrics, RouteShard, Version};
pub use request::RequestShard;
