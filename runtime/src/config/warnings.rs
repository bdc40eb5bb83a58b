//! What is no mistake, and most likely not meant.

use std::net::{IpAddr, SocketAddr};

use super::problem::Problems;
use super::types::{Config, Listener, Tls};
use crate::listener;
use crate::upstream::{Address, Place};

impl Config {
    /// What an operator should look at before this comes into force.
    pub fn warnings(&self) -> Problems {
        let mut warnings = self.problems();
        self.admin_listener(&mut warnings);
        for (name, upstream) in &self.upstreams {
            let endpoints = || upstream.endpoints.iter();
            if upstream.discover.is_some() {
                continue;
            }
            if endpoints().all(|endpoint| !endpoint.enabled) {
                let what = format!("all endpoints of upstream `{name}` are off, so that it serves nobody");
                warnings.add(&upstream.place, what, "remove `enabled = false` from one of them");
            } else if endpoints().filter(|endpoint| endpoint.enabled).all(|endpoint| endpoint.weight == 0) {
                let what =
                    format!("all endpoints of upstream `{name}` that are on have weight 0, so that all count alike");
                warnings.add(&upstream.place, what, "give at least one of them a weight, or switch them off");
            }
            for endpoint in endpoints() {
                if let Some(own) = self.own_address(&endpoint.address) {
                    let what = format!("{} is {own} of this proxy itself", endpoint.address);
                    warnings.add(&endpoint.place, what, "name the server behind the proxy");
                }
            }
        }
        warnings
    }

    fn admin_listener(&self, warnings: &mut Problems) {
        let Some(admin) = &self.admin else { return };
        let is_reached = admin.listen.socket().is_some_and(|listen| !listen.ip().to_canonical().is_loopback());
        if is_reached && admin.tokens.is_empty() && admin.tls.as_ref().is_none_or(Tls::is_for_everybody) {
            let what = format!("the admin API asks for no password, and others can reach it at {}", admin.listen);
            warnings.add(&admin.place, what, "add `tokens`, or let only those in whom you trust");
        }
    }

    /// Which of our own addresses an endpoint is. Names other than `localhost` are not resolved.
    fn own_address(&self, endpoint: &Address) -> Option<&'static str> {
        let (addresses, port) = match endpoint.place() {
            Place::Socket(socket) => (vec![socket.ip()], socket.port()),
            Place::Name(name, port) if name == "localhost" => {
                (vec![IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])], *port)
            }
            Place::Name(..) => return None,
            Place::Unix(path) => {
                let is_own =
                    |listener: &Listener| matches!(&listener.listen, listener::Address::Unix(own) if own == path);
                return self.listeners.iter().any(is_own).then_some("a listener");
            }
        };
        let leads_to =
            |own: SocketAddr| own.port() == port && addresses.iter().any(|address| reaches(*address, own.ip()));
        if self.listeners.iter().filter_map(|listener| listener.listen.socket()).any(leads_to) {
            Some("a listener")
        } else if self.admin.as_ref().and_then(|admin| admin.listen.socket()).is_some_and(leads_to) {
            Some("the admin API")
        } else {
            None
        }
    }
}

/// Whether who connects to an address gets to a socket that listens on `own`.
fn reaches(address: IpAddr, own: IpAddr) -> bool {
    let (address, own) = (address.to_canonical(), own.to_canonical());
    let everywhere = own.is_unspecified() && address.is_ipv4() == own.is_ipv4();
    address == own || (everywhere && (address.is_loopback() || address.is_unspecified()))
}
