//! What a listening socket takes of a port.

use std::net::{IpAddr, SocketAddr, TcpListener as StdListener};
use std::{fmt, io};

use socket2::SockRef;

/// An address to listen on, and how much of its port that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where.
    pub address: SocketAddr,
    /// Whether `[::]` leaves IPv4 to others; of no meaning for any other address.
    pub only_v6: bool,
}

impl Claim {
    /// What a socket has.
    ///
    /// # Errors
    /// When the system does not tell its address.
    pub fn of(socket: &StdListener) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let only_v6 = address.is_ipv6() && SockRef::from(socket).only_v6().unwrap_or(false);
        Ok(Self { address, only_v6 })
    }

    /// Whether this is what a configuration wants that says `wanted`.
    pub fn serves(&self, wanted: &Self) -> bool {
        let is_of_v6 = wanted.address.is_ipv6() && wanted.address.ip().is_unspecified();
        self.address == wanted.address && (!is_of_v6 || self.only_v6 == wanted.only_v6)
    }

    /// Whether two sockets cannot both listen there, unless they share their ports: what one takes, the other takes,
    /// too. Port 0 takes a free one and is in nobody's way.
    pub fn overlaps(&self, other: &Self) -> bool {
        let port = self.address.port();
        port != 0 && port == other.address.port() && (self.takes(other.ip()) || other.takes(self.ip()))
    }

    fn ip(&self) -> IpAddr {
        self.address.ip().to_canonical()
    }

    fn takes(&self, ip: IpAddr) -> bool {
        match self.ip() {
            IpAddr::V4(own) if own.is_unspecified() => ip.is_ipv4(),
            IpAddr::V6(own) if own.is_unspecified() => ip.is_ipv6() || !self.only_v6,
            own => own == ip,
        }
    }
}

/// `[::]:8080, IPv4 included`.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let has_both = self.address.is_ipv6() && self.address.ip().is_unspecified() && !self.only_v6;
        write!(f, "{}{}", self.address, if has_both { ", IPv4 included" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(address: &str) -> Claim {
        let (address, only_v6) = address.strip_suffix(" alone").map_or((address, false), |address| (address, true));
        Claim { address: address.parse().unwrap(), only_v6 }
    }

    #[test]
    fn addresses_of_one_port_overlap_where_one_takes_what_the_other_does() {
        for (one, other, overlap) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "127.0.0.1:81", false),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "[::1]:80", false),
            ("[::]:80", "[::1]:80", true),
            ("[::]:80", "127.0.0.1:80", true),
            ("[::]:80", "0.0.0.0:80", true),
            ("[::]:80", "[::]:80 alone", true),
            ("[::]:80 alone", "0.0.0.0:80", false),
            ("[::]:80 alone", "127.0.0.1:80", false),
            ("[::]:80 alone", "[::1]:80", true),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80", true),
            ("[::ffff:127.0.0.1]:80", "[::]:80 alone", false),
            ("0.0.0.0:0", "0.0.0.0:0", false),
        ] {
            assert_eq!(claim(one).overlaps(&claim(other)), overlap, "{one} {other}");
            assert_eq!(claim(other).overlaps(&claim(one)), overlap, "{other} {one}");
        }
    }
}
