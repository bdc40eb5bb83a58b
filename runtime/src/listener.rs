//! Binding and accepting: one socket for each listener and worker, all on the same port.
//!
//! The kernel deals connections out among the workers' sockets by chance, and a WebSocket lives long, so before its
//! first byte is read a connection may be handed to the worker that has the fewest. One for which there is no place is
//! answered and ended here; nothing waits without a word.

mod accept;
mod bind;
mod bound;
mod loads;
mod refuse;
mod taken;

use std::net::SocketAddr;
use std::time::Duration;

pub use self::accept::{Acceptor, Shortage};
pub use self::bind::{BindError, bind_alone, listen};
pub use self::bound::Bound;
pub use self::loads::{Counted, Loads};
pub use self::refuse::{Refusals, refuse, refuse_at_once};
pub use self::taken::listening;
use crate::handshake::HeadLimits;

/// A listener of the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is taken as the head of a request.
    pub head: HeadLimits,
    /// How long a client may take for the head of a request.
    pub handshake_timeout: Duration,
}

/// Whether two sockets cannot both listen on these addresses: the port is the same, and an address or all of its family.
/// `[::]` is IPv6 here; port 0 takes a free one and is in nobody's way.
pub fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let (first, second) = (one.ip().to_canonical(), other.ip().to_canonical());
    let of_one_family = first.is_ipv4() == second.is_ipv4();
    one.port() != 0
        && one.port() == other.port()
        && of_one_family
        && (first == second || first.is_unspecified() || second.is_unspecified())
}
