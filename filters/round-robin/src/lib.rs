//! The standard balancer `round-robin`: smooth weighted round robin.
//!
//! Each pick, every candidate earns its weight and the one that has earned most pays what all have earned, so that
//! picks of a heavy endpoint stand apart instead of in a row. What an endpoint has earned is kept by its id: a changed
//! weight bends the cycle and does not start it over. The cycle belongs to one worker thread.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_candidates::candidates;
use tidegate_guest::{Balancer, Endpoint, Handshake, export_balancer};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoundRobin {
    #[serde(skip)]
    endpoints: Vec<Endpoint>,
    /// What each endpoint has earned and not paid, by id. The sum is near zero.
    #[serde(skip)]
    credit: BTreeMap<u32, i64>,
}

impl Balancer for RoundRobin {
    fn update(&mut self, endpoints: Vec<Endpoint>) {
        // Endpoints that all weigh 0 take turns as if they weighed 1.
        let total: i64 = endpoints.iter().map(|endpoint| i64::from(endpoint.weight).max(1)).sum();
        let mut credit = BTreeMap::new();
        for endpoint in &endpoints {
            // More than one cycle's worth stems from an older, larger weight, and would be a long run of picks.
            let earned = self.credit.get(&endpoint.id).copied().unwrap_or(0).clamp(-total, total);
            credit.insert(endpoint.id, earned);
        }
        // An endpoint that left took its credit or its debt with it. Shared out, the rest sums to zero again, and one
        // that joins with nothing is neither starved nor flooded.
        let sum: i64 = credit.values().sum();
        let count = i64::try_from(credit.len()).unwrap_or(i64::MAX).max(1);
        credit.values_mut().for_each(|earned| *earned -= sum / count);
        self.endpoints = endpoints;
        self.credit = credit;
    }

    fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<u32> {
        let mut total = 0;
        let mut richest: Option<(u32, i64)> = None;
        for candidate in candidates(&self.endpoints, tried) {
            let earned = self.credit.entry(candidate.id).or_default();
            *earned += i64::from(candidate.weight);
            total += i64::from(candidate.weight);
            if richest.is_none_or(|(_, most)| *earned > most) {
                richest = Some((candidate.id, *earned));
            }
        }
        let (id, earned) = richest?;
        self.credit.insert(id, earned - total);
        Some(id)
    }
}

export_balancer!(RoundRobin);

#[cfg(test)]
mod tests;
