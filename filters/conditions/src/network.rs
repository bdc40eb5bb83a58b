//! What `ip` is compared with: one address, or all addresses of a network in CIDR notation (RFC 4632, RFC 4291).
//!
//! Addresses are compared as addresses, so every spelling of an IPv6 address is the same one, and an IPv4 address
//! that came mapped into IPv6 is the IPv4 address.

use std::net::IpAddr;

/// A set of addresses that share a prefix.
#[derive(Debug)]
pub(crate) struct Network {
    address: IpAddr,
    prefix_length: u32,
}

impl Network {
    /// Errors say what is wrong and what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let Ok(address) = address.parse::<IpAddr>() else {
            return Err(format!(
                "{text:?} is no IP address; write one as \"10.0.0.1\", \"10.0.0.0/8\" or \"fd00::/8\""
            ));
        };
        let width = if address.is_ipv4() { 32 } else { 128 };
        let prefix_length = match length {
            None => width,
            Some(length) => match length.parse::<u32>() {
                Ok(length) if length <= width => length,
                _ => return Err(format!("{text:?} has no prefix length from 0 to {width} after \"/\"")),
            },
        };
        let network = Self { address, prefix_length };
        if network.bits_after_prefix(address) != 0 {
            return Err(format!("{text:?} names a host within a network; write \"{network}\""));
        }
        Ok(network)
    }

    /// Whether `address` is one of the set's. A text that is no address is in no network.
    pub(crate) fn contains(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<IpAddr>() else {
            return false;
        };
        self.contains_address(address) || self.contains_address(address.to_canonical())
    }

    fn contains_address(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(32 - self.prefix_length).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                (network.to_bits() ^ address.to_bits()).checked_shr(128 - self.prefix_length).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn bits_after_prefix(&self, address: IpAddr) -> u128 {
        match address {
            IpAddr::V4(address) => u128::from(address.to_bits().checked_shl(self.prefix_length).unwrap_or(0)),
            IpAddr::V6(address) => address.to_bits().checked_shl(self.prefix_length).unwrap_or(0),
        }
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - self.prefix_length).unwrap_or(0);
                IpAddr::from(std::net::Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - self.prefix_length).unwrap_or(0);
                IpAddr::from(std::net::Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        write!(formatter, "{address}/{}", self.prefix_length)
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
