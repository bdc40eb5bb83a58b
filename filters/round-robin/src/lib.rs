//! The standard balancer `round-robin`: smooth weighted round robin.
//!
//! Each pick, every candidate earns its weight and the one that has earned most pays what all have earned, so that
//! picks of a heavy endpoint stand apart instead of in a row. What an endpoint has earned is kept by its id: a changed
//! weight bends the cycle and does not start it over. Workers go round together: what the others have picked since is
//! earned and paid for before each pick.

use std::collections::BTreeMap;

use serde::Deserialize;
use tidegate_candidates::candidates;
use tidegate_guest::{Balancer, Endpoint, Handshake, endpoint_stats, export_balancer};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoundRobin {
    #[serde(skip)]
    endpoints: Vec<Endpoint>,
    /// By id.
    #[serde(skip)]
    accounts: BTreeMap<u32, Account>,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Default)]
struct Account {
    /// What it has earned and not paid. The sum of all is near zero.
    credit: i64,
    /// How often it was picked, by all workers, as far as that is earned and paid for.
    seen: u64,
}

impl Balancer for RoundRobin {
    fn update(&mut self, endpoints: Vec<Endpoint>) {
        // Endpoints that all weigh 0 take turns as if they weighed 1.
        let total: i64 = endpoints.iter().map(|endpoint| i64::from(endpoint.weight).max(1)).sum();
        let is_first = self.accounts.is_empty();
        let mut accounts = BTreeMap::new();
        for endpoint in &endpoints {
            // One that joins has nothing. The first update brings all of them, with what other workers have picked.
            let seen = if is_first { 0 } else { endpoint_stats::picked(endpoint.id) };
            let mut account = self.accounts.get(&endpoint.id).copied().unwrap_or(Account { credit: 0, seen });
            // More than one cycle's worth stems from an older, larger weight, and would be a long run of picks.
            account.credit = account.credit.clamp(-total, total);
            accounts.insert(endpoint.id, account);
        }
        // An endpoint that left took its credit or its debt with it. Shared out, the rest sums to zero again, and one
        // that joins with nothing is neither starved nor flooded.
        let sum: i64 = accounts.values().map(|account| account.credit).sum();
        let count = i64::try_from(accounts.len()).unwrap_or(i64::MAX).max(1);
        accounts.values_mut().for_each(|account| account.credit -= sum / count);
        self.endpoints = endpoints;
        self.accounts = accounts;
    }

    fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<u32> {
        let candidates = candidates(&self.endpoints, tried);
        let total: i64 = candidates.iter().map(|candidate| i64::from(candidate.weight)).sum();
        let picked: Vec<u64> = candidates.iter().map(|candidate| endpoint_stats::picked(candidate.id)).collect();
        // Fewer than seen, if the runtime did not follow a pick of ours.
        let others = |id, picked: u64| {
            i128::from(picked.wrapping_sub(self.accounts.get(&id).map_or(0, |it| it.seen)).cast_signed())
        };
        let others: Vec<i128> =
            candidates.iter().zip(&picked).map(|(candidate, picked)| others(candidate.id, *picked)).collect();
        let picks = others.iter().sum::<i128>() + 1;
        let mut richest: Option<(u32, i64)> = None;
        for ((candidate, picked), others) in candidates.iter().zip(picked).zip(others) {
            let account = self.accounts.entry(candidate.id).or_default();
            let earned = picks * i128::from(candidate.weight) - others * i128::from(total);
            // What was picked long ago, under other weights, is worth a cycle at most.
            let most = 2 * i128::from(total);
            let credit = (i128::from(account.credit) + earned).clamp(-most, most);
            *account = Account { credit: i64::try_from(credit).unwrap_or(0), seen: picked };
            if richest.is_none_or(|(_, credit)| account.credit > credit) {
                richest = Some((candidate.id, account.credit));
            }
        }
        let (id, _) = richest?;
        let account = self.accounts.entry(id).or_default();
        account.credit -= total;
        // The runtime counts this pick, too.
        account.seen = account.seen.wrapping_add(1);
        Some(id)
    }
}

export_balancer!(RoundRobin);

#[cfg(test)]
mod tests;
