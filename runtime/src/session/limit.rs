//! Limits on how many connections there are, and who is let in by all limits together.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::Instant;

use super::per_client::{ClientLimits, PerClient, Share, TooMany};
use super::rate::Rate;

/// Places for connections; clones share them.
#[derive(Clone, Debug)]
pub struct Permits {
    limit: usize,
    taken: Arc<AtomicUsize>,
}

/// One taken place, given back on drop.
#[derive(Debug)]
pub struct Permit(Arc<AtomicUsize>);

impl Permits {
    /// This many places, all free.
    pub fn new(limit: usize) -> Self {
        Self { limit, taken: Arc::default() }
    }

    /// The same places, of which this many may be taken through what is returned; those taken beyond it stay taken.
    pub fn resized(&self, limit: usize) -> Self {
        Self { limit, taken: Arc::clone(&self.taken) }
    }

    /// Whether nobody has a place.
    fn is_empty(&self) -> bool {
        self.taken.load(Ordering::Relaxed) == 0
    }

    /// Takes a place; `None` when there is none.
    pub fn take(&self) -> Option<Permit> {
        // Never counts more than there are, not even for a moment: whoever came then would be refused for nothing.
        let step = |taken: usize| (taken < self.limit).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step);
        taken.is_ok().then(|| Permit(Arc::clone(&self.taken)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whom a listener or a route lets in. Its limits are those of one generation; what it counts belongs to its name, so that a
/// reload changes nothing about who is there.
#[derive(Clone, Debug)]
pub struct Admission {
    places: Permits,
    rate: Rate,
    per_client: PerClient,
}

/// What a listener or a route is limited to; `None`: no limit of that kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdmissionLimits {
    /// Connections at a time.
    pub max_connections: Option<u32>,
    /// Handshakes in a second, and at once.
    pub handshakes_per_second: Option<u32>,
    /// The same for each client.
    pub per_client: ClientLimits,
}

/// A connection that has been let in; what it counts for is given back on drop.
#[derive(Debug)]
pub struct Entry {
    _permit: Permit,
    // Boxed, because most have none and all have room for them.
    shares: Option<Box<Shares>>,
}

/// What a client has of a route, of a listener, or of both.
#[derive(Debug, Default)]
struct Shares {
    _own: Option<Share>,
    _told: Option<Share>,
}

impl Entry {
    /// With what the client has of the listener, where a trusted peer has told who it is.
    pub fn with(mut self, told: Option<Share>) -> Self {
        if told.is_some() {
            self.shares.get_or_insert_default()._told = told;
        }
        self
    }
}

/// Why a connection or a handshake is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Its network may not come.
    Network,
    /// All places are taken.
    Full,
    /// Too many have come in the last second.
    TooFast,
    /// Its client has too much already.
    Client(TooMany),
}

impl Admission {
    /// Of a listener or a route that nobody has come to.
    pub fn new(limits: AdmissionLimits) -> Self {
        let AdmissionLimits { max_connections, handshakes_per_second, per_client } = limits;
        let places = Permits::new(count(max_connections));
        Self { places, rate: Rate::new(handshakes_per_second), per_client: PerClient::new(per_client) }
    }

    /// Of the same one with other limits. Connections beyond them stay.
    pub fn limited(&self, limits: AdmissionLimits) -> Self {
        let AdmissionLimits { max_connections, handshakes_per_second, per_client } = limits;
        let places = self.places.resized(count(max_connections));
        Self { places, rate: self.rate.changed(handshakes_per_second), per_client: self.per_client.limited(per_client) }
    }

    /// Whether it has nothing to remember.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.places.is_empty() && self.rate.is_whole(now) && self.per_client.is_idle(now)
    }

    /// Lets a client in. Whoever is denied has used up its share of the rates all the same.
    ///
    /// # Errors
    /// When a limit is reached. That of the client is asked first, so that one that comes too often uses up no other's rate.
    pub fn enter(&self, client: Option<IpAddr>, now: Instant) -> Result<Entry, Denied> {
        let share = self.per_client.enter(client, now).map_err(Denied::Client)?;
        if !self.rate.admit(now) {
            return Err(Denied::TooFast);
        }
        let entry = self.enter_unknown()?;
        let shares = share.map(|own| Box::new(Shares { _own: Some(own), _told: None }));
        Ok(Entry { shares, ..entry })
    }

    /// Lets somebody in whose client is not known yet.
    ///
    /// # Errors
    /// When all places are taken.
    pub fn enter_unknown(&self) -> Result<Entry, Denied> {
        let permit = self.places.take().ok_or(Denied::Full)?;
        Ok(Entry { _permit: permit, shares: None })
    }

    /// Lets the client of somebody in that has [entered](Self::enter_unknown).
    ///
    /// # Errors
    /// When a limit of the client is reached.
    pub fn enter_told(&self, client: Option<IpAddr>, now: Instant) -> Result<Option<Share>, Denied> {
        self.per_client.enter(client, now).map_err(Denied::Client)
    }

    /// Whether each client has a limit.
    pub fn asks_clients(&self) -> bool {
        self.per_client.is_limited()
    }
}

fn count(limit: Option<u32>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_when_its_permit_is_dropped() {
        let permits = Permits::new(1);
        let taken = permits.take();
        assert!(taken.is_some());
        assert!(permits.take().is_none());
        drop(taken);
        assert!(permits.take().is_some());
    }

    #[test]
    fn a_place_that_is_free_is_found_whoever_else_is_refused_meanwhile() {
        // One thread takes and gives back the last place, with others that ask in vain all the time.
        let permits = Permits::new(2);
        let _held = permits.take().unwrap();
        let over = std::sync::atomic::AtomicBool::new(false);
        let full = permits.resized(1);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        assert!(full.take().is_none());
                    }
                });
            }
            let found = (0..100_000).filter(|_| permits.take().is_some()).count();
            over.store(true, Ordering::Relaxed);
            assert_eq!(found, 100_000);
        });
    }

    #[test]
    fn resized_places_are_the_same_places_under_another_limit() {
        let permits = Permits::new(1);
        let taken = permits.take();
        let larger = permits.resized(2);
        let further = larger.take();
        assert!(further.is_some());
        assert!(larger.take().is_none());
        drop(taken);
        assert!(permits.take().is_none(), "the limit of the old ones was changed");
        drop(further);
        assert!(permits.take().is_some());
    }

    #[test]
    fn a_route_remembers_as_long_as_somebody_is_there() {
        let unlimited = Admission::new(AdmissionLimits::default());
        let (client, now) = (Some(IpAddr::from([192, 0, 2, 1])), Instant::now());
        let taken = unlimited.enter(client, now);
        assert!(taken.is_ok());
        assert!(!unlimited.is_idle(now));
        let limits = AdmissionLimits { max_connections: Some(1), ..AdmissionLimits::default() };
        assert_eq!(unlimited.limited(limits).enter(client, now).unwrap_err(), Denied::Full);
        drop(taken);
        assert!(unlimited.is_idle(now));
    }
}
