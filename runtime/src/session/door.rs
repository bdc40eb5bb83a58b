//! Whom a listener lets in, before anything is read or when it is known who asks.
//!
//! The other end of a socket is the client, unless it is one of the proxies that are trusted to speak for others: those
//! have a place like everybody, and what each client may have is for the client that they tell. Who comes by a unix socket
//! has no address: all of them count as one client that is in no network.

use std::net::IpAddr;

use tokio::time::Instant;

use super::limit::{Admission, Denied, Entry};
use super::per_client::Share;
use crate::handshake::{Access, Networks};

/// Whom a listener lets in.
#[derive(Clone, Debug)]
pub struct Door {
    /// Which networks clients may come from.
    pub access: Access,
    /// How many there may be. It has no rate but that of each client.
    pub admission: Admission,
    /// Peers that speak for others.
    pub trusted: Networks,
}

impl Door {
    /// Lets a connection in. Whoever is denied has used up its share of the rates all the same.
    ///
    /// # Errors
    /// When its network may not come, or a limit is reached.
    pub fn enter(&self, peer: Option<IpAddr>, now: Instant) -> Result<Entry, Denied> {
        if self.is_open_for(peer) {
            return self.admission.enter_unknown();
        }
        if !self.access.admits(peer) {
            return Err(Denied::Network);
        }
        self.admission.enter(peer, now)
    }

    /// Whether clients that this peer speaks for are to be [asked](Self::enter_told).
    pub fn is_open_for(&self, peer: Option<IpAddr>) -> bool {
        self.asks_clients() && self.trusted.contains(peer)
    }

    /// Lets the client of a peer in that speaks for it.
    ///
    /// # Errors
    /// When its network may not come, or has as much as it may.
    pub fn enter_told(&self, client: Option<IpAddr>, now: Instant) -> Result<Option<Share>, Denied> {
        match self.access.admits(client) {
            true => self.admission.enter_told(client, now),
            false => Err(Denied::Network),
        }
    }

    /// Whether anything depends on who a client is.
    fn asks_clients(&self) -> bool {
        !self.access.is_open() || self.admission.asks_clients()
    }
}
