mod telling;

use std::collections::BTreeMap;

use super::*;
use crate::balance::EndpointSpec;
use crate::metrics::{ConnectOutcome, FailureReason, Metrics};
use crate::upstream::{Address, DialError};

fn spec(port: u16, weight: u32, warmup_ms: u64, enabled: bool) -> EndpointSpec {
    EndpointSpec {
        address: Address::parse(&format!("127.0.0.1:{port}")).unwrap(),
        weight,
        warmup: (warmup_ms > 0).then(|| Duration::from_millis(warmup_ms)),
        started: None,
        enabled,
        zone: None,
        metadata: BTreeMap::new(),
    }
}

fn balance(specs: Vec<EndpointSpec>, now: Instant) -> Balance {
    let balance = Balance::new("chat", JustStarted::Least);
    replace(&balance, specs, now);
    balance
}

fn replace(balance: &Balance, specs: Vec<EndpointSpec>, now: Instant) {
    balance.replace(specs, &Metrics::new(1), now);
}

/// What all endpoints are like, in the order of the configuration.
fn each<T>(balance: &Balance, of: impl Fn(&Endpoint) -> T) -> Vec<T> {
    balance.set().endpoints().iter().map(|endpoint| of(endpoint)).collect()
}

const WORKER: WorkerIndex = WorkerIndex(0);

fn picked(id: u32) -> Result<Option<Choice>, Failure> {
    Ok(Some(Choice::from(id)))
}

fn failure() -> Failure {
    Failure { component: "broken".to_owned(), reason: FailureReason::Trap, message: "unreachable".to_owned() }
}

/// What the balancer is shown: the version, and id and weight of each endpoint.
fn shown(balance: &Balance, now: Instant) -> (u64, Vec<(u32, u32)>) {
    let mut shown = None;
    let picked = balance.lease(WORKER, now, &[], |set, _| {
        shown = Some((set.version(), set.list().iter().map(|endpoint| (endpoint.id, endpoint.weight)).collect()));
        Ok(None)
    });
    assert_eq!(picked.unwrap_err(), NoEndpoint);
    shown.unwrap()
}

#[test]
fn a_lease_counts_its_endpoint_until_it_is_dropped() {
    let now = Instant::now();
    let balance = balance(vec![spec(1, 1, 0, true), spec(2, 1, 0, true)], now);
    let lease = balance.lease(WORKER, now, &[], |set, _| picked(set.list()[1].id)).unwrap();
    assert_eq!(lease.endpoint().url(), "ws://127.0.0.1:2");
    let (lease, _) = lease.connected();

    let active = || each(&balance, Endpoint::active);
    assert_eq!(active(), [0, 1]);
    let seen = balance.lease(WORKER, now, &[], |set, _| picked(set.list()[1].active()));
    assert_eq!(seen.unwrap().endpoint().id(), 1);
    drop(lease);
    assert_eq!(active(), [0, 0]);
}

#[test]
fn the_metrics_count_connects_and_the_live_connections() {
    let now = Instant::now();
    let metrics = Metrics::new(1);
    let balance = Balance::new("chat", JustStarted::Least);
    balance.replace(vec![spec(1, 1, 0, true)], &metrics, now);
    let lease = balance.lease(WORKER, now, &[], |_, _| picked(0)).unwrap();
    let (lease, _) = lease.connected();

    let endpoint = metrics.endpoint("chat", "ws://127.0.0.1:1");
    let shard = endpoint.of(WORKER);
    assert_eq!(shard.connections_active.value(), 1);
    assert_eq!(shard.connects[ConnectOutcome::Connected as usize].value(), 1);
    drop(lease);
    balance.lease(WORKER, now, &[], |_, _| picked(0)).unwrap().failed(&DialError::ConnectTimeout);
    assert_eq!(shard.connects[ConnectOutcome::ConnectTimeout as usize].value(), 1);
    assert_eq!(shard.connections_active.value(), 0);
}

#[test]
fn a_disabled_endpoint_is_never_shown_and_alone_it_is_no_endpoint() {
    let now = Instant::now();
    let both = balance(vec![spec(1, 1, 0, false), spec(2, 1, 0, true)], now);
    assert_eq!(shown(&both, now).1, [(1, 1)]);
    let fallback = both.lease(WORKER, now, &[1], |_, _| Err(failure())).unwrap();
    assert_eq!(fallback.endpoint().id(), 1);
    assert!(!both.lease(WORKER, now, &[], |_, _| picked(0)).is_ok_and(|lease| lease.endpoint().id() == 0));

    let alone = balance(vec![spec(1, 1, 0, false)], now);
    assert_eq!(alone.lease(WORKER, now, &[], |_, _| picked(0)).unwrap_err(), NoEndpoint);
    assert_eq!(alone.lease(WORKER, now, &[], |_, _| Err(failure())).unwrap_err(), NoEndpoint);
}

#[test]
fn the_version_changes_with_a_weight_and_stays_without() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let balance = balance(vec![spec(1, 4, 100, true), spec(2, 2, 0, true)], start);
    let mut versions = Vec::new();
    for (ms, weight) in [(0, 1), (24, 1), (50, 2), (74, 2), (75, 3), (99, 3), (100, 4), (10_000, 4)] {
        let (version, weights) = shown(&balance, at(ms));
        assert_eq!(weights, [(0, weight), (1, 2)], "{ms} ms");
        versions.push(version);
    }
    assert_eq!(versions[0], versions[1]);
    assert_eq!(versions[2], versions[3]);
    assert_eq!(versions[4], versions[5]);
    assert_eq!(versions[6], versions[7]);
    assert!(versions[1] != versions[2] && versions[3] != versions[4] && versions[5] != versions[6]);
    assert!(balance.set().is_warm());
}

#[test]
fn a_weight_of_zero_and_a_cold_endpoint_without_warm_up_are_shown_as_they_are() {
    let now = Instant::now();
    let balance = balance(vec![spec(1, 0, 100, true), spec(2, 7, 0, true)], now);
    assert_eq!(shown(&balance, now).1, [(0, 0), (1, 7)]);
}

#[test]
fn an_endpoint_that_a_reload_keeps_keeps_its_id_its_count_and_its_age() {
    let start = Instant::now();
    let later = start + Duration::from_millis(50);
    let balance = balance(vec![spec(1, 10, 100, true), spec(2, 1, 0, true)], start);
    let lease = balance.lease(WORKER, start, &[], |_, _| picked(0)).unwrap();
    let before = shown(&balance, later).0;

    replace(&balance, vec![spec(3, 10, 100, true), spec(1, 10, 100, true)], later);
    assert_eq!(shown(&balance, later).1, [(0, 5), (2, 1)]);
    assert_eq!(each(&balance, Endpoint::active), [0, 1]);
    drop(lease);
    assert_eq!(each(&balance, Endpoint::active), [0, 0]);

    // Of two of the same url, the first counts.
    replace(&balance, vec![spec(2, 1, 0, true), spec(2, 7, 0, true)], later);
    assert_eq!(each(&balance, |endpoint| (endpoint.id(), endpoint.weight())), [(3, 1)]);
    assert_ne!(shown(&balance, later).0, before);
}

#[test]
fn a_balancer_that_fails_leaves_a_uniform_choice_to_the_runtime() {
    let now = Instant::now();
    let balance = balance((1..=3).map(|port| spec(port, 1, 0, true)).collect(), now);
    let mut counts = [0; 3];
    for turn in 0..300 {
        let answer = if turn % 2 == 0 { Err(failure()) } else { picked(99) };
        let lease = balance.lease(WORKER, now, &[], |_, _| answer.clone()).unwrap();
        counts[usize::try_from(lease.endpoint().id()).unwrap()] += 1;
    }
    assert_eq!(counts, [100, 100, 100]);
}

#[test]
fn a_uniform_choice_leaves_out_what_has_no_weight_while_there_is_another() {
    let now = Instant::now();
    let balance = balance(vec![spec(1, 0, 0, true), spec(2, 1, 0, true)], now);
    let choose = |tried: &[u32]| balance.lease(WORKER, now, tried, |_, _| Err(failure())).unwrap().endpoint().id();
    assert_eq!([choose(&[]), choose(&[]), choose(&[1]), choose(&[1])], [1, 1, 0, 0]);
}

#[test]
fn a_tried_endpoint_is_picked_again_only_when_all_were_tried() {
    let now = Instant::now();
    let balance = balance(vec![spec(1, 1, 0, true), spec(2, 1, 0, true)], now);
    let lease = |tried: &[u32]| balance.lease(WORKER, now, tried, |_, _| picked(0)).unwrap().endpoint().id();
    assert_eq!(lease(&[]), 0);
    assert_eq!(lease(&[0]), 1);
    assert_eq!(lease(&[0, 1]), 0);
}

#[test]
fn the_operator_hears_of_a_failing_balancer_once_a_minute() {
    let start = Instant::now();
    let balance = balance(vec![spec(1, 1, 0, true)], start);
    let complained = |seconds| {
        let _lease = balance.lease(WORKER, start + Duration::from_secs(seconds), &[], |_, _| Err(failure())).unwrap();
        balance.complained.lock().unwrap().map(|at| (at - start).as_secs())
    };
    assert_eq!([0, 1, 59, 60, 61, 120].map(complained), [0, 0, 0, 60, 60, 120].map(Some));
}

/// Ids 0 to 2, of which 0 has just failed.
fn one_of_three_fails(now: Instant) -> Balance {
    let balance = balance((1..=3).map(|port| spec(port, 1, 0, true)).collect(), now);
    fail(&balance, 0, now);
    balance
}

fn fail(balance: &Balance, id: u32, now: Instant) {
    balance.lease(WORKER, now, &[], |_, _| picked(id)).unwrap().failed(&DialError::ConnectTimeout);
}

/// What the balancer is asked to pass over.
fn over(balance: &Balance, tried: &[u32], now: Instant) -> Vec<u32> {
    let mut asked = Vec::new();
    let _ = balance.lease(WORKER, now, tried, |_, over| {
        asked = over.to_vec();
        Ok(None)
    });
    asked
}

#[test]
fn what_fails_is_passed_over_with_what_was_tried_and_the_set_stays_the_same() {
    let now = Instant::now();
    let balance = one_of_three_fails(now);
    assert_eq!(over(&balance, &[], now), [0]);
    assert_eq!(over(&balance, &[2], now), [0, 2]);
    // A hash keeps the places of all keys, because the set is whole.
    assert_eq!(shown(&balance, now).1, [(0, 1), (1, 1), (2, 1)]);
    // A balancer that does not listen has no say.
    let lease = balance.lease(WORKER, now, &[], |_, _| picked(0)).unwrap();
    assert_ne!(lease.endpoint().id(), 0);
}

#[test]
fn when_nothing_else_is_left_what_fails_is_no_longer_passed_over() {
    let now = Instant::now();
    let balance = one_of_three_fails(now);
    assert_eq!(over(&balance, &[1, 2], now), [1, 2]);
    fail(&balance, 1, now);
    assert_eq!(over(&balance, &[], now), [0, 1]);
    fail(&balance, 2, now);
    assert_eq!(over(&balance, &[], now), [0; 0]);
    let lease = balance.lease(WORKER, now, &[], |_, _| picked(1)).unwrap();
    assert_eq!((lease.endpoint().id(), lease.is_probe()), (1, false));
}

#[test]
fn a_failing_endpoint_whose_while_is_over_is_offered_and_once_picked_passed_over_by_the_others() {
    let now = Instant::now();
    let balance = one_of_three_fails(now);
    let later = now + Duration::from_secs(2);
    assert_eq!(over(&balance, &[], later), [0; 0]);
    let probe = balance.lease(WORKER, later, &[], |_, _| picked(0)).unwrap();
    assert!(probe.is_probe());
    let timeouts = probe.bounded(&crate::upstream::Timeouts::default());
    assert!(timeouts.connect < Some(Duration::from_secs(1)) && timeouts.handshake == timeouts.connect);
    assert_eq!(over(&balance, &[], later), [0]);
    // A worker whose balancer has picked it at the same moment asks it again.
    let mut asked = Vec::new();
    let other = balance.lease(WORKER, later, &[], |_, over| {
        asked.push(over.to_vec());
        picked(if over.is_empty() { 0 } else { 1 })
    });
    assert_eq!((other.unwrap().endpoint().id(), asked), (1, vec![vec![0]]));
    probe.connected();
    assert_eq!(over(&balance, &[], later), [0; 0]);
    assert!(each(&balance, |endpoint| endpoint.failing(later)).iter().all(Option::is_none));
}

#[test]
fn when_one_is_back_after_all_have_failed_the_others_are_asked_at_once() {
    let now = Instant::now();
    let balance = one_of_three_fails(now);
    fail(&balance, 1, now);
    fail(&balance, 2, now);
    balance.lease(WORKER, now, &[], |_, _| picked(2)).unwrap().connected();
    assert_eq!(over(&balance, &[], Instant::now()), [0; 0]);
    assert!(balance.lease(WORKER, Instant::now(), &[], |_, _| picked(0)).unwrap().is_probe());
}

#[test]
fn failures_outlive_a_reload_and_end_with_the_endpoint_or_when_it_is_enabled_again() {
    let now = Instant::now();
    let metrics = Metrics::new(1);
    let gauge = metrics.endpoint_failing("chat", "ws://127.0.0.1:1");
    let balance = Balance::new("chat", JustStarted::Least);
    let both = |enabled| balance.replace(vec![spec(1, 1, 0, enabled), spec(2, 1, 0, true)], &metrics, now);
    both(true);
    fail(&balance, 0, now);
    balance.replace(vec![spec(2, 1, 0, true), spec(1, 1, 0, true)], &metrics, now);
    assert_eq!((over(&balance, &[], now), gauge.load(Ordering::Relaxed)), (vec![0], 1));
    both(false);
    assert_eq!((over(&balance, &[], now), gauge.load(Ordering::Relaxed)), (vec![], 0));
    both(true);
    assert_eq!(over(&balance, &[], now), [0; 0]);
    assert_eq!(gauge.load(Ordering::Relaxed), 0);
    assert_eq!(balance.failing.load(Ordering::Relaxed), 0);
}

#[test]
fn warm_up_begins_again_when_an_endpoint_is_switched_off_and_on() {
    let start = Instant::now();
    let later = start + Duration::from_secs(1);
    let balance = balance(vec![spec(1, 10, 100, true)], start);
    assert_eq!(shown(&balance, later).1, [(0, 10)]);
    replace(&balance, vec![spec(1, 10, 100, false)], later);
    replace(&balance, vec![spec(1, 10, 100, true)], later);
    assert_eq!(shown(&balance, later).1, [(0, 1)]);
}

#[test]
fn what_was_tried_and_is_gone_counts_for_nothing() {
    let now = Instant::now();
    let balance = balance((1..=3).map(|port| spec(port, 1, 0, true)).collect(), now);
    fail(&balance, 2, now);
    replace(&balance, vec![spec(2, 1, 0, true), spec(3, 1, 0, true)], now);
    // There is one that is well, although as many as there are have failed.
    assert_eq!(over(&balance, &[0], now), [2]);
    assert_eq!(over(&balance, &[0, 1], now), [1]);
}
