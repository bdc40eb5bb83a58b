//! What `ip` is compared with: one address, or all addresses of a network in CIDR notation (RFC 4632, RFC 4291).
//!
//! Addresses are compared as addresses, so every spelling of an IPv6 address is the same one, and an IPv4 address
//! that came mapped into IPv6 is the IPv4 address.

use std::net::IpAddr;

use ipnet::IpNet;

/// A set of addresses that share a prefix.
#[derive(Debug)]
pub(crate) struct Network(IpNet);

impl Network {
    /// Errors say what is wrong and what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(format!(
                "{text:?} is no IP address; write one as \"10.0.0.1\", \"10.0.0.0/8\" or \"fd00::/8\""
            ));
        };
        let whole = IpNet::from(address);
        let network = match length {
            None => Ok(whole),
            Some(length) => length.parse().map_err(drop).and_then(|length| IpNet::new(address, length).map_err(drop)),
        };
        let Ok(network) = network else {
            return Err(format!("{text:?} has no prefix length from 0 to {} after \"/\"", whole.max_prefix_len()));
        };
        if network != network.trunc() {
            return Err(format!("{text:?} names a host within a network; write \"{}\"", network.trunc()));
        }
        Ok(Self(network))
    }

    /// Whether `address` is one of the set's. A text that is no address is in no network.
    pub(crate) fn contains(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else {
            return false;
        };
        self.0.contains(&address) || self.0.contains(&address.to_canonical())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_contains_its_addresses_and_no_other() {
        for (network, address, expected) in [
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.10", false),
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "203.0.113.7", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("192.168.1.128/25", "192.168.1.127", false),
            ("fd00::/8", "fdab::1", true),
            ("2001:db8::1", "2001:DB8:0:0::1", true),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:0:0/96", "::ffff:10.0.0.1", true),
            ("10.0.0.0/8", "unknown", false),
            ("10.0.0.0/8", "", false),
        ] {
            let parsed = Network::parse(network).expect(network);
            assert_eq!(parsed.contains(address), expected, "{address} in {network}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_to_write() {
        for (text, word) in [
            ("localhost", "is no IP address"),
            ("10.0.0.0/33", "from 0 to 32"),
            ("fd00::/129", "from 0 to 128"),
            ("10.0.0.0/", "from 0 to 32"),
            ("10.0.0.0/-1", "from 0 to 32"),
            ("10.0.0.1/8", "write \"10.0.0.0/8\""),
            ("fd00::1/8", "write \"fd00::/8\""),
            ("10.0.0.1:80", "is no IP address"),
        ] {
            let error = Network::parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
