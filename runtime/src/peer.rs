//! The two peers of a proxied connection, how their addresses are shown, and the kinds of messages that they send each
//! other: the nouns that every room shares.

use std::fmt;

/// One of the two peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The peer that opened the connection to the proxy.
    Client,
    /// The peer that the proxy connected to.
    Upstream,
}

impl Side {
    /// Both, in the order of their indices.
    pub const ALL: &'static [Self] = &[Self::Client, Self::Upstream];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its name in labels, logs and the admin API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        }
    }

    /// The other peer.
    pub fn other(self) -> Self {
        match self {
            Self::Client => Self::Upstream,
            Self::Upstream => Self::Client,
        }
    }
}

/// A client's address, with its port or without, as logs, components and the API show it. Who has come by a unix socket has
/// none: `unix:`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<A>(pub Option<A>);

impl<A: fmt::Display> fmt::Display for Shown<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unix:"),
        }
    }
}

/// What a data message carries (RFC 6455 section 5.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Text in UTF-8.
    Text,
    /// Arbitrary bytes.
    Binary,
}

impl MessageKind {
    /// Both, in the order of their indices.
    pub const ALL: &'static [Self] = &[Self::Text, Self::Binary];
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its name in labels, logs and the admin API.
    pub fn label(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}
