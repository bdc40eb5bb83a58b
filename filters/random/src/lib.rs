//! The standard balancer `random`: an endpoint by chance, in proportion to its weight.
//!
//! No pick depends on another, so workers need no agreement and a changed weight holds from the next pick on.

use serde::Deserialize;
use tidegate_candidates::candidates;
use tidegate_guest::{Balancer, Choice, Endpoint, Endpoints, Handshake, export_balancer, random};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Random {
    #[serde(skip)]
    endpoints: Endpoints,
    /// What the endpoints up to each one weigh together; empty after a change.
    #[serde(skip)]
    sums: Vec<u64>,
}

impl Random {
    /// An endpoint with a weight that is not to be passed over, without a look at all; `None` where a few draws bring
    /// none, because there is hardly any.
    fn one_of_many(&mut self, tried: &[u32]) -> Option<u32> {
        if self.sums.is_empty() {
            let mut sum = 0;
            self.sums.extend(self.endpoints.iter().map(|endpoint| {
                sum += u64::from(endpoint.weight);
                sum
            }));
        }
        let total = self.sums.last().copied().filter(|total| *total > 0)?;
        let mut draws = (0..DRAWS).filter_map(|_| {
            let point = random::below(total);
            self.endpoints.get(self.sums.partition_point(|sum| *sum <= point)).map(|endpoint| endpoint.id)
        });
        draws.find(|id| tried.binary_search(id).is_err())
    }

    /// A candidate by chance, if there is one.
    fn one(&self, tried: &[u32]) -> Option<u32> {
        let candidates = candidates(&self.endpoints, tried);
        let total = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
        let mut point = random::below(total);
        for candidate in &candidates {
            match point.checked_sub(u64::from(candidate.weight)) {
                Some(beyond) => point = beyond,
                None => return Some(candidate.id),
            }
        }
        None
    }
}

const DRAWS: usize = 8;

impl Balancer for Random {
    fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
        self.endpoints.update(changed, gone);
        self.sums.clear();
    }

    fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<Choice> {
        self.one_of_many(tried).or_else(|| self.one(tried)).map(Choice::of)
    }
}

export_balancer!(Random);

#[cfg(test)]
mod tests {
    use tidegate_guest::testing::{self, EndpointChanges};

    use super::*;

    /// How often each endpoint is picked in 10,000 picks.
    fn picks(weights: &[u32], tried: &[u32]) -> Vec<usize> {
        let mut balancer = Random::default();
        let endpoint = |(id, weight): (u32, &u32)| Endpoint { id, weight: *weight, ..Endpoint::default() };
        balancer.update((0..).zip(weights).map(endpoint).collect(), &[]);
        testing::seed(42);
        let mut counts = vec![0; weights.len()];
        for _ in 0..10_000 {
            counts[balancer.pick(&Handshake::default(), tried).expect("an endpoint").endpoint as usize] += 1;
        }
        counts
    }

    /// Within five standard deviations of a share of 10,000.
    fn assert_shares(counts: &[usize], shares: &[f64]) {
        for (count, share) in counts.iter().zip(shares) {
            let tolerance = 5.0 * (10_000.0 * share * (1.0 - share)).sqrt();
            assert!((*count as f64 - 10_000.0 * share).abs() <= tolerance, "{counts:?} for {shares:?}");
        }
    }

    #[test]
    fn picks_follow_the_weights() {
        assert_shares(&picks(&[50, 30, 20], &[]), &[0.5, 0.3, 0.2]);
        assert_shares(&picks(&[u32::MAX, u32::MAX], &[]), &[0.5, 0.5]);
    }

    #[test]
    fn picks_follow_the_weights_where_most_are_to_be_passed_over() {
        let weights: Vec<u32> = (0..100).map(|id| if id == 3 { 3 } else { 1 }).collect();
        let counts = picks(&weights, &(0..100).filter(|id| ![3, 90].contains(id)).collect::<Vec<_>>());
        assert_shares(&[counts[3], counts[90]], &[0.75, 0.25]);
        assert_eq!(counts.iter().sum::<usize>(), counts[3] + counts[90]);
    }

    #[test]
    fn equal_or_zero_weights_are_uniform() {
        assert_shares(&picks(&[7, 7, 7, 7], &[]), &[0.25; 4]);
        assert_shares(&picks(&[0, 0, 0, 0], &[]), &[0.25; 4]);
    }

    #[test]
    fn an_endpoint_without_weight_is_not_picked_beside_others() {
        assert_eq!(picks(&[0, 1, 0], &[]), [0, 10_000, 0]);
    }

    #[test]
    fn a_tried_endpoint_is_not_picked_while_there_is_another() {
        assert_shares(&picks(&[50, 30, 20], &[0]), &[0.0, 0.6, 0.4]);
        assert_shares(&picks(&[50, 30, 20], &[0, 1, 2]), &[0.5, 0.3, 0.2]);
    }

    #[test]
    fn one_that_is_told_what_changes_picks_as_one_that_is_told_all() {
        for seed in 0..20 {
            let mut by_changes = Random::default();
            for change in EndpointChanges::of(seed).take(50) {
                by_changes.update(change.changed, &change.gone);
                let mut anew = Random::default();
                anew.update(change.all, &[]);
                let picks = |balancer: &mut Random| {
                    testing::seed(seed);
                    [&[][..], &[1], &[0, 2, 3]].map(|tried| balancer.pick(&Handshake::default(), tried))
                };
                assert_eq!(picks(&mut by_changes), picks(&mut anew), "seed {seed}");
            }
        }
    }

    #[test]
    fn no_endpoint_is_no_pick() {
        assert_eq!(Random::default().pick(&Handshake::default(), &[]), None);
    }
}
