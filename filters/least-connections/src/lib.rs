//! The standard balancer `least-connections`: the endpoint with the fewest live connections for its weight.
//!
//! The counts come from the runtime at the moment of the pick and cover all workers. Endpoints that are equal take
//! turns, so that an idle set fills evenly instead of from the front.

use serde::Deserialize;
use tidegate_candidates::candidates;
use tidegate_guest::{Balancer, Choice, Endpoint, Endpoints, Handshake, endpoint_stats, export_balancer};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeastConnections {
    #[serde(skip)]
    endpoints: Endpoints,
    /// The id from which on the search goes: the one after the last pick, so that this is the last among equals.
    #[serde(skip)]
    start: u32,
}

impl Balancer for LeastConnections {
    fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
        self.endpoints.update(changed, gone);
    }

    fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<Choice> {
        let candidates = candidates(&self.endpoints, tried);
        let (before, from) = candidates.split_at(candidates.partition_point(|candidate| candidate.id < self.start));
        let mut least = None;
        for candidate in from.iter().chain(before) {
            let active = endpoint_stats::active(candidate.id);
            if least.is_none_or(|(least, least_active)| candidate.is_less_loaded(active, least, least_active)) {
                least = Some((candidate, active));
            }
        }
        let (least, _) = least?;
        self.start = least.id.wrapping_add(1);
        Some(Choice::of(least.id))
    }
}

export_balancer!(LeastConnections);

#[cfg(test)]
mod tests {
    use tidegate_guest::testing::{self, EndpointChanges};

    use super::*;

    /// A balancer over endpoints with these weights and connections, ids from 0 on.
    fn balancer(endpoints: &[(u32, u32)]) -> LeastConnections {
        let mut balancer = LeastConnections::default();
        let endpoint = |(id, (weight, active)): (u32, &(u32, u32))| {
            testing::set_active(id, *active);
            // The count in the list is stale on purpose: the live one decides.
            Endpoint { id, weight: *weight, active: 99 - active, ..Endpoint::default() }
        };
        balancer.update((0..).zip(endpoints).map(endpoint).collect(), &[]);
        balancer
    }

    fn pick(balancer: &mut LeastConnections, tried: &[u32]) -> Option<u32> {
        balancer.pick(&Handshake::default(), tried).map(|choice| choice.endpoint)
    }

    #[test]
    fn the_endpoint_with_the_fewest_live_connections_is_picked() {
        assert_eq!(pick(&mut balancer(&[(1, 3), (1, 1), (1, 2)]), &[]), Some(1));
    }

    #[test]
    fn connections_count_in_proportion_to_the_weight() {
        assert_eq!(pick(&mut balancer(&[(50, 9), (5, 1)]), &[]), Some(0));
        assert_eq!(pick(&mut balancer(&[(50, 11), (5, 1)]), &[]), Some(1));
    }

    #[test]
    fn equals_take_turns() {
        let mut balancer = balancer(&[(1, 0), (1, 0), (1, 5), (1, 0)]);
        let picks: Vec<_> = (0..6).filter_map(|_| pick(&mut balancer, &[])).collect();
        assert_eq!(picks, [0, 1, 3, 0, 1, 3]);
    }

    #[test]
    fn live_connections_fill_up_in_proportion_to_the_weights() {
        let mut balancer = balancer(&[(50, 0), (20, 0), (30, 0)]);
        let mut active = [0; 3];
        for _ in 0..100 {
            let id = pick(&mut balancer, &[]).expect("an endpoint");
            active[id as usize] += 1;
            testing::set_active(id, active[id as usize]);
        }
        assert_eq!(active, [50, 20, 30]);
    }

    #[test]
    fn a_tried_endpoint_is_passed_over_while_there_is_another() {
        let mut balancer = balancer(&[(1, 0), (1, 5)]);
        assert_eq!(pick(&mut balancer, &[0]), Some(1));
        assert_eq!(pick(&mut balancer, &[0, 1]), Some(0));
    }

    #[test]
    fn a_smaller_set_is_searched_from_its_front_again() {
        let mut balancer = balancer(&[(1, 0), (1, 0), (1, 0)]);
        let picks: Vec<_> = (0..3).filter_map(|_| pick(&mut balancer, &[])).collect();
        assert_eq!(picks, [0, 1, 2]);
        balancer.update(Vec::new(), &[1, 2]);
        assert_eq!(pick(&mut balancer, &[]), Some(0));
    }

    #[test]
    fn endpoints_without_weight_are_equal_and_come_last() {
        assert_eq!(pick(&mut balancer(&[(0, 0), (1, 7)]), &[]), Some(1));
        assert_eq!(pick(&mut balancer(&[(0, 2), (0, 1)]), &[]), Some(1));
    }

    #[test]
    fn one_that_is_told_what_changes_picks_as_one_that_is_told_all() {
        for seed in 0..20 {
            let mut by_changes = LeastConnections::default();
            for change in EndpointChanges::of(seed).take(50) {
                by_changes.update(change.changed, &change.gone);
                // Whose turn it is among equals is all that is remembered.
                let mut anew = LeastConnections { start: by_changes.start, ..LeastConnections::default() };
                change.all.iter().for_each(|endpoint| testing::set_active(endpoint.id, endpoint.id % 3));
                anew.update(change.all, &[]);
                for tried in [&[][..], &[1], &[0, 2, 3], &[]] {
                    assert_eq!(pick(&mut by_changes, tried), pick(&mut anew, tried), "seed {seed}");
                }
            }
        }
    }

    #[test]
    fn no_endpoint_is_no_pick() {
        assert_eq!(pick(&mut balancer(&[]), &[]), None);
    }
}
