//! Where a listener is: an address and a port, or the file of a unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// Where a listener is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// An IP address and a port; port 0 takes a free one.
    Socket(SocketAddr),
    /// The absolute path of a unix socket.
    Unix(PathBuf),
}

/// A text that names no place to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InvalidAddress {
    /// It begins with `unix:`.
    #[error("behind `unix:` stands an absolute path of at most {MOST_PATH} bytes")]
    Unix,
    /// It does not.
    #[error("it is no IP address with a port")]
    Socket,
}

impl Address {
    /// The address and the port, where it has these.
    pub fn socket(&self) -> Option<SocketAddr> {
        match self {
            Self::Socket(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }

    /// Whether it is of a unix socket.
    pub fn is_unix(&self) -> bool {
        matches!(self, Self::Unix(_))
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Socket(address)
    }
}

/// `127.0.0.1:8080`, or `unix:/run/tidegate.sock`.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let Some(path) = text.strip_prefix(UNIX) else {
            return text.parse().map(Self::Socket).map_err(|_| InvalidAddress::Socket);
        };
        let is_path = path.starts_with('/') && !path.starts_with("//") && !path.contains(char::is_control);
        match is_path && path.len() <= MOST_PATH {
            true => Ok(Self::Unix(path.into())),
            false => Err(InvalidAddress::Unix),
        }
    }
}

const UNIX: &str = "unix:";
/// The most that the address of a unix socket takes, less the zero behind it.
const MOST_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_reads_as_it_is_written() {
        for text in ["127.0.0.1:8080", "[::]:0", "unix:/run/tidegate.sock", "unix:/a b"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        let long = format!("unix:/{}", "x".repeat(MOST_PATH));
        for text in ["unix:", "unix:run/tidegate.sock", "unix:///run", "unix:@abstract", "unix:/a\nb", &long] {
            assert_eq!(text.parse::<Address>(), Err(InvalidAddress::Unix), "{text}");
        }
        assert_eq!("localhost:1".parse::<Address>(), Err(InvalidAddress::Socket));
    }
}
