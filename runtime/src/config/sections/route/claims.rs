//! What routes must not share: names, and handshakes that the first of them keeps from the second for good.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::config::{
    reader::{Read, Table},
    source::Place,
};
use crate::route::{HostPattern, PathPattern};

/// What a route lays claim to, as far as it could be read.
pub(super) struct Claim {
    pub(super) name: Option<String>,
    pub(super) hosts: Option<Vec<HostPattern>>,
    pub(super) path: Option<PathPattern>,
    /// Whether it may leave a handshake that it matches to the next route.
    pub(super) passes_on: bool,
    pub(super) name_place: Place,
    pub(super) place: Place,
}

impl Claim {
    /// Each host that it serves with its path; `None` is any host.
    fn pairs(&self) -> impl Iterator<Item = (Option<&HostPattern>, &PathPattern)> {
        let both = self.hosts.as_ref().zip(self.path.as_ref());
        both.into_iter().flat_map(|(hosts, path)| {
            let any = hosts.is_empty().then_some((None, path));
            any.into_iter().chain(hosts.iter().map(move |host| (Some(host), path)))
        })
    }
}

/// Refuses routes of the same name, and those that an earlier one hides.
pub(super) fn distinct(root: &Table<'_>, claims: &[Claim]) -> Read<()> {
    let mut names: HashMap<&str, &Claim> = HashMap::new();
    // The first route that takes all handshakes for a host and a path.
    let mut taken: HashMap<(Option<&HostPattern>, &PathPattern), usize> = HashMap::new();
    let mut result = Ok(());
    for (index, claim) in claims.iter().enumerate() {
        if let Some(name) = &claim.name {
            match names.entry(name) {
                Entry::Vacant(free) => drop(free.insert(claim)),
                Entry::Occupied(twin) => {
                    let line = twin.get().place.seen_from(&claim.name_place);
                    let what = format!("{name:?} is the name of the route of {line} already");
                    result = Err(root.refuse(&claim.name_place, what, "choose another name"));
                }
            }
        }
        let hidden = claim.pairs().filter_map(|pair| Some((*taken.get(&pair)?, pair))).min_by_key(|(other, _)| *other);
        if let Some((other, (host, path))) = hidden.and_then(|(other, pair)| Some((claims.get(other)?, pair))) {
            let host = host.map_or_else(|| "any host".to_owned(), |host| format!("the host {host}"));
            let line = other.place.seen_from(&claim.place);
            let what =
                format!("no handshake for {host} and the path {path} gets here: the route of {line} takes them all");
            result =
                Err(root.refuse(&claim.place, what, "give one of them another path or host, or the first a `when`"));
        }
        if !claim.passes_on {
            for pair in claim.pairs() {
                taken.entry(pair).or_insert(index);
            }
        }
    }
    result
}
