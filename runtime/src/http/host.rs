//! What an upstream is told about the host that a request is for.

use http::header::HeaderValue;
use http::uri::Authority;
use thiserror::Error;

/// Where the `Host` field of a request to an upstream comes from (RFC 9110 section 7.2).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Host {
    /// The client's request. Servers compare it with `Origin`, or serve several names.
    #[default]
    Client,
    /// The endpoint's url, for servers that know themselves by no other name.
    Endpoint,
    /// The configuration.
    Named(HeaderValue),
}

/// Why a text says nothing of a host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{0}` is no host with an optional port")]
pub struct InvalidHost(String);

impl Host {
    /// Reads `client`, `endpoint`, or a host with an optional port.
    pub fn parse(text: &str) -> Result<Self, InvalidHost> {
        match text {
            "client" => Ok(Self::Client),
            "endpoint" => Ok(Self::Endpoint),
            _ => Self::named(text).ok_or_else(|| InvalidHost(text.to_owned())),
        }
    }

    fn named(text: &str) -> Option<Self> {
        let authority: Authority = text.parse().ok()?;
        let port = text.get(authority.host().len()..)?;
        let is_valid = !authority.host().is_empty()
            && (port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()));
        is_valid.then(|| HeaderValue::from_str(text).ok().map(Self::Named))?
    }

    /// The field of a request to an endpoint of this authority, `client` being what the client sent, if it sent something.
    pub fn of<'a>(&'a self, client: Option<&'a HeaderValue>, endpoint: &'a HeaderValue) -> &'a HeaderValue {
        match self {
            Self::Client => client.unwrap_or(endpoint),
            Self::Endpoint => endpoint,
            Self::Named(host) => host,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_the_clients_the_endpoints_or_named() {
        let endpoint = HeaderValue::from_static("10.0.0.1:9001");
        let client = HeaderValue::from_static("chat.example.com");
        for (text, expected) in [
            ("client", "chat.example.com"),
            ("endpoint", "10.0.0.1:9001"),
            ("back.internal", "back.internal"),
            ("back.internal:8080", "back.internal:8080"),
            ("[::1]:8080", "[::1]:8080"),
        ] {
            assert_eq!(Host::parse(text).unwrap().of(Some(&client), &endpoint), expected);
        }
        assert_eq!(Host::Client.of(None, &endpoint), "10.0.0.1:9001");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", "ws://back.internal", "user@back", "back:port", "back:", "back:99999", "two words", "a/b"] {
            assert!(Host::parse(text).is_err(), "{text}");
        }
    }
}
