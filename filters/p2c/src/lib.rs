//! The standard balancer `p2c`, the power of two choices: of two endpoints drawn by chance, the one with fewer live
//! connections for its weight.
//!
//! It looks at two endpoints however many there are, and because workers draw differently they do not all run
//! to the same endpoint, as they would to the least loaded one.

use serde::Deserialize;
use tidegate_candidates::{Candidate, candidates};
use tidegate_guest::{Balancer, Choice, Endpoint, Endpoints, Handshake, endpoint_stats, export_balancer, random};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PowerOfTwoChoices {
    #[serde(skip)]
    endpoints: Endpoints,
}

impl Balancer for PowerOfTwoChoices {
    fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
        self.endpoints.update(changed, gone);
    }

    fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<Choice> {
        let Some([first, second]) = two_of_many(&self.endpoints, tried).or_else(|| two(&self.endpoints, tried)) else {
            return candidates(&self.endpoints, tried).first().map(|only| Choice::of(only.id));
        };
        let [first_active, second_active] = [first, second].map(|candidate| endpoint_stats::active(candidate.id));
        let second_wins = second.is_less_loaded(second_active, &first, first_active);
        Some(Choice::of(if second_wins { second.id } else { first.id }))
    }
}

/// Two different candidates by chance, without a look at all endpoints; `None` where a few draws do not bring two, because
/// hardly any are left.
fn two_of_many(endpoints: &[Endpoint], tried: &[u32]) -> Option<[Candidate; 2]> {
    let mut first: Option<Candidate> = None;
    for _ in 0..DRAWS {
        let index = index_below(endpoints.len());
        let Endpoint { id, weight, .. } = *endpoints.get(index)?;
        if weight == 0 || tried.binary_search(&id).is_ok() {
            continue;
        }
        let candidate = Candidate { index, id, weight };
        match first {
            Some(first) if first.index != index => return Some([first, candidate]),
            _ => first = Some(candidate),
        }
    }
    None
}

/// Two different candidates by chance, if there are two.
fn two(endpoints: &[Endpoint], tried: &[u32]) -> Option<[Candidate; 2]> {
    let mut candidates = candidates(endpoints, tried);
    let mut draw = || (!candidates.is_empty()).then(|| candidates.swap_remove(index_below(candidates.len())));
    Some([draw()?, draw()?])
}

const DRAWS: usize = 8;

/// A random index into a list of this length; 0 where it is empty.
fn index_below(length: usize) -> usize {
    usize::try_from(random::below(length as u64)).unwrap_or(0)
}

export_balancer!(PowerOfTwoChoices);

#[cfg(test)]
mod tests {
    use tidegate_guest::testing::{self, EndpointChanges};

    use super::*;

    /// How often each endpoint, of these weights and connections, is picked in 6,000 picks.
    fn picks(endpoints: &[(u32, u32)], tried: &[u32]) -> Vec<usize> {
        let mut balancer = PowerOfTwoChoices::default();
        let endpoint = |(id, (weight, active)): (u32, &(u32, u32))| {
            testing::set_active(id, *active);
            // The count in the list is stale on purpose: the live one decides.
            Endpoint { id, weight: *weight, active: u32::MAX - active, ..Endpoint::default() }
        };
        balancer.update((0..).zip(endpoints).map(endpoint).collect(), &[]);
        testing::seed(42);
        let mut counts = vec![0; endpoints.len()];
        for _ in 0..6_000 {
            counts[balancer.pick(&Handshake::default(), tried).expect("an endpoint").endpoint as usize] += 1;
        }
        counts
    }

    fn assert_near(counts: &[usize], expected: &[usize]) {
        assert!(counts.iter().zip(expected).all(|(count, expected)| count.abs_diff(*expected) < 200), "{counts:?}");
    }

    #[test]
    fn the_less_loaded_of_two_wins_whichever_is_drawn_first() {
        assert_eq!(picks(&[(1, 3), (1, 2)], &[]), [0, 6_000]);
        assert_eq!(picks(&[(1, 2), (1, 3)], &[]), [6_000, 0]);
    }

    #[test]
    fn the_two_are_distinct_and_every_pair_is_equally_likely() {
        // The most loaded loses every draw; the middle one wins only against it, which is one pair of three.
        assert_near(&picks(&[(1, 3), (1, 2), (1, 1)], &[]), &[0, 2_000, 4_000]);
    }

    #[test]
    fn connections_count_in_proportion_to_the_weight() {
        assert_eq!(picks(&[(50, 9), (5, 1)], &[]), [6_000, 0]);
        assert_eq!(picks(&[(50, 11), (5, 1)], &[]), [0, 6_000]);
    }

    #[test]
    fn every_pair_is_equally_likely_where_most_are_to_be_passed_over() {
        let endpoints: Vec<(u32, u32)> = (0..100).map(|id| (1, 100 - id)).collect();
        let counts = picks(&endpoints, &(0..100).filter(|id| ![3, 50, 90].contains(id)).collect::<Vec<_>>());
        assert_near(&[counts[3], counts[50], counts[90]], &[0, 2_000, 4_000]);
    }

    #[test]
    fn equals_share_evenly() {
        assert_near(&picks(&[(1, 4), (1, 4), (1, 4)], &[]), &[2_000; 3]);
        assert_near(&picks(&[(0, 4), (0, 4), (0, 4)], &[]), &[2_000; 3]);
    }

    #[test]
    fn a_tried_endpoint_is_not_picked_while_there_is_another() {
        assert_eq!(picks(&[(1, 0), (1, 9)], &[0]), [0, 6_000]);
        assert_eq!(picks(&[(1, 0)], &[0]), [6_000]);
    }

    #[test]
    fn one_that_is_told_what_changes_picks_as_one_that_is_told_all() {
        for seed in 0..20 {
            let mut by_changes = PowerOfTwoChoices::default();
            for change in EndpointChanges::of(seed).take(50) {
                by_changes.update(change.changed, &change.gone);
                let mut anew = PowerOfTwoChoices::default();
                anew.update(change.all, &[]);
                let picks = |balancer: &mut PowerOfTwoChoices| {
                    testing::seed(seed);
                    [&[][..], &[1], &[0, 2, 3]].map(|tried| balancer.pick(&Handshake::default(), tried))
                };
                assert_eq!(picks(&mut by_changes), picks(&mut anew), "seed {seed}");
            }
        }
    }

    #[test]
    fn no_endpoint_is_no_pick() {
        assert_eq!(PowerOfTwoChoices::default().pick(&Handshake::default(), &[]), None);
    }
}
