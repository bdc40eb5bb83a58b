//! Which endpoints a balancer may answer, the same for every standard one: an endpoint that has not been tried goes
//! before one that has, and one with a weight goes before one without.
//!
//! A plain library, no component. How to choose among the candidates is the balancers' business.

use tidegate_guest::Endpoint;

/// An endpoint that may be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its index in the list that it was taken from.
    pub index: usize,
    /// Its id.
    pub id: u32,
    /// Its weight, at least 1.
    pub weight: u32,
}

impl Candidate {
    /// Whether this candidate, with `active` connections, bears less for its weight than `other` with `other_active`.
    pub fn is_less_loaded(&self, active: u32, other: &Self, other_active: u32) -> bool {
        u64::from(active) * u64::from(other.weight) < u64::from(other_active) * u64::from(self.weight)
    }
}

/// The endpoints to choose from, in the order of `endpoints`. Empty only when `endpoints` is.
///
/// `tried` are the ids to pass over, in ascending order. While there is another endpoint, only those are candidates; when
/// all have been tried, all are candidates again, for a retry on the only endpoint is better than none. Among these, endpoints of weight 0 are candidates only when
/// no other is, and then all weigh the same.
pub fn candidates(endpoints: &[Endpoint], tried: &[u32]) -> Vec<Candidate> {
    let every = endpoints.iter().enumerate();
    let every = every.map(|(index, endpoint)| Candidate { index, id: endpoint.id, weight: endpoint.weight });
    let mut candidates: Vec<Candidate> =
        every.clone().filter(|candidate| tried.binary_search(&candidate.id).is_err()).collect();
    if candidates.is_empty() {
        candidates = every.collect();
    }
    if candidates.iter().any(|candidate| candidate.weight > 0) {
        candidates.retain(|candidate| candidate.weight > 0);
    } else {
        candidates.iter_mut().for_each(|candidate| candidate.weight = 1);
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoints(weights: &[u32]) -> Vec<Endpoint> {
        let endpoint = |(id, weight): (u32, &u32)| Endpoint {
            id,
            url: format!("ws://127.0.0.1:{}", 8001 + id),
            weight: *weight,
            ..Endpoint::default()
        };
        (0..).zip(weights).map(endpoint).collect()
    }

    fn weights_by_id(weights: &[u32], tried: &[u32]) -> Vec<(u32, u32)> {
        candidates(&endpoints(weights), tried).iter().map(|candidate| (candidate.id, candidate.weight)).collect()
    }

    #[test]
    fn an_untried_endpoint_goes_before_tried_ones() {
        assert_eq!(weights_by_id(&[5, 6, 7], &[1, 9]), [(0, 5), (2, 7)]);
        assert_eq!(weights_by_id(&[5, 0], &[0]), [(1, 1)]);
    }

    #[test]
    fn when_all_have_been_tried_all_may_be_tried_again() {
        assert_eq!(weights_by_id(&[5, 6], &[0, 1]), [(0, 5), (1, 6)]);
    }

    #[test]
    fn endpoints_without_weight_are_equal_and_come_last() {
        assert_eq!(weights_by_id(&[0, 6, 0], &[]), [(1, 6)]);
        assert_eq!(weights_by_id(&[0, 0], &[]), [(0, 1), (1, 1)]);
    }

    #[test]
    fn no_endpoint_is_no_candidate() {
        assert_eq!(candidates(&[], &[]), []);
    }

    #[test]
    fn load_is_connections_by_weight() {
        let candidate = |weight| Candidate { index: 0, id: 0, weight };

        assert!(candidate(50).is_less_loaded(9, &candidate(5), 1));
        assert!(!candidate(50).is_less_loaded(10, &candidate(5), 1));
        assert!(!candidate(5).is_less_loaded(1, &candidate(50), 10));
        assert!(candidate(u32::MAX).is_less_loaded(u32::MAX - 1, &candidate(u32::MAX), u32::MAX));
    }
}
