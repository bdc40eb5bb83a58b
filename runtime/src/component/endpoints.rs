//! The endpoints that a balancer may pick, and how two sets of them differ.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// All endpoints that a balancer may pick, with the weights of one moment; immutable.
#[derive(Debug)]
pub struct PickSet {
    version: u64,
    /// In ascending order of ids.
    list: Vec<PickEndpoint>,
    /// The set that this one was made of, and the places where it has another weight.
    reweighed: Option<(u64, Vec<usize>)>,
}

/// An endpoint that a balancer may pick.
#[derive(Clone, Debug)]
pub struct PickEndpoint {
    /// Names it to the balancer, and is of no other endpoint.
    pub id: u32,
    /// Its weight in force.
    pub weight: u32,
    /// What else there is to tell of it.
    pub about: Arc<EndpointFacts>,
}

/// What an operator says of an endpoint, and what is counted of it.
#[derive(Debug, Default)]
pub struct EndpointFacts {
    /// Its url as configured.
    pub url: String,
    /// Where it stands.
    pub zone: Option<String>,
    /// What else balancers may go by, sorted by name.
    pub metadata: Vec<(String, String)>,
    /// What `endpoint-stats` reads, as it is at that moment.
    pub counts: Arc<EndpointCounts>,
}

/// What is counted of an endpoint over all workers.
#[derive(Debug, Default)]
pub struct EndpointCounts {
    /// Its live connections, handshakes under way among them.
    pub active: AtomicU32,
    /// How often it was picked since it appeared.
    pub picked: AtomicU64,
}

/// What an instance that knows one set has to be told of another one.
#[derive(Debug, Default)]
pub(super) struct Difference<'a> {
    /// New, or another than before.
    pub(super) changed: Vec<&'a PickEndpoint>,
    pub(super) gone: Vec<u32>,
}

impl PickSet {
    /// A set of these, which have an id each.
    pub fn new(mut list: Vec<PickEndpoint>) -> Self {
        list.sort_by_key(|endpoint| endpoint.id);
        Self { version: VERSIONS.fetch_add(1, Ordering::Relaxed), list, reweighed: None }
    }

    /// The same endpoints, with another weight at each of these places.
    pub fn reweighed(&self, weights: &[(usize, u32)]) -> Self {
        let mut list = self.list.clone();
        for (place, weight) in weights {
            if let Some(endpoint) = list.get_mut(*place) {
                endpoint.weight = *weight;
            }
        }
        let mut places: Vec<_> = weights.iter().map(|(place, _)| *place).collect();
        places.sort_unstable();
        let reweighed = Some((self.version, places));
        Self { version: VERSIONS.fetch_add(1, Ordering::Relaxed), list, reweighed }
    }

    /// Another number than that of any other set in this process.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// In ascending order of ids.
    pub fn list(&self) -> &[PickEndpoint] {
        &self.list
    }

    /// The place in [`list`](Self::list) of the endpoint of this id, if it is there.
    pub fn place(&self, id: u32) -> Option<usize> {
        self.list.binary_search_by_key(&id, |endpoint| endpoint.id).ok()
    }

    /// The endpoint of this id, if it is there.
    pub fn get(&self, id: u32) -> Option<&PickEndpoint> {
        self.place(id).and_then(|place| self.list.get(place))
    }

    /// What an instance that knows `told` has to hear of.
    pub(super) fn since(&self, told: &Self) -> Difference<'_> {
        if let Some((before, places)) = &self.reweighed
            && *before == told.version
        {
            let changed = places.iter().filter_map(|place| self.list.get(*place)).collect();
            return Difference { changed, gone: Vec::new() };
        }
        let mut difference = Difference::default();
        let mut before = told.list.iter().peekable();
        for now in &self.list {
            while let Some(other) = before.next_if(|other| other.id < now.id) {
                difference.gone.push(other.id);
            }
            if before.next_if(|other| other.id == now.id).is_none_or(|other| !other.is_told_as(now)) {
                difference.changed.push(now);
            }
        }
        difference.gone.extend(before.map(|other| other.id));
        difference
    }
}

impl Default for PickSet {
    /// Without an endpoint.
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl PickEndpoint {
    /// Whether a balancer would be told the same.
    fn is_told_as(&self, other: &Self) -> bool {
        self.weight == other.weight && (Arc::ptr_eq(&self.about, &other.about) || self.about.is_told_as(&other.about))
    }

    /// Its live connections.
    pub fn active(&self) -> u32 {
        self.about.counts.active.load(Ordering::Relaxed)
    }
}

impl EndpointFacts {
    /// Whether a balancer would be told the same.
    pub fn is_told_as(&self, other: &Self) -> bool {
        self.url == other.url && self.zone == other.zone && self.metadata == other.metadata
    }
}

impl Difference<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.gone.is_empty()
    }

    /// The same in portions, each of so many that have changed and so many that are gone at most; one portion at least.
    pub(super) fn in_portions(self, size: usize) -> impl Iterator<Item = Self> {
        let Self { changed, gone } = self;
        let portions = changed.len().max(gone.len()).div_ceil(size).max(1);
        let part =
            move |portion: usize, length: usize| (portion * size).min(length)..((portion + 1) * size).min(length);
        (0..portions).map(move |portion| Self {
            changed: changed.get(part(portion, changed.len())).unwrap_or_default().to_vec(),
            gone: gone.get(part(portion, gone.len())).unwrap_or_default().to_vec(),
        })
    }
}

/// A balancer that outlives a reload sees the new set as new.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn set(endpoints: &[(u32, u32, &str)]) -> PickSet {
        let endpoint = |(id, weight, zone): &(u32, u32, &str)| {
            let about = EndpointFacts { zone: Some((*zone).to_owned()), ..EndpointFacts::default() };
            PickEndpoint { id: *id, weight: *weight, about: Arc::new(about) }
        };
        PickSet::new(endpoints.iter().map(endpoint).collect())
    }

    /// The ids of what changed, and of what is gone.
    fn since(after: &PickSet, before: &PickSet) -> (Vec<u32>, Vec<u32>) {
        let Difference { changed, gone } = after.since(before);
        (changed.into_iter().map(|endpoint| endpoint.id).collect(), gone)
    }

    #[test]
    fn what_differs_is_what_is_new_or_another_or_gone() {
        let before = set(&[(1, 5, "a"), (2, 5, "a"), (4, 5, "a"), (7, 5, "b")]);
        for (after, expected) in [
            (set(&[(7, 5, "b"), (4, 5, "a"), (2, 5, "a"), (1, 5, "a")]), (vec![], vec![])),
            (set(&[(1, 5, "a"), (2, 6, "a"), (4, 5, "b"), (7, 5, "b")]), (vec![2, 4], vec![])),
            (set(&[(2, 5, "a"), (4, 5, "a")]), (vec![], vec![1, 7])),
            (set(&[(0, 5, "a"), (1, 5, "a"), (3, 5, "a"), (7, 5, "b"), (9, 5, "b")]), (vec![0, 3, 9], vec![2, 4])),
            (set(&[]), (vec![], vec![1, 2, 4, 7])),
        ] {
            assert_eq!(since(&after, &before), expected, "{after:?}");
        }
        assert_eq!(since(&before, &PickSet::default()), (vec![1, 2, 4, 7], vec![]));
    }

    #[test]
    fn a_set_with_other_weights_differs_where_it_has_them() {
        let first = set(&[(1, 5, "a"), (2, 5, "a"), (4, 5, "a")]);
        let second = first.reweighed(&[(2, 7), (0, 6)]);
        let third = second.reweighed(&[(1, 8)]);
        let weights = |set: &PickSet| set.list().iter().map(|endpoint| endpoint.weight).collect::<Vec<_>>();
        assert_eq!((weights(&second), weights(&third)), (vec![6, 5, 7], vec![6, 8, 7]));
        assert_eq!(since(&second, &first), (vec![1, 4], vec![]));
        assert_eq!(since(&third, &second), (vec![2], vec![]));
        // Who has missed one is told of both.
        assert_eq!(since(&third, &first), (vec![1, 2, 4], vec![]));
    }

    #[test]
    fn many_are_told_of_in_portions() {
        let before = set(&(0..7).map(|id| (id, 5, "a")).collect::<Vec<_>>());
        let after = set(&(5..10).map(|id| (id, 6, "a")).collect::<Vec<_>>());
        let portions = |size| {
            let portions = after.since(&before).in_portions(size);
            let ids = |it: Difference<'_>| (it.changed.iter().map(|one| one.id).collect::<Vec<_>>(), it.gone);
            portions.map(ids).collect::<Vec<_>>()
        };
        assert_eq!(portions(5), [(vec![5, 6, 7, 8, 9], vec![0, 1, 2, 3, 4])]);
        assert_eq!(portions(3), [(vec![5, 6, 7], vec![0, 1, 2]), (vec![8, 9], vec![3, 4])]);
        let nothing = Difference::default().in_portions(3);
        assert_eq!(nothing.map(|it| it.changed.len() + it.gone.len()).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn an_endpoint_is_found_by_its_id() {
        let set = set(&[(9, 1, ""), (3, 2, "")]);
        let weight = |id| set.get(id).map(|endpoint| endpoint.weight);
        assert_eq!([weight(3), weight(9), weight(4)], [Some(2), Some(1), None]);
    }
}
