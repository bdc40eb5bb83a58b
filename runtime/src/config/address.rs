//! Where endpoints are, and which peers are proxies that may be believed.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;

use super::{
    pattern::{parse_host, parse_path, split_port},
    reader::{Fault, quoted},
};

/// The url of an endpoint: `ws://host:port/path`, where the port and the path may be absent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EndpointUrl {
    host: String,
    port: u16,
    path: Option<String>,
    text: String,
}

impl EndpointUrl {
    /// Reads `ws://`, `http://`, which means the same, and urls without a scheme, which are `ws://`.
    pub(super) fn parse(text: &str) -> Result<Self, Fault> {
        let fault = |what: &str| {
            Fault::new(format!("the url {} {what}", quoted(text)), "write a url such as \"ws://127.0.0.1:9001\"")
        };
        let (scheme, rest) = text.split_once("://").unwrap_or(("ws", text));
        match scheme.to_ascii_lowercase().as_str() {
            "ws" | "http" => {}
            // Accepting it would send in the clear what the operator believes to be encrypted.
            "wss" | "https" => {
                return Err(Fault::new(
                    format!("the url {} asks for TLS, which upstreams do not support yet", quoted(text)),
                    "write a \"ws://\" url",
                ));
            }
            scheme => return Err(fault(&format!("has the scheme {}, and an endpoint `ws` or `http`", quoted(scheme)))),
        }
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(end) => rest.split_at(end),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(fault("holds a user or a password"));
        }
        let (host, port) = split_port(authority).map_err(|()| fault("has no valid port"))?;
        let host = parse_host(host).map_err(|_| fault("has no valid host"))?;
        let path = match path {
            "" => None,
            path => Some(parse_path(path).map_err(|_| fault("has more than a host, a port and a path"))?),
        };
        let shown_port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let text = format!("ws://{host}{shown_port}{}", path.as_deref().unwrap_or_default());
        Ok(Self { host, port: port.unwrap_or(80), path, text })
    }

    /// The url with its scheme.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host in lower case; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 80 where the url has none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host and the port as they stand in a `Host` header: without port 80.
    pub fn authority(&self) -> String {
        if self.port == 80 { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }

    /// The path that replaces the one which the route matched; `None` keeps the request's.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Reads a network in CIDR notation, or one address.
pub(super) fn network(text: &str) -> Result<IpNet, Fault> {
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
    fn an_endpoint_url_without_a_scheme_is_ws() {
        let read =
            ["127.0.0.1:9001", "ws://A.example", "http://a:80/x/", "ws://[::1]:9001/", "HTTP://a:81"].map(|text| {
                EndpointUrl::parse(text).map(|url| (url.to_string(), url.authority(), url.path().map(str::to_owned)))
            });
        let expected = [
            ("ws://127.0.0.1:9001", "127.0.0.1:9001", None),
            ("ws://a.example", "a.example", None),
            ("ws://a:80/x/", "a", Some("/x/")),
            ("ws://[::1]:9001/", "[::1]:9001", Some("/")),
            ("ws://a:81", "a:81", None),
        ];
        assert_eq!(
            read,
            expected.map(|(url, authority, path)| Ok((url.to_owned(), authority.to_owned(), path.map(str::to_owned))))
        );
    }

    #[test]
    fn an_endpoint_url_holds_a_host_a_port_and_a_path_only() {
        for refused in
            ["", "ws://", "ftp://a", "wss://a", "ws://u:p@a", "ws://a:0", "ws://a:65536", "a?x", "ws://a/#x", "::1"]
        {
            assert!(EndpointUrl::parse(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn a_network_has_no_address_within_it_and_an_address_is_one_of_its_own() {
        for (text, read) in [("10.0.0.0/8", "10.0.0.0/8"), ("127.0.0.1", "127.0.0.1/32"), ("::1", "::1/128")] {
            assert_eq!(network(text).unwrap().to_string(), read);
        }
        for refused in ["", "10.0.0.0/33", "10.0.0.1/8", "::/129", "10.0.0.0/", "10.0.0/8", "localhost", "10.0.0.0/-1"]
        {
            assert!(network(refused).is_err(), "{refused:?}");
        }
    }
}
