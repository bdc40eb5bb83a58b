//! What a peer may say about the client that it speaks for: who it is, and how and where it asked.
//!
//! Servers believe such fields, each its own. A peer that is not trusted has none to send.

use crate::component::field_names::folded;

/// Whether a field is such a claim.
pub(super) fn is_claim(name: &str) -> bool {
    let name = folded(name);
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&&*name)
}

/// Whether it is one in a spelling that no proxy writes, and that some servers take for the usual one.
pub(super) fn is_disguised(name: &str) -> bool {
    name.contains('_') && is_claim(name)
}

const PREFIXES: &[&str] = &["forwarded", "x-envoy-", "x-forwarded", "x-original-"];

const NAMES: &[&str] = &[
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "front-end-https",
    "proxy-client-ip",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-appengine-remote-addr",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-host",
    "x-http-host-override",
    "x-nf-client-connection-ip",
    "x-originating-ip",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-real-port",
    "x-remote-addr",
    "x-remote-ip",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-url-scheme",
    "x-vercel-forwarded-for",
    "x-vercel-proxied-for",
];
