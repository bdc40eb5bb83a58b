//! Random changes of a set of endpoints, for tests of balancers.

use std::collections::BTreeMap;

use crate::Endpoint;

/// One change of a set of endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointChange {
    /// What `update` is told of endpoints that are new or have changed.
    pub changed: Vec<Endpoint>,
    /// What `update` is told of endpoints that are gone.
    pub gone: Vec<u32>,
    /// The whole set after it, in ascending order of ids.
    pub all: Vec<Endpoint>,
}

/// Random changes of a set of endpoints without an end, the same for the same seed: some come, some go, some of those that
/// were there come back, some weights are others, down to none. A balancer that is told by `changed` and `gone` should
/// decide as one that was told `all`.
///
/// ```
/// use tidegate_guest::Endpoints;
/// use tidegate_guest::testing::EndpointChanges;
///
/// let mut endpoints = Endpoints::default();
/// for change in EndpointChanges::of(7).take(100) {
///     endpoints.update(change.changed, &change.gone);
///     assert_eq!(*endpoints, *change.all);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct EndpointChanges {
    random: u64,
    present: BTreeMap<u32, Endpoint>,
    absent: Vec<Endpoint>,
    next_id: u32,
}

impl EndpointChanges {
    /// The changes of a seed. The first brings some endpoints.
    pub fn of(seed: u64) -> Self {
        Self { random: seed, present: BTreeMap::new(), absent: Vec::new(), next_id: 0 }
    }

    fn below(&mut self, bound: usize) -> usize {
        let number = super::split_mix(&mut self.random);
        usize::try_from((u128::from(number) * bound as u128) >> 64).unwrap_or(0)
    }

    fn appear(&mut self) -> Endpoint {
        if !self.absent.is_empty() && self.below(3) == 0 {
            let index = self.below(self.absent.len());
            return self.absent.swap_remove(index);
        }
        let id = self.next_id;
        self.next_id += 1;
        let zone = [None, Some("zone-a"), Some("zone-b")].get(id as usize % 3).copied().flatten().map(str::to_owned);
        let metadata = vec![("number".to_owned(), id.to_string())];
        let url = format!("ws://10.0.{}.{}:9000", id / 250, id % 250 + 1);
        Endpoint { id, url, weight: self.weight(), active: 0, zone, metadata }
    }

    fn weight(&mut self) -> u32 {
        [0, 1, 5, 50, 100].get(self.below(5)).copied().unwrap_or(1)
    }
}

impl Iterator for EndpointChanges {
    type Item = EndpointChange;

    fn next(&mut self) -> Option<EndpointChange> {
        let mut changed = BTreeMap::new();
        let mut gone = Vec::new();
        let (comes, goes) = (self.below(4), if self.present.len() > 12 { self.below(6) } else { self.below(3) });
        for id in self.present.keys().copied().collect::<Vec<_>>() {
            if gone.len() < goes && self.below(3) == 0 {
                gone.push(id);
                self.absent.extend(self.present.remove(&id));
            } else if self.below(4) == 0 {
                let weight = self.weight();
                if let Some(endpoint) = self.present.get_mut(&id).filter(|endpoint| endpoint.weight != weight) {
                    endpoint.weight = weight;
                    changed.insert(id, endpoint.clone());
                }
            }
        }
        let first = if self.next_id == 0 { 3 } else { 0 };
        for _ in 0..first + comes {
            let endpoint = self.appear();
            if gone.binary_search(&endpoint.id).is_ok() {
                self.absent.push(endpoint);
                continue;
            }
            changed.insert(endpoint.id, endpoint.clone());
            self.present.insert(endpoint.id, endpoint);
        }
        let all = self.present.values().cloned().collect();
        Some(EndpointChange { changed: changed.into_values().collect(), gone, all })
    }
}
