use super::*;
use crate::metrics::FailureReason;
use crate::upstream::Address;

fn spec(port: u16, weight: u32, warmup_ms: u64, enabled: bool) -> EndpointSpec {
    EndpointSpec {
        address: Address::parse(&format!("127.0.0.1:{port}")).unwrap(),
        weight,
        warmup: (warmup_ms > 0).then(|| Duration::from_millis(warmup_ms)),
        enabled,
    }
}

fn balance(specs: Vec<EndpointSpec>, previous: Option<&Balance>, now: Instant) -> Balance {
    Balance::new("chat", specs, JustStarted::Least, previous, &Metrics::new(1), now)
}

const WORKER: WorkerIndex = WorkerIndex(0);

fn failure() -> Failure {
    Failure { component: "broken".to_owned(), reason: FailureReason::Trap, message: "unreachable".to_owned() }
}

/// What the balancer is shown: the version, and id and weight of each endpoint.
fn shown(balance: &Balance, now: Instant) -> (u64, Vec<(u32, u32)>) {
    let mut shown = None;
    let picked = balance.lease(WORKER, now, &[], |version, list| {
        shown = Some((version, list.iter().map(|endpoint| (endpoint.id, endpoint.weight)).collect()));
        Ok(None)
    });
    assert_eq!(picked.unwrap_err(), NoEndpoint);
    shown.unwrap()
}

#[test]
fn a_lease_counts_its_endpoint_until_it_is_dropped() {
    let now = Instant::now();
    let balance = balance(vec![spec(1, 1, 0, true), spec(2, 1, 0, true)], None, now);
    let lease = balance.lease(WORKER, now, &[], |_, list| Ok(Some(list[1].id))).unwrap();
    assert_eq!(lease.endpoint().url(), "ws://127.0.0.1:2");
    lease.dialled(crate::metrics::ConnectOutcome::Connected);

    let active = || balance.endpoints().map(Endpoint::active).collect::<Vec<_>>();
    assert_eq!(active(), [0, 1]);
    let seen = balance.lease(WORKER, now, &[], |_, list| Ok(Some(list[1].active.load(Ordering::Relaxed))));
    assert_eq!(seen.unwrap().endpoint().id(), 1);
    drop(lease);
    assert_eq!(active(), [0, 0]);
}

#[test]
fn the_metrics_count_connects_and_the_live_connections() {
    let now = Instant::now();
    let metrics = Metrics::new(1);
    let balance = Balance::new("chat", vec![spec(1, 1, 0, true)], JustStarted::Least, None, &metrics, now);
    let lease = balance.lease(WORKER, now, &[], |_, _| Ok(Some(0))).unwrap();
    lease.dialled(crate::metrics::ConnectOutcome::Refused);

    let endpoint = metrics.endpoint("chat", "ws://127.0.0.1:1");
    let shard = endpoint.of(WORKER);
    assert_eq!(shard.connections_active.value(), 1);
    assert_eq!(shard.connects[crate::metrics::ConnectOutcome::Refused as usize].value(), 1);
    drop(lease);
    assert_eq!(shard.connections_active.value(), 0);
}

#[test]
fn a_disabled_endpoint_is_never_shown_and_alone_it_is_no_endpoint() {
    let now = Instant::now();
    let both = balance(vec![spec(1, 1, 0, false), spec(2, 1, 0, true)], None, now);
    assert_eq!(shown(&both, now).1, [(1, 1)]);
    let fallback = both.lease(WORKER, now, &[1], |_, _| Err(failure())).unwrap();
    assert_eq!(fallback.endpoint().id(), 1);
    assert!(!both.lease(WORKER, now, &[], |_, _| Ok(Some(0))).is_ok_and(|lease| lease.endpoint().id() == 0));

    let alone = balance(vec![spec(1, 1, 0, false)], None, now);
    assert_eq!(alone.lease(WORKER, now, &[], |_, _| Ok(Some(0))).unwrap_err(), NoEndpoint);
    assert_eq!(alone.lease(WORKER, now, &[], |_, _| Err(failure())).unwrap_err(), NoEndpoint);
}

#[test]
fn the_version_changes_with_a_weight_and_stays_without() {
    let start = Instant::now();
    let at = |ms| start + Duration::from_millis(ms);
    let balance = balance(vec![spec(1, 4, 100, true), spec(2, 2, 0, true)], None, start);
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
    assert!(!balance.candidates.load().warming);
}

#[test]
fn a_weight_of_zero_and_a_cold_endpoint_without_warm_up_are_shown_as_they_are() {
    let now = Instant::now();
    let balance = balance(vec![spec(1, 0, 100, true), spec(2, 7, 0, true)], None, now);
    assert_eq!(shown(&balance, now).1, [(0, 0), (1, 7)]);
}

#[test]
fn an_endpoint_that_a_reload_keeps_keeps_its_id_its_count_and_its_age() {
    let start = Instant::now();
    let later = start + Duration::from_millis(50);
    let before = balance(vec![spec(1, 10, 100, true), spec(2, 1, 0, true)], None, start);
    let lease = before.lease(WORKER, start, &[], |_, _| Ok(Some(0))).unwrap();

    let after = balance(vec![spec(3, 10, 100, true), spec(1, 10, 100, true)], Some(&before), later);
    assert_eq!(shown(&after, later).1, [(2, 1), (0, 5)]);
    assert_eq!(after.endpoints().map(Endpoint::active).collect::<Vec<_>>(), [0, 1]);
    drop(lease);
    assert_eq!(after.endpoints().map(Endpoint::active).collect::<Vec<_>>(), [0, 0]);

    let third = balance(vec![spec(2, 1, 0, true), spec(2, 1, 0, true)], Some(&after), later);
    assert_eq!(third.endpoints().map(Endpoint::id).collect::<Vec<_>>(), [3, 4]);
    assert_ne!(shown(&before, later).0, shown(&after, later).0);
}

#[test]
fn a_balancer_that_fails_leaves_a_uniform_choice_to_the_runtime() {
    let now = Instant::now();
    let balance = balance((1..=3).map(|port| spec(port, 1, 0, true)).collect(), None, now);
    let mut counts = [0; 3];
    for turn in 0..300 {
        let answer = if turn % 2 == 0 { Err(failure()) } else { Ok(Some(99)) };
        let lease = balance.lease(WORKER, now, &[], |_, _| answer).unwrap();
        counts[usize::try_from(lease.endpoint().id()).unwrap()] += 1;
    }
    assert_eq!(counts, [100, 100, 100]);
}

#[test]
fn a_uniform_choice_leaves_out_what_has_no_weight_while_there_is_another() {
    let now = Instant::now();
    let balance = balance(vec![spec(1, 0, 0, true), spec(2, 1, 0, true)], None, now);
    let choose = |tried: &[u32]| balance.lease(WORKER, now, tried, |_, _| Err(failure())).unwrap().endpoint().id();
    assert_eq!([choose(&[]), choose(&[]), choose(&[1]), choose(&[1])], [1, 1, 0, 0]);
}

#[test]
fn a_tried_endpoint_is_picked_again_only_when_all_were_tried() {
    let now = Instant::now();
    let balance = balance(vec![spec(1, 1, 0, true), spec(2, 1, 0, true)], None, now);
    let lease = |tried: &[u32]| balance.lease(WORKER, now, tried, |_, _| Ok(Some(0))).unwrap().endpoint().id();
    assert_eq!(lease(&[]), 0);
    assert_eq!(lease(&[0]), 1);
    assert_eq!(lease(&[0, 1]), 0);
}

#[test]
fn the_operator_hears_of_a_failing_balancer_once_a_minute() {
    let start = Instant::now();
    let balance = balance(vec![spec(1, 1, 0, true)], None, start);
    let complained = |seconds| {
        let _lease = balance.lease(WORKER, start + Duration::from_secs(seconds), &[], |_, _| Err(failure())).unwrap();
        balance.complained.lock().unwrap().map(|at| (at - start).as_secs())
    };
    assert_eq!([0, 1, 59, 60, 61, 120].map(complained), [0, 0, 0, 60, 60, 120].map(Some));
}
