//! The end-to-end suite: what the proxy promises, over real sockets, one file for each group of promises.
//!
//! All of it is one binary, so that linking happens once. Each test starts a proxy of its own.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod acme;
mod activation;
mod admin_tls;
mod admin_tokens;
mod admission;
mod answers;
mod application;
mod assembling;
mod authorize;
mod backpressure;
mod balancing;
mod cache;
mod bridge;
mod bridge_kills;
mod budgets;
mod canary;
mod certificate_swaps;
mod check;
mod check_files;
mod cli;
mod cli_answers;
mod close_connections;
mod closing;
mod compression;
mod correlation;
mod decisions;
mod delays;
mod dry_run;
mod discovery;
mod draining;
mod early_signals;
mod error_answers;
mod failing_endpoints;
mod filters;
mod forwarding;
mod frozen;
mod frames;
mod handshake;
mod header_rules;
mod hostile;
mod hostile_binaries;
mod hostile_crowd;
mod http2;
mod http2_hostile;
mod http2_upstream;
mod limits;
mod listeners;
mod live_endpoints;
mod metrics;
mod moving_listeners;
mod negotiation;
mod networks;
mod observing;
mod own_account;
mod parts;
mod paths;
mod per_client;
mod plain_http;
mod plain_http2;
mod plain_http_bodies;
mod plain_http_ends;
mod plain_http_framing;
mod plain_http_retries;
mod proxy_protocol;
mod quarantine;
mod redirect;
mod registries;
mod reload;
mod reload_deadline;
mod reload_limits;
mod routing;
mod secrets;
mod shadowing;
mod slow_loris;
mod spelling;
mod steering;
mod sticky;
mod succession;
mod swapping;
mod takeovers;
mod timers;
mod tls;
mod tls_attacks;
mod tokens;
mod unix_endpoints;
mod unix_listeners;
mod unwatchable;
mod upgrade;
mod upstream;
mod upstream_tls;
mod vanishing;
mod watching;
