use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

const REFUSED: ConnectOutcome = ConnectOutcome::Refused;

fn failures() -> Failures {
    Failures::none(Arc::default(), Arc::default())
}

/// An attempt that begins and fails at once.
fn fail(failures: &Failures, now: Instant) -> Change {
    failures.failed(failures.begin(now), Fault::Certain, REFUSED, now)
}

/// How long it comes last from now on.
fn left(failures: &Failures, now: Instant) -> Duration {
    failures.now(now).map_or(Duration::ZERO, |failing| failing.left)
}

#[test]
fn the_while_grows_with_each_failure_up_to_a_bound_and_a_success_ends_it() {
    let (failures, mut now) = (failures(), Instant::now());
    let mut expected = FIRST;
    for _ in 0..10 {
        fail(&failures, now);
        assert!(failures.comes_last(now));
        let left = left(&failures, now);
        assert!(left >= expected.mul_f64(0.8) && left < expected.mul_f64(1.2), "{left:?} for {expected:?}");
        now += left;
        assert!(!failures.comes_last(now));
        expected = (expected * 2).min(LONGEST);
    }
    assert_eq!(expected, LONGEST);
    assert!(matches!(failures.succeeded(now), Change::Well { .. }));
    assert!(!failures.is_failing());
    fail(&failures, now);
    assert!(left(&failures, now) < FIRST.mul_f64(1.2));
}

#[test]
fn one_attempt_at_a_time_finds_out_and_the_others_go_elsewhere_until_it_has_ended() {
    let (failures, mut now) = (failures(), Instant::now());
    fail(&failures, now);
    assert_eq!(failures.begin(now).patience, None);
    now += Duration::from_secs(2);
    assert!(!failures.comes_last(now));
    let probe = failures.begin(now);
    assert_eq!(probe.patience, Some(FIRST / PATIENCE));
    assert!(failures.comes_last(now));
    assert_eq!(failures.begin(now).patience, None);
    // Its client leaves: the next may find out.
    failures.given_up(probe, now);
    assert!(!failures.comes_last(now));
}

#[test]
fn what_was_under_way_when_it_began_to_fail_makes_the_while_no_longer() {
    let (failures, now) = (failures(), Instant::now());
    let herd: Vec<_> = (0..20).map(|_| failures.begin(now)).collect();
    let later = now + Duration::from_millis(500);
    for begun in herd {
        failures.failed(begun, Fault::Certain, ConnectOutcome::ConnectTimeout, later);
    }
    assert!(left(&failures, later) < FIRST.mul_f64(1.2));
    assert_eq!(failures.now(later).map(|failing| failing.failures), Some(20));
}

#[test]
fn nothing_speaks_against_an_endpoint_that_has_answered_somebody_meanwhile() {
    let (failures, now) = (failures(), Instant::now());
    let slow = failures.begin(now);
    failures.succeeded(now + Duration::from_secs(1));
    failures.failed(slow, Fault::Certain, ConnectOutcome::HandshakeTimeout, now + Duration::from_secs(10));
    assert!(!failures.is_failing());
}

#[test]
fn what_may_be_the_fault_of_one_request_counts_at_the_third_time_in_a_row() {
    let (failures, now) = (failures(), Instant::now());
    let answer = |failures: &Failures| {
        failures.failed(failures.begin(now), Fault::Doubtful, ConnectOutcome::Answered, now);
        failures.is_failing()
    };
    assert_eq!([answer(&failures), answer(&failures)], [false, false]);
    failures.succeeded(now - Duration::from_millis(1));
    assert_eq!([answer(&failures), answer(&failures), answer(&failures)], [false, false, true]);
}

#[test]
fn clients_that_leave_after_a_long_wait_speak_against_it_and_hasty_ones_do_not() {
    let (failures, mut now) = (failures(), Instant::now());
    for _ in 0..100 {
        failures.given_up(failures.begin(now), now);
    }
    assert!(!failures.is_failing());
    for _ in 0..3 {
        let begun = failures.begin(now);
        now += LONG_WAIT;
        failures.given_up(begun, now);
    }
    assert!(failures.is_failing());
}

#[test]
fn the_operator_hears_of_an_endpoint_once_a_minute_and_then_also_that_it_is_back() {
    let (failures, start) = (failures(), Instant::now());
    let mut told = Vec::new();
    for second in [0, 1, 59, 60, 61] {
        let now = start + Duration::from_secs(second);
        let fell = fail(&failures, now);
        let back = failures.succeeded(now + Duration::from_millis(1));
        let (Change::Failing { tell: fell }, Change::Well { tell: back, .. }) = (fell, back) else {
            panic!("{fell:?} {back:?}");
        };
        assert_eq!(fell, back);
        told.push(fell);
    }
    assert_eq!(told, [true, false, false, true, false]);
}

#[test]
fn any_sequence_of_attempts_leaves_counts_that_say_what_fails_and_one_probe_at_most() {
    for seed in 0..200 {
        let mut random = StdRng::seed_from_u64(seed);
        let (among, gauge) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicU64::new(0)));
        let failures = Failures::none(Arc::clone(&among), Arc::clone(&gauge));
        let mut now = Instant::now();
        let mut under_way: Vec<Begun> = Vec::new();
        for _ in 0..500 {
            now += Duration::from_millis(random.random_range(0..2_000));
            match random.random_range(0..8) {
                0..4 => under_way.push(failures.begin(now)),
                _ if under_way.is_empty() => {}
                choice => {
                    let begun = under_way.swap_remove(random.random_range(0..under_way.len()));
                    match choice {
                        4 => drop(failures.succeeded(now)),
                        5 => drop(failures.given_up(begun, now)),
                        _ => drop(failures.failed(begun, Fault::Certain, REFUSED, now)),
                    }
                }
            }
            let fails = failures.is_failing();
            assert_eq!(among.load(Ordering::Relaxed), usize::from(fails), "seed {seed}");
            assert_eq!(gauge.load(Ordering::Relaxed), u64::from(fails), "seed {seed}");
            assert!(fails || !failures.comes_last(now), "seed {seed}");
            // Whatever has happened, it is asked again after the longest while, once no probe is under way.
            let probed = under_way.iter().any(|begun| begun.patience.is_some());
            assert!(probed || !failures.comes_last(now + LONGEST.mul_f64(1.2)), "seed {seed}");
        }
        drop(failures);
        assert_eq!((among.load(Ordering::Relaxed), gauge.load(Ordering::Relaxed)), (0, 0));
    }
}
