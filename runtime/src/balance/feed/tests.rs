use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::balance::{Dialling, JustStarted, Lease};
use crate::component::Choice;
use crate::metrics::WorkerIndex;
use crate::upstream::{Address, DialError};

const WORKER: WorkerIndex = WorkerIndex(0);

fn spec(port: u16, enabled: bool) -> EndpointSpec {
    let address = Address::parse(&format!("127.0.0.1:{port}")).unwrap();
    EndpointSpec { address, weight: 7, warmup: None, started: None, enabled, zone: None, metadata: BTreeMap::new() }
}

fn url(port: u16) -> String {
    format!("ws://127.0.0.1:{port}")
}

/// What there is to be known of the endpoints that were ever there, by port.
#[derive(Debug, Default)]
struct Model {
    next_id: u32,
    present: Vec<(u16, bool)>,
    known: BTreeMap<u16, Known>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Known {
    id: u32,
    active: u32,
    picked: u64,
}

impl Model {
    fn replace(&mut self, specs: Vec<(u16, bool)>) {
        let was_there = |port: &u16| self.present.iter().any(|(known, _)| known == port);
        for (port, _) in &specs {
            let known = self.known.get(port).filter(|known| was_there(port) || known.active > 0);
            if known.is_none() {
                self.known.insert(*port, Known { id: self.next_id, ..Known::default() });
                self.next_id += 1;
            }
        }
        self.present = specs;
    }
}

/// A connection, on its way or open.
enum Held<'a> {
    Dialling(Dialling<'a>),
    Open(Lease),
}

impl Held<'_> {
    fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Dialling(dialling) => dialling.endpoint(),
            Self::Open(lease) => lease.endpoint(),
        }
    }
}

fn random_specs(random: &mut StdRng) -> Vec<(u16, bool)> {
    let mut ports: Vec<u16> = (1..10).collect();
    ports.retain(|_| random.random_range(0..3) > 0);
    ports.sort_by_cached_key(|_| random.random::<u32>());
    ports.into_iter().map(|port| (port, random.random_range(0..4) > 0)).collect()
}

#[test]
fn ids_leases_and_counts_are_those_of_the_urls_whatever_sets_are_handed_in() {
    for seed in 0..100 {
        let (mut random, now) = (StdRng::seed_from_u64(seed), Instant::now());
        let metrics = Metrics::new(1);
        let (balance, mut model) = (Balance::new("chat", JustStarted::Least), Model::default());
        let mut held: Vec<(u16, Held<'_>)> = Vec::new();
        for step in 0..100 {
            match random.random_range(0..5) {
                0 => {
                    let specs = random_specs(&mut random);
                    balance.replace(specs.iter().map(|(port, enabled)| spec(*port, *enabled)).collect(), &metrics, now);
                    model.replace(specs);
                }
                1 if !held.is_empty() => {
                    let (port, _) = held.swap_remove(random.random_range(0..held.len()));
                    model.known.get_mut(&port).unwrap().active -= 1;
                }
                2 if !held.is_empty() => {
                    let (port, connection) = held.swap_remove(random.random_range(0..held.len()));
                    let connection = match connection {
                        Held::Dialling(dialling) => Held::Open(dialling.connected().0),
                        open => open,
                    };
                    held.push((port, connection));
                }
                _ => {
                    let enabled: Vec<_> = model.present.iter().filter(|(_, enabled)| *enabled).collect();
                    let Some((port, _)) = enabled.choose(&mut random) else {
                        assert!(balance.lease(WORKER, now, &[], |_, _| Ok(None)).is_err());
                        continue;
                    };
                    let known = model.known.get_mut(port).unwrap();
                    let dialling = balance.lease(WORKER, now, &[], |_, _| Ok(Some(Choice::from(known.id)))).unwrap();
                    (known.active, known.picked) = (known.active + 1, known.picked + 1);
                    held.push((*port, Held::Dialling(dialling)));
                }
            }
            let there: Vec<_> =
                balance.set().endpoints().iter().map(|one| (one.url().to_owned(), counts(one))).collect();
            let expected: Vec<_> = model.present.iter().map(|(port, _)| (url(*port), model.known[port])).collect();
            assert_eq!(there, expected, "seed {seed}, step {step}");
            for (port, connection) in &held {
                assert_eq!(connection.endpoint().url(), url(*port), "seed {seed}, step {step}");
                assert_eq!(counts(connection.endpoint()), model.known[port], "seed {seed}, step {step}");
            }
            for port in 1..10 {
                let open = held.iter().filter(|(of, _)| *of == port).count();
                let shown = metrics.endpoint("chat", &url(port)).of(WORKER).connections_active.value();
                assert_eq!(shown, i64::try_from(open).unwrap(), "seed {seed}, step {step}");
            }
        }
    }
}

fn counts(endpoint: &Endpoint) -> Known {
    let picked = endpoint.known.counts.picked.load(std::sync::atomic::Ordering::Relaxed);
    Known { id: endpoint.id(), active: endpoint.active(), picked }
}

#[test]
fn the_same_endpoints_again_are_the_same_set() {
    let (balance, metrics) = (Arc::new(Balance::new("chat", JustStarted::Least)), Metrics::new(1));
    let feed = Feed::new(balance.clone(), metrics);
    feed.replace(vec![spec(1, true), spec(2, true)]);
    let version = balance.set().version();
    feed.replace(vec![spec(1, true), spec(2, true)]);
    assert_eq!(balance.set().version(), version);
    feed.replace(vec![spec(1, true)]);
    assert_ne!(balance.set().version(), version);
}

#[test]
fn one_that_comes_back_begins_anew_but_for_its_connections() {
    let (balance, metrics) = (Balance::new("chat", JustStarted::Least), Metrics::new(1));
    let (now, later) = (Instant::now(), Instant::now() + Duration::from_secs(60));
    let warming = EndpointSpec { warmup: Some(Duration::from_secs(30)), ..spec(1, true) };
    balance.replace(vec![warming.clone()], &metrics, now);
    let pick = || balance.lease(WORKER, now, &[], |_, _| Ok(Some(Choice::from(0)))).unwrap();
    let open = pick();
    pick().failed(&DialError::ConnectTimeout);
    let of = |balance: &Balance| {
        let one = balance.set().endpoints()[0].clone();
        (one.id(), one.active(), one.failing(now).is_some(), one.effective_weight(later, JustStarted::Least))
    };
    assert_eq!(of(&balance), (0, 1, true, 7));
    balance.replace(vec![], &metrics, now);
    balance.replace(vec![warming.clone()], &metrics, later);
    assert_eq!(of(&balance), (0, 1, false, 1));
    balance.replace(vec![], &metrics, now);
    drop(open);
    balance.replace(vec![warming], &metrics, later);
    assert_eq!(of(&balance), (1, 0, false, 1));
}

#[test]
fn an_endpoint_that_is_gone_fails_no_longer_whatever_becomes_of_attempts_under_way() {
    let (balance, metrics, now) = (Balance::new("chat", JustStarted::Least), Metrics::new(1), Instant::now());
    let gauge = metrics.endpoint_failing("chat", &url(1));
    let failing = || gauge.load(std::sync::atomic::Ordering::Relaxed);
    balance.replace(vec![spec(1, true)], &metrics, now);
    let pick = || balance.lease(WORKER, now, &[], |_, _| Ok(Some(Choice::from(0)))).unwrap();
    let (open, under_way) = (pick(), pick());
    pick().failed(&DialError::ConnectTimeout);
    assert_eq!(failing(), 1);
    balance.replace(vec![spec(2, true)], &metrics, now);
    assert_eq!(failing(), 0);
    under_way.failed(&DialError::ConnectTimeout);
    assert_eq!(failing(), 0);
    balance.replace(vec![spec(1, true)], &metrics, now);
    pick().failed(&DialError::ConnectTimeout);
    assert_eq!((failing(), open.endpoint().active()), (1, 1));
}
