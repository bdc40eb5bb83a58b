//! Lists of networks in CIDR notation: the proxies in front of us that may say who the client is.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::HeaderMap;
use thiserror::Error;

use super::forwarding::X_FORWARDED_FOR;

/// A list of networks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Network {
    address: u128,
    mask: u128,
}

/// A text that names no network.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no network; write one like 10.0.0.0/8, fd00::/8 or 192.0.2.1")]
pub struct InvalidNetwork(String);

impl Networks {
    /// Reads addresses and networks, for instance `10.0.0.0/8` or `::1`.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, InvalidNetwork> {
        texts
            .into_iter()
            .map(|text| text.parse().map_err(|()| InvalidNetwork(text.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Whether an address lies in one of the networks. An IPv4 address mapped into IPv6 is the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = bits(address);
        self.0.iter().any(|network| address & network.mask == network.address)
    }

    /// The address of a client: the last one in `X-Forwarded-For` that is not one of these proxies', as far as their
    /// chain reaches; the peer's own when the peer is none of them.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        for line in headers.get_all(&X_FORWARDED_FOR).iter().rev() {
            for hop in line.as_bytes().rsplit(|byte| *byte == b',') {
                if !self.contains(client) {
                    return client;
                }
                match std::str::from_utf8(hop.trim_ascii()).ok().and_then(address) {
                    Some(address) => client = address.to_canonical(),
                    None => return client,
                }
            }
        }
        client
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length.parse::<u32>().map_err(|_| ())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let length = length.unwrap_or(width);
        let host_bits = width.checked_sub(length).ok_or(())?;
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        // A host of its own inside a network is more likely a mistake than an abbreviation, but every tool masks it.
        let mask = if address.is_ipv4() { mask | !u128::from(u32::MAX) } else { mask };
        Ok(Self { address: bits(address) & mask, mask })
    }
}

/// An address as `X-Forwarded-For` writes it: bare, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

/// IPv4 addresses stand where their mapped form does, so that one comparison does for both.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_by_its_leading_bits() {
        let networks = Networks::parse(["10.0.0.0/8", "192.0.2.7", "fd00::/8", "2001:db8::1/128"]).unwrap();
        for inside in ["10.255.1.2", "192.0.2.7", "::ffff:10.1.1.1", "fd12::1", "2001:db8::1"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "fe80::1", "2001:db8::2", "::1", "::10.0.0.1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn a_length_of_zero_is_the_whole_family() {
        let networks = Networks::parse(["0.0.0.0/0"]).unwrap();
        assert!(networks.contains("203.0.113.1".parse().unwrap()));
        assert!(!networks.contains("2001:db8::1".parse().unwrap()));
        assert!(Networks::parse(["::/0"]).unwrap().contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "host", "10.0.0.0/"] {
            assert_eq!(Networks::parse([text]), Err(InvalidNetwork(text.to_owned())));
        }
    }
}
