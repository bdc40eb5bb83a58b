//! Limits on how many connections there are, and on how fast they come.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::time::Instant;

use super::per_client::{ClientLimits, PerClient, Share, TooMany};

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

/// A rate with a burst of one second; what is made of one by [`Rate::changed`] shares its level.
#[derive(Clone, Debug)]
struct Rate {
    /// Nanoseconds that one admission uses up.
    cost: u64,
    level: Arc<Level>,
}

/// How far a rate is used up, as a single number: the time up to which it is (GCRA).
#[derive(Debug)]
struct Level {
    started: Instant,
    used_up_to: AtomicU64,
}

impl Rate {
    /// Admits this many in a second; all where there is no limit.
    fn new(per_second: Option<u32>) -> Self {
        let level = Level { started: Instant::now(), used_up_to: AtomicU64::new(0) };
        Self { cost: cost(per_second), level: Arc::new(level) }
    }

    /// The same rate with another limit: what was admitted in the last second counts.
    fn changed(&self, per_second: Option<u32>) -> Self {
        Self { cost: cost(per_second), level: self.level.clone() }
    }

    /// Whether one more is admitted now.
    fn admit(&self, now: Instant) -> bool {
        let now = self.level.at(now);
        let step = |used: u64| {
            let next = used.max(now).saturating_add(self.cost);
            (next <= now.saturating_add(SECOND)).then_some(next)
        };
        self.level.used_up_to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step).is_ok()
    }

    /// Whether nothing of it is used up.
    fn is_whole(&self, now: Instant) -> bool {
        self.level.used_up_to.load(Ordering::Relaxed) <= self.level.at(now)
    }
}

impl Level {
    fn at(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.started).as_nanos()).unwrap_or(u64::MAX)
    }
}

fn cost(per_second: Option<u32>) -> u64 {
    per_second.map_or(0, |per_second| SECOND / u64::from(per_second.max(1)))
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
    // Boxed, because most have none and all have room for it.
    _share: Option<Box<Share>>,
}

/// Why a connection or a handshake is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
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
    pub fn enter(&self, client: IpAddr, now: Instant) -> Result<Entry, Denied> {
        let share = self.per_client.enter(client, now).map_err(Denied::Client)?;
        if !self.rate.admit(now) {
            return Err(Denied::TooFast);
        }
        let permit = self.places.take().ok_or(Denied::Full)?;
        Ok(Entry { _permit: permit, _share: share.map(Box::new) })
    }
}

fn count(limit: Option<u32>) -> usize {
    limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX)
}

/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
    fn a_rate_admits_a_burst_of_a_second_and_then_one_at_a_time() {
        let rate = Rate::new(Some(4));
        let start = rate.level.started;
        assert_eq!((0..6).filter(|_| rate.admit(start)).count(), 4);
        let later = start + Duration::from_millis(250);
        assert!(rate.admit(later));
        assert!(!rate.admit(later));
    }
    #[test]
    fn another_rate_begins_where_the_one_before_has_got_to() {
        let rate = Rate::new(Some(4));
        let start = rate.level.started;
        assert!((0..4).all(|_| rate.admit(start)));
        let slower = rate.changed(Some(2));
        assert!(!slower.admit(start + Duration::from_millis(499)));
        assert!(slower.admit(start + Duration::from_millis(500)));
        assert!(!rate.admit(start + Duration::from_millis(500)));
        let unlimited = rate.changed(None);
        assert!((0..100).all(|_| unlimited.admit(start + Duration::from_millis(500))));
        assert!(!rate.is_whole(start + Duration::from_secs(1)));
        assert!(rate.is_whole(start + Duration::from_millis(1_500)));
    }

    #[test]
    fn a_route_remembers_as_long_as_somebody_is_there() {
        let unlimited = Admission::new(AdmissionLimits::default());
        let (client, now) = (IpAddr::from([192, 0, 2, 1]), Instant::now());
        let taken = unlimited.enter(client, now);
        assert!(taken.is_ok());
        assert!(!unlimited.is_idle(now));
        let limits = AdmissionLimits { max_connections: Some(1), ..AdmissionLimits::default() };
        assert_eq!(unlimited.limited(limits).enter(client, now).unwrap_err(), Denied::Full);
        drop(taken);
        assert!(unlimited.is_idle(now));
    }
}
