//! Names of header fields: which are the runtime's own, and which are the same name to an upstream.
//!
//! This is the one list of what ends at a hop and what no component may edit. Servers that hand fields over as
//! environment variables (CGI, WSGI, Rack) make the same of `-` and `_`, so names are compared without that difference.

use std::borrow::Cow;

/// A name as it is compared: in lower case already, and with a hyphen for each underscore.
pub fn folded(name: &str) -> Cow<'_, str> {
    if name.contains('_') { Cow::Owned(name.replace('_', "-")) } else { Cow::Borrowed(name) }
}

/// Whether a field is the runtime's: it is for one connection or its handshake (RFC 6455 section 4), or says how bytes are
/// framed and where they go (RFC 9110 sections 7.2, 8.6 and 10.1.1).
pub fn is_owned(name: &str) -> bool {
    let name = folded(name);
    FRAMING.contains(&&*name) || is_hop_by_hop(&name) || is_handshake(&name)
}

/// Whether a field is for the next hop only (RFC 9110 section 7.6.1), or credentials between a client and a proxy
/// (section 11.7).
pub fn is_hop_by_hop(name: &str) -> bool {
    HOP_BY_HOP.contains(&&*folded(name))
}

/// Whether a field is one of the opening handshake.
pub fn is_handshake(name: &str) -> bool {
    folded(name).starts_with("sec-websocket-")
}

const FRAMING: &[&str] = &["content-length", "expect", "host"];

const HOP_BY_HOP: &[&str] = &[
    "connection",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_names_the_fields_that_are_the_runtimes_and_no_others() {
        let contract = include_str!("../../../wit/types.wit");
        let (_, told) = contract.split_once("These belong to the runtime").unwrap();
        let (told, _) = told.split_once("variant header-edit").unwrap();
        let mut told: Vec<_> = told.split('`').skip(1).step_by(2).filter(|name| *name != "sec-websocket-*").collect();
        let mut owned = [FRAMING, HOP_BY_HOP].concat();
        told.sort_unstable();
        owned.sort_unstable();
        assert_eq!(told, owned);
        assert!(told.into_iter().all(is_owned) && is_owned("sec_websocket_key"));
    }
}
