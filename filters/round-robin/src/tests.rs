use std::collections::BTreeMap;

use tidegate_guest::testing::{self, EndpointChanges};

use super::*;

/// Endpoints `A`, `B`, `C` ... with ids from 0 on.
fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
    let endpoint = |(id, weight): (u32, &u32)| Endpoint {
        id,
        url: format!("ws://127.0.0.1:{}", 9001 + id),
        weight: *weight,
        ..Endpoint::default()
    };
    (0..).zip(weights).map(endpoint).collect()
}

/// A balancer of endpoints that nobody has picked yet.
fn balancer(weights: &[u32]) -> RoundRobin {
    (0..).zip(weights).for_each(|(id, _)| testing::set_picked(id, 0));
    another(weights)
}

/// A balancer of another worker, with the same endpoints.
fn another(weights: &[u32]) -> RoundRobin {
    let mut balancer = RoundRobin::default();
    balancer.update(endpoints(weights), &[]);
    balancer
}

/// A pick that the runtime follows.
fn pick(balancer: &mut RoundRobin, tried: &[u32]) -> Option<u32> {
    let id = balancer.pick(&Handshake::default(), tried)?.endpoint;
    testing::set_picked(id, endpoint_stats::picked(id) + 1);
    Some(id)
}

fn picks(balancer: &mut RoundRobin, count: usize) -> String {
    let pick = |_| pick(balancer, &[]).map_or('-', |id| char::from_u32(u32::from('A') + id).unwrap_or('?'));
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
        balancer.update(endpoints(&[50, 30, 20]), &[]);
    }

    assert_eq!(run, "ABCAABACBA");
}

#[test]
fn a_changed_weight_does_not_restart_the_cycle() {
    let mut balancer = balancer(&[50, 30, 20]);
    assert_eq!(picks(&mut balancer, 1), "A");

    balancer.update(endpoints(&[51, 30, 20]), &[]);

    assert_eq!(picks(&mut balancer, 3), "BCA");
}

#[test]
fn an_endpoint_that_warms_up_takes_its_growing_share_at_every_step() {
    let mut balancer = balancer(&[50, 1]);
    let mut run = String::new();
    for weight in 1..=50 {
        balancer.update(endpoints(&[50, weight]), &[]);
        run += &picks(&mut balancer, 1);
    }

    // The sum of weight / (50 + weight) over the steps is 15.5.
    assert!((15..=16).contains(&run.matches('B').count()), "{run}");
}

#[test]
fn a_much_smaller_weight_makes_no_long_run_of_picks() {
    let mut balancer = balancer(&[50_000, 50_000]);
    assert_eq!(picks(&mut balancer, 1), "A");

    balancer.update(endpoints(&[1, 1]), &[]);

    assert_eq!(picks(&mut balancer, 6), "BBABAB");
}

#[test]
fn endpoints_that_leave_and_join_disturb_no_balance() {
    let mut balancer = balancer(&[7, 5, 3]);
    let mut last = None;
    for round in 0..1_000_u32 {
        for _ in 0..=round % 5 {
            pick(&mut balancer, &[]);
        }
        // One leaves, one joins in its place, and the one that had left before is back.
        let [left, weight] = [(0, 7), (1, 5), (2, 3)].map(|(id, weight)| [id, weight])[round as usize % 3];
        let joined = Endpoint { id: 3 + round, weight, ..Endpoint::default() };
        let back = last.map(|(id, weight, _)| Endpoint { id, weight, ..Endpoint::default() });
        let gone: Vec<u32> = [left].into_iter().chain(last.map(|(_, _, joined)| joined)).collect();
        balancer.update(back.into_iter().chain([joined]).collect(), &gone);
        last = Some((left, weight, 3 + round));
    }
    let (id, weight, joined) = last.unwrap();
    balancer.update(vec![Endpoint { id, weight, ..Endpoint::default() }], &[joined]);

    let picks = picks(&mut balancer, 15);

    for (name, expected) in [('A', 7), ('B', 5), ('C', 3)] {
        assert!(picks.matches(name).count().abs_diff(expected) <= 2, "{picks}");
    }
}

#[test]
fn a_tried_endpoint_is_passed_over_and_loses_no_turn() {
    let mut balancer = balancer(&[50, 30, 20]);
    assert_eq!(pick(&mut balancer, &[0]), Some(1));
    assert_eq!(pick(&mut balancer, &[0, 1]), Some(2));

    assert_eq!(picks(&mut balancer, 1), "A");
}

#[test]
fn the_only_endpoint_may_be_tried_again() {
    assert_eq!(pick(&mut balancer(&[1]), &[0]), Some(0));
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

#[test]
fn workers_that_pick_in_any_order_go_round_together() {
    for (weights, workers, cycle) in
        [(&[1, 1, 1, 1][..], 8, "ABCDABCD"), (&[50, 30, 20][..], 3, "ABCAABACBA"), (&[5, 1, 1][..], 7, "AABACAA")]
    {
        let mut balancers = vec![balancer(weights)];
        balancers.extend((1..workers).map(|_| another(weights)));
        let mut run = String::new();
        testing::seed(7);
        for _ in 0..cycle.len() * 4 {
            let worker = usize::try_from(tidegate_guest::random::below(workers)).unwrap();
            run += &picks(&mut balancers[worker], 1);
        }
        assert_eq!(run, cycle.repeat(4), "{weights:?}");
    }
}

#[test]
fn a_worker_that_begins_late_goes_on_where_the_others_are() {
    let mut first = balancer(&[1, 1, 1, 1]);
    assert_eq!(picks(&mut first, 6), "ABCDAB");
    let mut late = another(&[1, 1, 1, 1]);
    assert_eq!(picks(&mut late, 2), "CD");
    assert_eq!(picks(&mut first, 2), "AB");
}

#[test]
fn a_worker_that_is_told_of_the_set_in_parts_begins_where_the_others_are() {
    let mut first = balancer(&[1, 1, 1, 1]);
    assert_eq!(picks(&mut first, 6), "ABCDAB");
    let mut late = RoundRobin::default();
    for part in endpoints(&[1, 1, 1, 1]).chunks(2) {
        late.update(part.to_vec(), &[]);
    }
    assert_eq!(picks(&mut late, 2), "CD");
}

#[test]
fn a_pick_that_the_runtime_did_not_follow_costs_no_turn() {
    let mut balancer = balancer(&[1, 1, 1]);
    assert_eq!(balancer.pick(&Handshake::default(), &[]), Some(Choice::of(0)));
    assert_eq!(picks(&mut balancer, 3), "ABC");
}

#[test]
fn one_that_was_passed_over_for_long_is_not_flooded_when_it_is_back() {
    let (mut here, mut there) = (balancer(&[10, 10, 10]), another(&[10, 10, 10]));
    for _ in 0..500 {
        pick(&mut here, &[0]);
        pick(&mut there, &[0]);
    }
    let run = picks(&mut here, 3) + &picks(&mut there, 3) + &picks(&mut here, 6);
    let counts = ['A', 'B', 'C'].map(|name| run.matches(name).count());
    assert!(counts.iter().all(|count| (3..=5).contains(count)), "{run}");
}

/// What is promised, by one that is told the whole set each time: what there is of it in `lib.rs` must pick the same.
#[derive(Default)]
struct Model {
    endpoints: Vec<Endpoint>,
    /// Credit, and picks seen, by id.
    accounts: BTreeMap<u32, (i64, u64)>,
    has_begun: bool,
}

impl Model {
    fn update(&mut self, all: &[Endpoint]) {
        let total: i64 = all.iter().map(|endpoint| i64::from(endpoint.weight).max(1)).sum();
        let mut accounts = BTreeMap::new();
        for Endpoint { id, .. } in all {
            let seen = if self.has_begun { endpoint_stats::picked(*id) } else { 0 };
            let (credit, seen) = self.accounts.get(id).copied().unwrap_or((0, seen));
            accounts.insert(*id, (credit.clamp(-total, total), seen));
        }
        let sum: i64 = accounts.values().map(|(credit, _)| credit).sum();
        let count = i64::try_from(accounts.len()).unwrap().max(1);
        accounts.values_mut().for_each(|(credit, _)| *credit -= sum / count);
        (self.endpoints, self.accounts) = (all.to_vec(), accounts);
    }

    fn pick(&mut self, tried: &[u32]) -> Option<u32> {
        self.has_begun = true;
        let candidates = candidates(&self.endpoints, tried);
        let total: i64 = candidates.iter().map(|candidate| i64::from(candidate.weight)).sum();
        let others = |id: u32, accounts: &BTreeMap<u32, (i64, u64)>| {
            i128::from(endpoint_stats::picked(id).wrapping_sub(accounts[&id].1).cast_signed())
        };
        let picks = candidates.iter().map(|candidate| others(candidate.id, &self.accounts)).sum::<i128>() + 1;
        let most = 2 * i128::from(total);
        for candidate in &candidates {
            let earned =
                picks * i128::from(candidate.weight) - others(candidate.id, &self.accounts) * i128::from(total);
            let (credit, seen) = self.accounts.get_mut(&candidate.id)?;
            *credit = i64::try_from((i128::from(*credit) + earned).clamp(-most, most)).unwrap();
            *seen = endpoint_stats::picked(candidate.id);
        }
        let richest = candidates.iter().rev().max_by_key(|candidate| self.accounts[&candidate.id].0)?.id;
        let (credit, seen) = self.accounts.get_mut(&richest)?;
        (*credit, *seen) = (*credit - total, *seen + 1);
        Some(richest)
    }
}

#[test]
fn one_that_is_told_what_changes_picks_as_one_that_is_told_all() {
    for seed in 0..50 {
        let (mut by_changes, mut model) = (RoundRobin::default(), Model::default());
        for (step, change) in EndpointChanges::of(seed).take(100).enumerate() {
            by_changes.update(change.changed, &change.gone);
            model.update(&change.all);
            for tried in [&[][..], &[], &[1], &[0, 2, 3], &[]].iter().take(1 + step % 5) {
                let picked = by_changes.pick(&Handshake::default(), tried).map(|choice| choice.endpoint);
                assert_eq!(picked, model.pick(tried), "seed {seed}, step {step}");
                // Another worker picks, too.
                let other = change.all.get(step % change.all.len().max(1)).filter(|_| step % 3 == 0);
                for id in picked.into_iter().chain(other.map(|endpoint| endpoint.id)) {
                    testing::set_picked(id, endpoint_stats::picked(id) + 1);
                }
            }
        }
        (0..1_000).for_each(|id| testing::set_picked(id, 0));
    }
}
