//! The tables of the file: what each may hold, and how it becomes a checked type.

mod access;
mod acme;
mod admin;
mod answer;
mod application;
mod authorize;
mod bridge;
mod candidate;
mod component;
mod configuration;
mod discover;
mod endpoint;
mod headers;
mod http2;
mod listener;
mod liveness;
mod log;
mod names;
mod per_client;
mod rights;
mod route;
mod server;
mod services;
mod template;
mod tls;
mod tokens;
mod upstream;
mod upstream_http2;
mod upstream_tls;

use self::names::Names;
pub(super) use self::server::read;
use super::reader::Section;

/// All tables, in the order of the reference.
pub(super) const ALL: &[&Section] = &[
    &server::ROOT,
    &per_client::CLIENT_PREFIXES,
    &admin::ADMIN,
    &admin::ADMIN_TOKEN,
    &log::LOG,
    &listener::LISTENER,
    &tls::TLS,
    &tls::CERTIFICATE_FILES,
    &acme::ACME,
    &tls::CLIENT_CERTIFICATES,
    &tokens::TOKENS,
    &component::COMPONENT,
    &upstream::UPSTREAM,
    &upstream_tls::UPSTREAM_TLS,
    &endpoint::ENDPOINT,
    &discover::FILE,
    &discover::DNS,
    &discover::ETCD,
    &discover::CONSUL,
    &route::ROUTE,
    &tokens::ROUTE_TOKEN,
    &authorize::AUTHORIZE,
    &services::SERVICES,
    &answer::ANSWER,
    &answer::REDIRECT,
    &bridge::BRIDGE,
    &application::APPLICATION,
    &headers::HEADERS,
    &component::USE,
    &component::FILTER_USE,
    &candidate::CANDIDATE,
];
