//! What a listening socket takes of a port.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::{fmt, io};

use socket2::SockRef;

use super::Address;

/// An address to listen on, and how much of its port that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Where.
    pub address: Address,
    /// Whether `[::]` leaves IPv4 to others; of no meaning for any other address.
    pub only_v6: bool,
}

impl Claim {
    /// What a socket has.
    ///
    /// # Errors
    /// When the system does not tell its address.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        let socket = SockRef::from(socket);
        let bound = socket.local_addr()?;
        let only_v6 = bound.is_ipv6() && socket.only_v6().unwrap_or(false);
        let address = match (bound.as_socket(), bound.as_pathname()) {
            (Some(address), _) => Address::Socket(address),
            (None, Some(path)) => Address::Unix(path.to_owned()),
            (None, None) => return Err(io::ErrorKind::AddrNotAvailable.into()),
        };
        Ok(Self { address, only_v6 })
    }

    /// Whether this is what a configuration wants that says `wanted`.
    pub fn serves(&self, wanted: &Self) -> bool {
        let is_of_v6 = wanted.address.socket().is_some_and(|wanted| wanted.is_ipv6() && wanted.ip().is_unspecified());
        self.address == wanted.address && (!is_of_v6 || self.only_v6 == wanted.only_v6)
    }

    /// Whether two sockets cannot both listen there, unless they share their ports: what one takes, the other takes,
    /// too. Port 0 takes a free one and is in nobody's way.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.address, &other.address) {
            (Address::Socket(own), Address::Socket(its)) => {
                let (ip, its_ip) = (own.ip().to_canonical(), its.ip().to_canonical());
                own.port() != 0 && own.port() == its.port() && (self.takes(ip, its_ip) || other.takes(its_ip, ip))
            }
            (own, its) => own == its,
        }
    }

    fn takes(&self, own: IpAddr, ip: IpAddr) -> bool {
        match own {
            IpAddr::V4(own) if own.is_unspecified() => ip.is_ipv4(),
            IpAddr::V6(own) if own.is_unspecified() => ip.is_ipv6() || !self.only_v6,
            own => own == ip,
        }
    }
}

/// `[::]:8080, IPv4 included`.
impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_of_all = |address: SocketAddr| address.is_ipv6() && address.ip().is_unspecified();
        let has_both = self.address.socket().is_some_and(is_of_all) && !self.only_v6;
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
            ("unix:/a", "unix:/a", true),
            ("unix:/a", "unix:/b", false),
            ("unix:/a", "[::]:80", false),
        ] {
            assert_eq!(claim(one).overlaps(&claim(other)), overlap, "{one} {other}");
            assert_eq!(claim(other).overlaps(&claim(one)), overlap, "{other} {one}");
        }
    }
}
