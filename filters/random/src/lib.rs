//! The standard balancer `random`: an endpoint by chance, in proportion to its weight.
//!
//! It keeps no state between picks, so workers need no agreement and a changed weight holds from the next pick on.

use serde::Deserialize;
use tidegate_candidates::candidates;
use tidegate_guest::{Balancer, Endpoint, Handshake, export_balancer, random};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Random {
    #[serde(skip)]
    endpoints: Vec<Endpoint>,
}

impl Balancer for Random {
    fn update(&mut self, endpoints: Vec<Endpoint>) {
        self.endpoints = endpoints;
    }

    fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<u32> {
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

export_balancer!(Random);

#[cfg(test)]
mod tests {
    use tidegate_guest::testing;

    use super::*;

    /// How often each endpoint is picked in 10,000 picks.
    fn picks(weights: &[u32], tried: &[u32]) -> Vec<usize> {
        let mut balancer = Random::default();
        let endpoint =
            |(id, weight): (u32, &u32)| Endpoint { id, url: "ws://127.0.0.1".into(), weight: *weight, active: 0 };
        balancer.update((0..).zip(weights).map(endpoint).collect());
        testing::seed(42);
        let mut counts = vec![0; weights.len()];
        for _ in 0..10_000 {
            counts[balancer.pick(&Handshake::default(), tried).expect("an endpoint") as usize] += 1;
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
    fn no_endpoint_is_no_pick() {
        assert_eq!(Random::default().pick(&Handshake::default(), &[]), None);
    }
}
