//! What a peer may say about the client that it speaks for: who it is, and how and where it asked.
//!
//! Servers believe such fields, each its own. A peer that is not trusted has none to send.

use std::borrow::Cow;

/// Whether a field is such a claim.
pub(super) fn is_claim(name: &str) -> bool {
    let name = folded(name);
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&&*name)
}

/// Whether it is one in a spelling that no proxy writes, and that some servers take for the usual one.
pub(super) fn is_disguised(name: &str) -> bool {
    name.bytes().any(is_folded) && is_claim(name)
}

/// A name as those compare it who make variables of fields: some take any sign for an underscore.
fn folded(name: &str) -> Cow<'_, str> {
    match name.bytes().any(is_folded) {
        true => Cow::Owned(name.replace(|sign: char| !sign.is_ascii_alphanumeric(), "-")),
        false => Cow::Borrowed(name),
    }
}

fn is_folded(byte: u8) -> bool {
    !byte.is_ascii_alphanumeric() && byte != b'-'
}

const PREFIXES: &[&str] = &["forwarded", "x-envoy-", "x-forwarded", "x-original-"];

const NAMES: &[&str] = &[
    "ali-cdn-real-ip",
    "cdn-src-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "cf-visitor",
    "client-ip",
    "cloudfront-viewer-address",
    "do-connecting-ip",
    "fastly-client-ip",
    "fly-client-ip",
    "front-end-https",
    "incap-client-ip",
    "proxy-client-ip",
    "remote-addr",
    "ssl-client-verify",
    "true-client-ip",
    "wl-proxy-client-ip",
    "x-akamai-client-ip",
    "x-appengine-https",
    "x-appengine-remote-addr",
    "x-appengine-user-ip",
    "x-arr-clientcert",
    "x-arr-ssl",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-client-cert",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forward-for",
    "x-forwarder-for",
    "x-host",
    "x-http-host-override",
    "x-https",
    "x-ms-forwarded-client-ip",
    "x-nf-client-connection-ip",
    "x-originating-ip",
    "x-protocol",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-real-port",
    "x-remote-addr",
    "x-remote-host",
    "x-remote-ip",
    "x-rewrite-url",
    "x-scheme",
    "x-script-name",
    "x-server-name",
    "x-sucuri-clientip",
    "x-true-client-ip",
    "x-url-scheme",
    "x-vercel-forwarded-for",
    "x-vercel-proxied-for",
    "x-waws-unencoded-url",
];
