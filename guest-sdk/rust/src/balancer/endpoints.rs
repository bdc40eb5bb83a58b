//! The set of endpoints that follows from what `update` tells.

use std::ops::Deref;

use super::Endpoint;

/// The endpoints that are there, in ascending order of their ids.
///
/// An [`update`](Self::update) that only changes endpoints costs what has changed; one that brings or takes some goes
/// through the set once.
///
/// ```
/// use tidegate_guest::{Endpoint, Endpoints};
///
/// let endpoint = |id, weight| Endpoint { id, weight, ..Endpoint::default() };
/// let mut endpoints = Endpoints::default();
/// endpoints.update(vec![endpoint(1, 50), endpoint(2, 50), endpoint(3, 50)], &[]);
/// endpoints.update(vec![endpoint(3, 10), endpoint(4, 50)], &[1]);
/// let set: Vec<_> = endpoints.iter().map(|endpoint| (endpoint.id, endpoint.weight)).collect();
/// assert_eq!(set, [(2, 50), (3, 10), (4, 50)]);
/// assert_eq!(endpoints.find(3).map(|endpoint| endpoint.weight), Some(10));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(Vec<Endpoint>);

impl Endpoints {
    /// Takes over what [`Balancer::update`](super::Balancer::update) was told.
    pub fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
        if !gone.is_empty() {
            self.0.retain(|endpoint| gone.binary_search(&endpoint.id).is_err());
        }
        let known = self.0.len();
        for endpoint in changed {
            let place = self.0.get(..known).and_then(|known| place(known, endpoint.id));
            match place.and_then(|place| self.0.get_mut(place)) {
                Some(before) => *before = endpoint,
                None => self.0.push(endpoint),
            }
        }
        // New ids are larger than all before them, but for endpoints that were disabled for a while.
        if self.0.len() > known {
            self.0.sort_by_key(|endpoint| endpoint.id);
        }
    }

    /// The endpoint of this id, if it is there.
    pub fn find(&self, id: u32) -> Option<&Endpoint> {
        place(&self.0, id).and_then(|place| self.0.get(place))
    }
}

impl Deref for Endpoints {
    type Target = [Endpoint];

    fn deref(&self) -> &[Endpoint] {
        &self.0
    }
}

impl<'a> IntoIterator for &'a Endpoints {
    type Item = &'a Endpoint;
    type IntoIter = std::slice::Iter<'a, Endpoint>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

fn place(endpoints: &[Endpoint], id: u32) -> Option<usize> {
    endpoints.binary_search_by_key(&id, |endpoint| endpoint.id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::EndpointChanges;

    #[test]
    fn whatever_is_told_the_set_is_what_is_there() {
        for seed in 0..50 {
            let mut endpoints = Endpoints::default();
            for change in EndpointChanges::of(seed).take(100) {
                endpoints.update(change.changed, &change.gone);
                assert_eq!(*endpoints, *change.all, "seed {seed}");
                assert!(change.all.iter().all(|endpoint| endpoints.find(endpoint.id) == Some(endpoint)));
                assert!(change.gone.iter().all(|id| endpoints.find(*id).is_none()));
            }
        }
    }

    #[test]
    fn metadata_is_found_by_its_name() {
        let metadata = [("os", "linux"), ("version", "2.1")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let endpoint = Endpoint { metadata: metadata.into(), ..Endpoint::default() };
        let named = ["os", "version", "", "z"].map(|name| endpoint.metadata_named(name));
        assert_eq!(named, [Some("linux"), Some("2.1"), None, None]);
    }
}
