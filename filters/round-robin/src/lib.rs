//! The standard balancer `round-robin`: smooth weighted round robin.
//!
//! Each pick, every candidate earns its weight and the one that has earned most pays what all have earned, so that
//! picks of a heavy endpoint stand apart instead of in a row. What an endpoint has earned is kept by its id: a changed
//! weight bends the cycle and does not start it over. Workers go round together: what the others have picked since is
//! earned and paid for before each pick.

use serde::Deserialize;
use tidegate_candidates::candidates;
use tidegate_guest::{Balancer, Choice, Endpoint, Endpoints, Handshake, endpoint_stats, export_balancer};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoundRobin {
    #[serde(skip)]
    endpoints: Endpoints,
    /// One for each endpoint, in the same order.
    #[serde(skip)]
    accounts: Vec<Account>,
    /// What all weigh together.
    #[serde(skip)]
    total: i64,
    /// Whether it has picked, or was asked to.
    #[serde(skip)]
    has_begun: bool,
    /// Whether the accounts are to be looked through, because the set has changed.
    #[serde(skip)]
    is_changed: bool,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Default)]
struct Account {
    id: u32,
    /// What it has earned and not paid. The sum of all is near zero.
    credit: i64,
    /// How often it was picked, by all workers, as far as that is earned and paid for.
    seen: u64,
}

impl RoundRobin {
    /// Brings the accounts back into balance after a change of the set.
    fn settle(&mut self) {
        if !std::mem::take(&mut self.is_changed) {
            return;
        }
        // More than one cycle's worth stems from an older, larger weight, and would be a long run of picks.
        self.accounts.iter_mut().for_each(|account| account.credit = account.credit.clamp(-self.total, self.total));
        // An endpoint that left took its credit or its debt with it. Shared out, the rest sums to zero again, and one
        // that joins with nothing is neither starved nor flooded.
        let sum: i64 = self.accounts.iter().map(|account| account.credit).sum();
        let count = i64::try_from(self.accounts.len()).unwrap_or(i64::MAX).max(1);
        self.accounts.iter_mut().for_each(|account| account.credit -= sum / count);
    }
}

/// Endpoints that all weigh 0 take turns as if they weighed 1.
fn share(endpoint: &Endpoint) -> i64 {
    i64::from(endpoint.weight).max(1)
}

impl Balancer for RoundRobin {
    fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
        let before = changed.iter().map(|endpoint| endpoint.id).chain(gone.iter().copied());
        self.total -= before.filter_map(|id| self.endpoints.find(id)).map(share).sum::<i64>();
        self.total += changed.iter().map(share).sum::<i64>();
        if !gone.is_empty() {
            self.accounts.retain(|account| gone.binary_search(&account.id).is_err());
        }
        let joined = changed.iter().map(|endpoint| endpoint.id).filter(|id| self.endpoints.find(*id).is_none());
        // One that joins has nothing. Before the first pick come all of them, with what other workers have picked.
        let seen = |id| if self.has_begun { endpoint_stats::picked(id) } else { 0 };
        let before = self.accounts.len();
        self.accounts.extend(joined.map(|id| Account { id, credit: 0, seen: seen(id) }));
        if self.accounts.len() > before {
            self.accounts.sort_by_key(|account| account.id);
        }
        self.endpoints.update(changed, gone);
        self.is_changed = true;
    }

    fn pick(&mut self, _: &Handshake, tried: &[u32]) -> Option<Choice> {
        self.settle();
        self.has_begun = true;
        let candidates = candidates(&self.endpoints, tried);
        let total: i64 = candidates.iter().map(|candidate| i64::from(candidate.weight)).sum();
        let picked: Vec<u64> = candidates.iter().map(|candidate| endpoint_stats::picked(candidate.id)).collect();
        // Fewer than seen, if the runtime did not follow a pick of ours.
        let others = |index: usize, picked: u64| {
            i128::from(picked.wrapping_sub(self.accounts.get(index).map_or(0, |it| it.seen)).cast_signed())
        };
        let others: Vec<i128> =
            candidates.iter().zip(&picked).map(|(candidate, picked)| others(candidate.index, *picked)).collect();
        let picks = others.iter().sum::<i128>() + 1;
        let mut richest: Option<(usize, i64)> = None;
        for ((candidate, picked), others) in candidates.iter().zip(picked).zip(others) {
            let Some(account) = self.accounts.get_mut(candidate.index) else { continue };
            let earned = picks * i128::from(candidate.weight) - others * i128::from(total);
            // What was picked long ago, under other weights, is worth a cycle at most.
            let most = 2 * i128::from(total);
            let credit = (i128::from(account.credit) + earned).clamp(-most, most);
            (account.credit, account.seen) = (i64::try_from(credit).unwrap_or(0), picked);
            if richest.is_none_or(|(_, credit)| account.credit > credit) {
                richest = Some((candidate.index, account.credit));
            }
        }
        let (index, _) = richest?;
        let account = self.accounts.get_mut(index)?;
        account.credit -= total;
        // The runtime counts this pick, too.
        account.seen = account.seen.wrapping_add(1);
        Some(Choice::of(account.id))
    }
}

export_balancer!(RoundRobin);

#[cfg(test)]
mod tests;
