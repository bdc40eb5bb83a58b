//! Where endpoints are, and which peers are proxies that may be believed.

use std::net::IpAddr;

use ipnet::IpNet;

use super::reader::{Fault, quoted};
use crate::handshake::Network;
use crate::upstream::{Address, AddressError};

/// Reads the url of an endpoint.
pub(super) fn endpoint(text: &str) -> Result<Address, Fault> {
    Address::parse(text).map_err(|error| {
        let what = match &error {
            // What stands in front of a scheme may be a password.
            AddressError::Scheme(scheme) => {
                format!("has the scheme {}, and an endpoint `ws`, `wss` or `unix`", quoted(scheme))
            }
            error => error.to_string(),
        };
        Fault::new(format!("the url {} {what}", quoted(text)), "write a url such as \"ws://127.0.0.1:9001\"")
    })
}

/// Reads a network in CIDR notation, or one address; or `unix:`.
pub(super) fn network(text: &str) -> Result<Network, Fault> {
    match text {
        "unix:" => Ok(Network::Unix),
        text => addresses(text).map(Network::Ip),
    }
}

fn addresses(text: &str) -> Result<IpNet, Fault> {
    let fault = || {
        Fault::new(format!("{} is no network", quoted(text)), "write an address or a network, such as \"10.0.0.0/8\"")
    };
    let network = text.parse().or_else(|_| text.parse().map(|address: IpAddr| IpNet::from(address)));
    let network: IpNet = network.map_err(|_| fault())?;
    if network != network.trunc() {
        return Err(Fault::new(
            format!("{text:?} is an address within a network"),
            format!("write \"{}\" for the network, \"{}\" for the address", network.trunc(), network.addr()),
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_url_is_quoted_without_its_password() {
        for (text, what) in [
            ("ftp://a", "the url \"ftp://a\" has the scheme \"ftp\", and an endpoint `ws`, `wss` or `unix`"),
            ("ws://user:secret@a", "the url \"ws://…@a\" holds a user or a password"),
            ("a?token=secret", "the url \"a?…\" has more than a host, a port and a path"),
        ] {
            assert_eq!(endpoint(text).unwrap_err().what, what);
        }
    }

    #[test]
    fn a_network_has_no_address_within_it_and_an_address_is_one_of_its_own() {
        for (text, read) in [("10.0.0.0/8", "10.0.0.0/8"), ("127.0.0.1", "127.0.0.1/32"), ("::1", "::1/128")] {
            assert_eq!(addresses(text).unwrap().to_string(), read);
        }
        for refused in ["", "10.0.0.0/33", "10.0.0.1/8", "::/129", "10.0.0.0/", "10.0.0/8", "localhost", "10.0.0.0/-1"]
        {
            assert!(network(refused).is_err(), "{refused:?}");
        }
        assert_eq!(network("unix:"), Ok(Network::Unix));
    }
}
