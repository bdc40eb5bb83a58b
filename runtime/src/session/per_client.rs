//! How much of a listener or a route the clients of one network may have.
//!
//! Whoever has an IPv6 network has more addresses than could be remembered, so clients count by networks, and of networks
//! only so many are remembered: those that have a connection, or have come within the last second. Further ones share what
//! one may have. So counts are exact up to that number of networks, and memory is bounded whoever comes.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::rate::{cost, nanoseconds, used_up};

/// What the clients of one network may have; `None`: no limit of that kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections at a time.
    pub max_connections: Option<u32>,
    /// Handshakes in a second, and at once.
    pub handshakes_per_second: Option<u32>,
    /// What a network is.
    pub prefixes: Prefixes,
}

/// How many bits of an address tell clients apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Of IPv4, 0 to 32.
    pub v4: u8,
    /// Of IPv6, 0 to 128.
    pub v6: u8,
}

impl Default for Prefixes {
    /// An address of IPv4, and what a site of IPv6 is given at least (RFC 6177).
    fn default() -> Self {
        Self { v4: 32, v6: 64 }
    }
}

/// The networks that have come to one listener or route. What is made of it by [`limited`](Self::limited) goes on counting.
#[derive(Clone, Debug)]
pub struct PerClient {
    limits: ClientLimits,
    /// Made for the first that is counted.
    known: Arc<OnceLock<Arc<Known>>>,
}

/// A connection that counts for its network; given back on drop.
#[derive(Debug)]
pub struct Share {
    known: Arc<Known>,
    place: usize,
    network: Network,
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// Its network has as many connections as it may.
    Connections,
    /// Its network has come too often within the last second.
    Handshakes,
}

/// The bits of a network, and how many count, from 256 on for IPv6; [`UNIX`]; `None`: all that are not remembered by themselves.
type Network = Option<(u128, u16)>;

/// All that have no address, because they come by a unix socket and nobody has said who they are.
const UNIX: Network = Some((0, 512));

#[derive(Debug)]
struct Known {
    started: Instant,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    networks: HashMap<Network, Counts>,
    /// When looking for networks to forget may find some again.
    next_sweep: u64,
}

#[derive(Debug, Default)]
struct Counts {
    open: u32,
    /// In nanoseconds since the start: up to when the rate is used up (GCRA).
    used_up_to: u64,
}

impl PerClient {
    /// Of a listener or a route that nobody has come to.
    pub fn new(limits: ClientLimits) -> Self {
        Self { limits, known: Arc::default() }
    }

    /// Of the same one with other limits. Connections beyond them stay.
    pub fn limited(&self, limits: ClientLimits) -> Self {
        Self { limits, known: self.known.clone() }
    }

    /// Whether there is any limit.
    pub fn is_limited(&self) -> bool {
        self.limits.max_connections.is_some() || self.limits.handshakes_per_second.is_some()
    }

    /// Lets a client in, for as long as what it gets is kept; nothing where there is no limit. One that may have no further
    /// connection has used up its share of the rate all the same.
    pub fn enter(&self, client: impl Into<Option<IpAddr>>, now: Instant) -> Result<Option<Share>, TooMany> {
        let ClientLimits { max_connections, handshakes_per_second, prefixes } = self.limits;
        if !self.is_limited() {
            return Ok(None);
        }
        let known = self.known.get_or_init(|| Arc::new(Known::new(now)));
        let now = nanoseconds(now.saturating_duration_since(known.started));
        let network = client.into().map_or(UNIX, |client| prefixes.network(client));
        let place = known.place(&network);
        let mut shard = known.shard(place);
        let network = shard.remember(network, now);
        let counts = shard.networks.entry(network).or_default();
        if handshakes_per_second.is_some() {
            let used_up_to = used_up(counts.used_up_to, now, cost(handshakes_per_second));
            counts.used_up_to = used_up_to.ok_or(TooMany::Handshakes)?;
        }
        if max_connections.is_some_and(|most| counts.open >= most) {
            return Err(TooMany::Connections);
        }
        counts.open += 1;
        drop(shard);
        Ok(Some(Share { known: known.clone(), place, network }))
    }

    /// Whether it has nothing to remember.
    pub fn is_idle(&self, now: Instant) -> bool {
        let Some(known) = self.known.get() else { return true };
        let now = nanoseconds(now.saturating_duration_since(known.started));
        known.shards.iter().all(|shard| {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.networks.values().all(|counts| counts.is_idle(now))
        })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut shard = self.known.shard(self.place);
        if let Entry::Occupied(mut entry) = shard.networks.entry(self.network) {
            let counts = entry.get_mut();
            counts.open = counts.open.saturating_sub(1);
        }
    }
}

impl Prefixes {
    /// The network of a client. An IPv4 address in an IPv6 one (RFC 4291 section 2.5.5.2) is one of IPv4.
    fn network(self, client: IpAddr) -> Network {
        let (bits, width, prefix) = match client.to_canonical() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32, self.v4.min(32)),
            IpAddr::V6(address) => (address.to_bits(), 128, self.v6.min(128)),
        };
        let rest = width - u32::from(prefix);
        let family = if width == 32 { 0 } else { 256 };
        Some((bits.checked_shr(rest).unwrap_or(0), family + u16::from(prefix)))
    }
}

impl Known {
    fn new(started: Instant) -> Self {
        Self { started, hasher: RandomState::new(), shards: Default::default() }
    }

    /// Which shard a network is in.
    fn place(&self, network: &Network) -> usize {
        usize::try_from(self.hasher.hash_one(network) % SHARDS as u64).unwrap_or_default()
    }

    #[expect(clippy::indexing_slicing, reason = "a place is below their number")]
    fn shard(&self, place: usize) -> MutexGuard<'_, Shard> {
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// The network itself where it is remembered, or may be.
    fn remember(&mut self, network: Network, now: u64) -> Network {
        if self.networks.contains_key(&network) {
            return network;
        }
        if self.networks.len() >= MOST && now >= self.next_sweep {
            self.networks.retain(|_, counts| !counts.is_idle(now));
            self.next_sweep = now.saturating_add(nanoseconds(SWEEP));
        }
        if self.networks.len() >= MOST { None } else { network }
    }
}

impl Counts {
    fn is_idle(&self, now: u64) -> bool {
        self.open == 0 && self.used_up_to <= now
    }
}

/// So many workers may look at once without waiting for each other.
const SHARDS: usize = 16;
/// Networks that a shard remembers. Its table has 8,192 places for them at most, of 65 bytes each: 8.5 MB in all. Half of them are
/// more than it needs, so that it does not grow to get rid of traces of those that were forgotten.
const MOST: usize = 3500;
/// Between two looks that cost some ten microseconds each.
const SWEEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    fn limits(max_connections: Option<u32>, handshakes_per_second: Option<u32>) -> ClientLimits {
        ClientLimits { max_connections, handshakes_per_second, prefixes: Prefixes::default() }
    }

    fn v6(site: u64, host: u64) -> IpAddr {
        IpAddr::from((u128::from(site) << 64 | u128::from(host)).to_be_bytes())
    }

    #[test]
    fn clients_of_one_network_count_together_and_others_do_not() {
        let (now, per_client) = (Instant::now(), PerClient::new(limits(Some(2), None)));
        let enter = |client: &str| per_client.enter(client.parse::<IpAddr>().ok(), now);
        let held = [enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap()];
        assert_eq!(enter("2001:db8::3").unwrap_err(), TooMany::Connections);
        let _others = [enter("2001:db8:0:1::1").unwrap(), enter("192.0.2.1").unwrap(), enter("192.0.2.2").unwrap()];
        // The same client, over a socket that takes both families.
        let _again = enter("::ffff:192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").unwrap_err(), TooMany::Connections);
        drop(held);
        assert!(enter("2001:db8::3").is_ok());
    }

    #[test]
    fn a_rate_is_admitted_at_once_and_comes_back_within_a_second() {
        let (start, per_client) = (Instant::now(), PerClient::new(limits(None, Some(5))));
        let enter = |after: u64| per_client.enter(v6(1, 1), start + Duration::from_millis(after)).is_ok();
        assert!((0..5).all(|_| enter(0)));
        assert!(!enter(0) && enter(200) && !enter(200));
        assert!((0..5).all(|_| enter(1_200)) && !enter(1_200));
    }

    #[test]
    fn without_a_limit_nobody_is_counted() {
        let per_client = PerClient::new(limits(None, None));
        assert!(per_client.enter(v6(1, 1), Instant::now()).unwrap().is_none());
    }

    #[test]
    fn memory_is_bounded_however_many_networks_come() {
        let (start, per_client) = (Instant::now(), PerClient::new(limits(Some(1), Some(1))));
        let remembered = || -> usize {
            per_client.known.get().unwrap().shards.iter().map(|shard| shard.lock().unwrap().networks.len()).sum()
        };
        for site in 0..1_000_000 {
            let _ = per_client.enter(v6(site, 1), start);
        }
        assert!(remembered() <= SHARDS * (MOST + 1), "{}", remembered());
        // Once the others have been quiet for a second there is room again.
        assert!(per_client.enter(v6(1 << 40, 1), start + Duration::from_secs(3)).is_ok());
        assert!(per_client.is_idle(start + Duration::from_secs(5)));
        // Nor does it grow with those that come and are forgotten all the time.
        for wave in 1..50 {
            for site in 0..100_000 {
                let _ = per_client.enter(v6(wave << 32 | site, 1), start + Duration::from_millis(5000 + 150 * wave));
            }
        }
        let places = |shard: &Mutex<Shard>| shard.lock().unwrap().networks.capacity();
        let most = per_client.known.get().unwrap().shards.iter().map(places).max().unwrap();
        assert!(most <= 7168, "{most}");
    }

    #[test]
    fn whoever_comes_and_goes_at_random_is_counted_as_a_model_counts() {
        for seed in 0..8 {
            let mut random = StdRng::seed_from_u64(seed);
            let (now, per_client) = (Instant::now(), PerClient::new(limits(Some(3), None)));
            let mut model: BTreeMap<u64, Vec<Share>> = BTreeMap::new();
            for _ in 0..20_000 {
                let site = random.random_range(0..200);
                let open = model.entry(site).or_default();
                if random.random_bool(0.4) {
                    open.pop();
                    continue;
                }
                match per_client.enter(v6(site, random.random()), now) {
                    Ok(share) => open.extend(share),
                    Err(_) => assert_eq!(open.len(), 3),
                }
                assert!(open.len() <= 3);
            }
            drop(model);
            assert!(per_client.is_idle(now));
        }
    }
}
