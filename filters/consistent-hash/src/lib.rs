//! The standard balancer `consistent-hash`: the same key goes to the same endpoint, on every worker and every proxy,
//! for as long as the endpoint is there.
//!
//! What is hashed is a key; which endpoint has the hash is told by a table (`maglev`) or, for those
//! who come from ShenYu, by its ring (`shenyu`). Nothing of a pick is remembered.

mod hash;
mod key;
mod maglev;
mod shenyu;

use serde::Deserialize;
use tidegate_candidates::candidates;
use tidegate_guest::{Balancer, Choice, Endpoint, Endpoints, Handshake, export_balancer};

use crate::key::Key;
use crate::maglev::{Member, Table};
use crate::shenyu::Ring;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsistentHash {
    #[serde(default)]
    key: Key,
    #[serde(default)]
    compat: Compat,
    #[serde(skip)]
    endpoints: Endpoints,
    /// None before the first pick, and after a change of what it is made of.
    #[serde(skip)]
    table: Option<Table>,
    /// In the place of a table, for who comes from ShenYu.
    #[serde(skip)]
    ring: Ring,
}

/// Whose placement of keys is reproduced.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(try_from = "String")]
enum Compat {
    #[default]
    None,
    ShenYu,
}

impl TryFrom<String> for Compat {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "shenyu" => Ok(Self::ShenYu),
            _ => Err(format!("compat: {text:?} is unknown; write \"shenyu\" or leave it out")),
        }
    }
}

impl ConsistentHash {
    /// The endpoints in the order in which they are to be tried for a key, with repetitions.
    fn walk<'a>(&'a self, key: &[u8]) -> Box<dyn Iterator<Item = u32> + 'a> {
        match &self.table {
            Some(table) => Box::new(table.walk(key)),
            None => Box::new(self.ring.walk(key)),
        }
    }
}

fn table(endpoints: &[Endpoint]) -> Table {
    let members = candidates(endpoints, &[]).into_iter().filter_map(|candidate| {
        let endpoint = endpoints.get(candidate.index)?;
        Some(Member { id: candidate.id, url: &endpoint.url, weight: candidate.weight })
    });
    Table::new(members.collect())
}

impl Balancer for ConsistentHash {
    fn update(&mut self, changed: Vec<Endpoint>, gone: &[u32]) {
        match self.compat {
            Compat::None => {
                let is_same = |endpoint: &Endpoint| {
                    self.endpoints.find(endpoint.id).is_some_and(|before| before.weight == endpoint.weight)
                };
                // Another zone, say, moves no key.
                if !gone.is_empty() || !changed.iter().all(is_same) {
                    self.table = None;
                }
            }
            Compat::ShenYu => {
                self.ring.remove(gone);
                let joined = changed.iter().filter(|endpoint| self.endpoints.find(endpoint.id).is_none());
                self.ring.insert(joined.map(|endpoint| (endpoint.id, endpoint.url.as_str())));
            }
        }
        self.endpoints.update(changed, gone);
    }

    fn pick(&mut self, handshake: &Handshake, tried: &[u32]) -> Option<Choice> {
        if matches!(self.compat, Compat::None) && self.table.is_none() {
            self.table = Some(table(&self.endpoints));
        }
        let is_untried = |id: &u32| tried.binary_search(id).is_err();
        let mut walk = self.walk(&self.key.of(handshake));
        let owner = walk.next()?;
        if is_untried(&owner) {
            return Some(Choice::of(owner));
        }
        // Endpoints of weight 0 own nothing, but one of them is better than one that has failed.
        let spare = || self.endpoints.iter().map(|endpoint| endpoint.id).find(is_untried);
        walk.find(is_untried).or_else(spare).or(Some(owner)).map(Choice::of)
    }
}

export_balancer!(ConsistentHash);

#[cfg(test)]
mod tests;
