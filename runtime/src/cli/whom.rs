//! Which running proxy a command is for.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use http::Uri;

use super::outcome::Outcome;
use crate::admin::Client;
use crate::file;
use crate::listener::Address;
use crate::tls::{self, Certificate, ClientSettings, Issuers, Trust, Version};

/// Which running proxy.
#[derive(Debug, Args)]
pub(super) struct Whom {
    /// Where its admin API listens: an address and a port, https:// with a host and a port where it speaks TLS, or unix: and
    /// the path of a socket.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    pub(super) admin: At,
    /// Over TLS, a PEM file with the authorities that its certificate may come from. Default: those of the system.
    #[arg(long, value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,
    /// Over TLS, a PEM file with the certificate to show, and its issuers behind it.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(super) certificate: Option<PathBuf>,
    /// A PEM file with the private key of that certificate.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    pub(super) key: Option<PathBuf>,
}

/// Where an admin API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// In clear text.
    Clear(Address),
    /// Over TLS: a host and a port.
    Secured(String),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some(rest) = text.strip_prefix(HTTPS) else {
            return text.parse().map(Self::Clear).map_err(|error: <Address as FromStr>::Err| error.to_string());
        };
        let wrong = || format!("behind `{HTTPS}` stand a host and a port, such as {HTTPS}127.0.0.1:9900");
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().filter(|it| it.port_u16().is_some() && !it.as_str().contains('@'));
        let authority = authority.filter(|it| rest.trim_end_matches('/') == it.as_str());
        authority.map(|it| Self::Secured(it.as_str().to_owned())).ok_or_else(wrong)
    }
}

/// As it is written.
impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clear(address) => address.fmt(f),
            Self::Secured(authority) => write!(f, "{HTTPS}{authority}"),
        }
    }
}

impl Whom {
    /// The way to it.
    ///
    /// # Errors
    /// When files for TLS are wrong, or are not needed.
    pub(super) fn client(&self) -> Result<Client, Outcome> {
        match &self.admin {
            At::Clear(address) => match self.ca.as_ref().or(self.certificate.as_ref()) {
                None => Ok(Client::new(address.to_string(), None)),
                Some(_) => Err(Outcome::wrong(&format!(
                    "--ca and --certificate are for TLS, which is not spoken with {address}: write --admin {HTTPS}…"
                ))),
            },
            At::Secured(authority) => Ok(Client::new(authority.clone(), Some(self.tls()?))),
        }
    }

    fn tls(&self) -> Result<tls::Client, Outcome> {
        let trust = match &self.ca {
            None => Trust::System,
            Some(path) => {
                let issuers = Issuers::read(&read(path)?);
                Trust::Issuers(issuers.map_err(|error| wrong(path, &error.to_string(), error.advice()))?)
            }
        };
        let certificate = match self.certificate.as_ref().zip(self.key.as_ref()) {
            None => None,
            Some((chain, key)) => Some(Certificate::read(&read(chain)?, &read(key)?, None).map_err(|error| {
                let path = if error.is_of_key() { key } else { chain };
                wrong(path, &error.to_string(), error.advice())
            })?),
        };
        let settings = ClientSettings { trust, certificate, min_version: Version::Tls12, server_name: None };
        tls::Client::new(settings).map_err(|error| Outcome::failed(&error))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Outcome> {
    file::read(path, MAX_FILE).map_err(|error| Outcome::wrong(&format!("{}: {error}", path.display())))
}

fn wrong(path: &Path, what: &str, advice: &str) -> Outcome {
    Outcome::wrong(&format!("{} {what}; {advice}", path.display()))
}

const HTTPS: &str = "https://";
/// As many bytes as a bundle of all authorities has, several times over.
const MAX_FILE: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_api_is_an_address_a_path_or_a_host_over_tls_and_nothing_else() {
        for text in ["127.0.0.1:9900", "unix:/run/admin.sock", "https://127.0.0.1:9900", "https://a.example:9900"] {
            assert_eq!(text.parse::<At>().unwrap().to_string(), text);
        }
        assert_eq!("https://[::1]:9900/".parse(), Ok(At::Secured("[::1]:9900".to_owned())));
        for text in
            ["a.example:9900", "https://a.example", "https://a.example:9900/x", "https://u@a.example:1", "https://"]
        {
            assert!(text.parse::<At>().is_err(), "{text}");
        }
    }
}
