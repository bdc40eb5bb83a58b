//! The lookup table of Maglev (Eisenbud et al., NSDI 2016, section 3.4) with weights.
//!
//! Every endpoint has its own order of preference over all slots, and the endpoints take turns, in proportion to their
//! weights, at claiming the best slot that is left. The table follows from the urls and weights alone, so every worker
//! and every proxy has the same one, whatever the order or the history of its updates. A set that loses an endpoint,
//! or in which one warms up, keeps nearly all other slots as they were.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::hash::hash;

/// Which endpoint owns each slot.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// The ids, in the order of their urls.
    ids: Vec<u32>,
    /// For each slot an index into `ids`; no slots when there are no endpoints.
    owners: Vec<u16>,
}

/// The number of slots; a prime, so that every stride visits all of them.
///
/// A share is off by at most a slot, so a hundred endpoints are even to within one percent. Four times as many would
/// take four times as long to fill as the 1 to 2 ms that this takes in WebAssembly, and an update has 10 ms.
pub(crate) const SLOTS: usize = 16_381;

/// An endpoint as the table sees it.
#[derive(Debug, Clone)]
pub(crate) struct Member<'a> {
    pub(crate) id: u32,
    pub(crate) url: &'a str,
    /// At least 1.
    pub(crate) weight: u32,
}

impl Table {
    /// Fills a table. Of more members than slots, those first by url own one each.
    pub(crate) fn new(mut members: Vec<Member<'_>>) -> Self {
        members.sort_by_key(|member| (member.url, member.id));
        members.truncate(SLOTS);
        let ids = members.iter().map(|member| member.id).collect();
        let heaviest = members.iter().map(|member| u64::from(member.weight)).max().unwrap_or(1);
        let mut claims: Vec<Claims> = members.iter().map(|member| Claims::new(member.url)).collect();
        let mut turns: BinaryHeap<Reverse<(u64, u16)>> =
            (0..).take(members.len()).map(|index| Reverse((0, index))).collect();
        let mut owners = vec![FREE; if members.is_empty() { 0 } else { SLOTS }];
        for _ in 0..owners.len() {
            let Some(Reverse((_, index))) = turns.pop() else { break };
            let position = usize::from(index);
            let (Some(claims), Some(member)) = (claims.get_mut(position), members.get(position)) else {
                break;
            };
            claims.take_next(&mut owners, index);
            // The heaviest has a turn in every round, one of half its weight in every other.
            let next = (claims.taken * heaviest).div_ceil(u64::from(member.weight).max(1));
            turns.push(Reverse((next, index)));
        }
        Self { ids, owners }
    }

    /// The owners from the key's slot on, each slot once: an endpoint comes up again and again.
    pub(crate) fn walk<'a>(&'a self, key: &[u8]) -> impl Iterator<Item = u32> + use<'a> {
        let slot = usize::try_from(hash(key, KEY_SEED) % SLOTS as u64).unwrap_or(0);
        let (before, from) = self.owners.split_at(slot.min(self.owners.len()));
        from.iter().chain(before).filter_map(|owner| self.ids.get(usize::from(*owner)).copied())
    }
}

/// No owner yet; more than the highest index.
const FREE: u16 = u16::MAX;

const KEY_SEED: u64 = 0;

/// An endpoint's order of preference, and how far it has got.
struct Claims {
    next: usize,
    stride: usize,
    taken: u64,
}

impl Claims {
    fn new(url: &str) -> Self {
        let below = |bound: usize, seed| usize::try_from(hash(url.as_bytes(), seed) % bound as u64).unwrap_or(0);
        Self { next: below(SLOTS, 1), stride: below(SLOTS - 1, 2) + 1, taken: 0 }
    }

    /// Claims the best free slot for `index`; there must be one.
    fn take_next(&mut self, owners: &mut [u16], index: u16) {
        while let Some(owner) = owners.get_mut(self.next) {
            self.next = (self.next + self.stride) % SLOTS;
            if *owner == FREE {
                *owner = index;
                self.taken += 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
