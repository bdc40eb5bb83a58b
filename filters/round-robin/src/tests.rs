use super::*;

/// Endpoints `A`, `B`, `C` ... with ids from 0 on.
fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    let endpoint = |(id, weight): (u32, &u32)| Endpoint {
        id,
        url: format!("ws://127.0.0.1:{}", 9001 + id),
        weight: *weight,
        active: 0,
    };
    (0..).zip(weights).map(endpoint).collect()
}

fn balancer(weights: &[u32]) -> RoundRobin {
    let mut balancer = RoundRobin::default();
    balancer.update(endpoints(weights));
    balancer
}

fn picks(balancer: &mut RoundRobin, count: usize) -> String {
    let pick = |_| {
        balancer.pick(&Handshake::default(), &[]).map_or('-', |id| char::from_u32(u32::from('A') + id).unwrap_or('?'))
    };
    (0..count).map(pick).collect()
}

#[test]
fn picks_follow_the_weights_and_stand_apart() {
    for (weights, cycle) in
        [([50, 30, 20], "ABCAABACBA"), ([5, 1, 1], "AABACAA"), ([50, 20, 30], "ACBAACABCA"), ([1, 1, 1], "ABC")]
    {
        assert_eq!(picks(&mut balancer(&weights), cycle.len() * 2), cycle.repeat(2), "{weights:?}");
    }
}

#[test]
fn a_long_run_of_picks_is_shared_by_weight() {
    let picks = picks(&mut balancer(&[50, 20, 30]), 120);

    assert_eq!(['A', 'B', 'C'].map(|name| picks.matches(name).count()), [60, 24, 36]);
}

#[test]
fn the_same_set_again_does_not_restart_the_cycle() {
    let mut balancer = balancer(&[50, 30, 20]);
    let mut run = String::new();
    for _ in 0..10 {
        run += &picks(&mut balancer, 1);
        balancer.update(endpoints(&[50, 30, 20]));
    }

    assert_eq!(run, "ABCAABACBA");
}

#[test]
fn a_changed_weight_does_not_restart_the_cycle() {
    let mut balancer = balancer(&[50, 30, 20]);
    assert_eq!(picks(&mut balancer, 1), "A");

    balancer.update(endpoints(&[51, 30, 20]));

    assert_eq!(picks(&mut balancer, 3), "BCA");
}

#[test]
fn an_endpoint_that_warms_up_takes_its_growing_share_at_every_step() {
    let mut balancer = balancer(&[50, 1]);
    let mut run = String::new();
    for weight in 1..=50 {
        balancer.update(endpoints(&[50, weight]));
        run += &picks(&mut balancer, 1);
    }

    // The sum of weight / (50 + weight) over the steps is 15.5.
    assert!((15..=16).contains(&run.matches('B').count()), "{run}");
}

#[test]
fn a_much_smaller_weight_makes_no_long_run_of_picks() {
    let mut balancer = balancer(&[50_000, 50_000]);
    assert_eq!(picks(&mut balancer, 1), "A");

    balancer.update(endpoints(&[1, 1]));

    assert_eq!(picks(&mut balancer, 6), "BBABAB");
}

#[test]
fn endpoints_that_leave_and_join_disturb_no_balance() {
    let mut balancer = balancer(&[7, 5, 3]);
    for round in 0..1_000 {
        for _ in 0..=round % 5 {
            balancer.pick(&Handshake::default(), &[]);
        }
        let mut joined = endpoints(&[7, 5, 3]);
        joined[round % 3].id += u32::try_from(round).unwrap() * 3;
        balancer.update(joined);
    }
    balancer.update(endpoints(&[7, 5, 3]));

    let picks = picks(&mut balancer, 15);

    for (name, expected) in [('A', 7), ('B', 5), ('C', 3)] {
        assert!(picks.matches(name).count().abs_diff(expected) <= 2, "{picks}");
    }
}

#[test]
fn a_tried_endpoint_is_passed_over_and_loses_no_turn() {
    let mut balancer = balancer(&[50, 30, 20]);
    assert_eq!(balancer.pick(&Handshake::default(), &[0]), Some(1));
    assert_eq!(balancer.pick(&Handshake::default(), &[0, 1]), Some(2));

    assert_eq!(picks(&mut balancer, 1), "A");
}

#[test]
fn the_only_endpoint_may_be_tried_again() {
    assert_eq!(balancer(&[1]).pick(&Handshake::default(), &[0]), Some(0));
}

#[test]
fn no_endpoint_is_no_pick() {
    assert_eq!(balancer(&[]).pick(&Handshake::default(), &[]), None);
}

#[test]
fn endpoints_without_weight_take_equal_turns() {
    assert_eq!(picks(&mut balancer(&[0, 0, 0]), 6), "ABCABC");
    assert_eq!(picks(&mut balancer(&[0, 1, 0]), 3), "BBB");
}
