//! The proxies in front of us that may say who the client is.

use std::net::{IpAddr, SocketAddr};

use http::header::{self, HeaderMap, HeaderName};
use ipnet::{IpNet, Ipv4Net};

use super::forwarding::{Scheme, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
use crate::http::{canonical_host, origin, split_port};

/// A list of networks (RFC 4632, RFC 4291 section 2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    networks: Vec<IpNet>,
    /// Whether it also has those that have no address, because they come by a unix socket.
    has_unix: bool,
}

/// One of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Of addresses.
    Ip(IpNet),
    /// Of those that come by a unix socket.
    Unix,
}

impl Networks {
    /// A list of these.
    pub fn of(networks: impl IntoIterator<Item = Network>) -> Self {
        let mut has_unix = false;
        let addresses = networks.into_iter().filter_map(|network| match network {
            Network::Ip(network) => Some(network),
            Network::Unix => {
                has_unix = true;
                None
            }
        });
        let addresses: Self = addresses.collect();
        Self { has_unix, ..addresses }
    }
}

impl FromIterator<IpNet> for Networks {
    /// A network of IPv4 addresses mapped into IPv6 is the IPv4 network.
    fn from_iter<T: IntoIterator<Item = IpNet>>(networks: T) -> Self {
        Self { networks: networks.into_iter().map(canonical).collect(), has_unix: false }
    }
}

fn canonical(network: IpNet) -> IpNet {
    let mapped = || match network.addr().to_canonical() {
        IpAddr::V4(address) => Ipv4Net::new(address, network.prefix_len().checked_sub(MAPPED)?).ok(),
        IpAddr::V6(_) => None,
    };
    match network {
        IpNet::V4(_) => network,
        IpNet::V6(_) => mapped().map_or(network, IpNet::V4),
    }
}

/// The bits in front of a mapped IPv4 address (RFC 4291 section 2.5.5.2).
const MAPPED: u8 = 96;

impl Networks {
    /// Whether an address lies in one of the networks. An IPv4 address mapped into IPv6 is the IPv4 address.
    /// `None`: who has come by a unix socket.
    pub fn contains(&self, address: impl Into<Option<IpAddr>>) -> bool {
        match address.into().map(|address| address.to_canonical()) {
            Some(address) => self.networks.iter().any(|network| network.contains(&address)),
            None => self.has_unix,
        }
    }

    /// The address of a client: the last one in `X-Forwarded-For` that is not one of these proxies', as far as their
    /// chain reaches; the peer's own when the peer is none of them.
    /// `None`: it has none.
    pub fn client(&self, peer: impl Into<Option<IpAddr>>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = peer.into().map(|peer| peer.to_canonical());
        for line in headers.get_all(&X_FORWARDED_FOR).iter().rev() {
            for hop in line.as_bytes().rsplit(|byte| *byte == b',') {
                if !self.contains(client) {
                    return client;
                }
                match std::str::from_utf8(hop.trim_ascii()).ok().and_then(address) {
                    Some(address) => client = Some(address.to_canonical()),
                    None => return client,
                }
            }
        }
        client
    }

    /// The origin (RFC 6454 section 4) of what a request asks for, as a page from there would have it: of the host and the scheme
    /// that the client has used, which these proxies may tell in `X-Forwarded-Host` and `-Proto`. `None` without a valid host.
    pub fn origin(&self, peer: Option<IpAddr>, headers: &HeaderMap, scheme: Scheme) -> Option<String> {
        let is_told = self.contains(peer);
        let first = |name: HeaderName| {
            let value = headers.get(&name).filter(|_| is_told)?.to_str().ok()?;
            value.split(',').next().map(str::trim).filter(|value| !value.is_empty())
        };
        let told = first(X_FORWARDED_PROTO).unwrap_or_else(|| scheme.http()).to_ascii_lowercase();
        // Some proxies tell it as the scheme of a WebSocket; a page has that of its own.
        let scheme = match told.as_str() {
            "ws" => "http",
            "wss" => "https",
            told => told,
        };
        let authority = first(X_FORWARDED_HOST).or_else(|| headers.get(header::HOST)?.to_str().ok())?;
        let (host, port) = split_port(authority)?;
        let host = canonical_host(host)?;
        Some(origin(scheme, &host, port))
    }
}

/// An address as `X-Forwarded-For` writes it: bare, in brackets, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks<const N: usize>(texts: [&str; N]) -> Networks {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn an_address_is_in_a_network_by_its_leading_bits() {
        let networks =
            networks(["10.0.0.0/8", "192.0.2.7/32", "fd00::/8", "2001:db8::1/128", "::ffff:198.51.100.0/120"]);
        for inside in ["10.255.1.2", "192.0.2.7", "::ffff:10.1.1.1", "fd12::1", "2001:db8::1", "198.51.100.9"] {
            assert!(networks.contains(inside.parse::<IpAddr>().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.0.2.8", "fe80::1", "2001:db8::2", "::1", "::10.0.0.1", "198.51.101.9"] {
            assert!(!networks.contains(outside.parse::<IpAddr>().unwrap()), "{outside}");
        }
    }

    #[test]
    fn who_comes_by_a_unix_socket_is_in_no_network_of_addresses() {
        let everybody = networks(["0.0.0.0/0", "::/0"]);
        assert!(!everybody.contains(None));
        let unix = Networks::of([Network::Unix, Network::Ip("10.0.0.0/8".parse().unwrap())]);
        assert!(unix.contains(None) && unix.contains("10.0.0.1".parse::<IpAddr>().ok()));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", "192.0.2.7, 10.0.0.1".parse().unwrap());
        assert_eq!(unix.client(None, &headers), "192.0.2.7".parse().ok());
        assert_eq!(everybody.client(None, &headers), None);
    }

    #[test]
    fn a_length_of_zero_is_the_whole_family() {
        assert!(networks(["0.0.0.0/0"]).contains("203.0.113.1".parse::<IpAddr>().unwrap()));
        assert!(!networks(["0.0.0.0/0"]).contains("2001:db8::1".parse::<IpAddr>().unwrap()));
        assert!(networks(["::/0"]).contains("2001:db8::1".parse::<IpAddr>().unwrap()));
    }

    #[test]
    fn the_origin_of_a_request_is_that_of_its_host_unless_a_trusted_proxy_tells_another() {
        let networks = networks(["10.0.0.0/8"]);
        let origin = |peer: &str, scheme, fields: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in fields {
                headers.append(*name, value.parse().unwrap());
            }
            networks.origin(peer.parse().ok(), &headers, scheme)
        };
        let host = ("host", "Chat.example.com:443");
        let told = [host, ("x-forwarded-proto", "https"), ("x-forwarded-host", "front.example:8443, inner")];
        for (peer, scheme, fields, expected) in [
            ("192.0.2.1", Scheme::Wss, &told[..1], Some("https://chat.example.com")),
            ("192.0.2.1", Scheme::Ws, &told[..1], Some("http://chat.example.com:443")),
            ("192.0.2.1", Scheme::Ws, &told, Some("http://chat.example.com:443")),
            ("10.0.0.1", Scheme::Ws, &told[..2], Some("https://chat.example.com")),
            ("10.0.0.1", Scheme::Ws, &[host, ("x-forwarded-proto", "WSS")], Some("https://chat.example.com")),
            ("10.0.0.1", Scheme::Wss, &[host, ("x-forwarded-proto", "ws")], Some("http://chat.example.com:443")),
            ("10.0.0.1", Scheme::Ws, &told, Some("https://front.example:8443")),
            ("10.0.0.1", Scheme::Ws, &[], None),
            ("192.0.2.1", Scheme::Ws, &[("host", "a b")], None),
        ] {
            assert_eq!(origin(peer, scheme, fields).as_deref(), expected, "{peer} {fields:?}");
        }
    }
}
