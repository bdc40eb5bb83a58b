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
use tidegate_guest::{Balancer, Endpoint, Handshake, export_balancer};

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
    endpoints: Vec<Endpoint>,
    #[serde(skip)]
    owners: Owners,
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

#[derive(Debug, Default)]
enum Owners {
    /// No update has come yet.
    #[default]
    Nobody,
    Table(Table),
    Ring(Ring),
}

impl Owners {
    /// The endpoints in the order in which they are to be tried for a key, with repetitions.
    fn walk<'a>(&'a self, key: &[u8]) -> Box<dyn Iterator<Item = u32> + 'a> {
        match self {
            Self::Nobody => Box::new(std::iter::empty()),
            Self::Table(table) => Box::new(table.walk(key)),
            Self::Ring(ring) => Box::new(ring.walk(key)),
        }
    }
}

impl Balancer for ConsistentHash {
    fn update(&mut self, endpoints: Vec<Endpoint>) {
        self.owners = match self.compat {
            Compat::ShenYu => {
                Owners::Ring(Ring::new(endpoints.iter().map(|endpoint| (endpoint.id, endpoint.url.as_str()))))
            }
            Compat::None => {
                let members = candidates(&endpoints, &[]).into_iter().filter_map(|candidate| {
                    let endpoint = endpoints.get(candidate.index)?;
                    Some(Member { id: candidate.id, url: &endpoint.url, weight: candidate.weight })
                });
                Owners::Table(Table::new(members.collect()))
            }
        };
        self.endpoints = endpoints;
    }

    fn pick(&mut self, handshake: &Handshake, tried: &[u32]) -> Option<u32> {
        let is_untried = |id: &u32| tried.binary_search(id).is_err();
        let mut walk = self.owners.walk(&self.key.of(handshake));
        let owner = walk.next()?;
        if is_untried(&owner) {
            return Some(owner);
        }
        // Endpoints of weight 0 own nothing, but one of them is better than one that has failed.
        let spare = || self.endpoints.iter().map(|endpoint| endpoint.id).find(is_untried);
        walk.find(is_untried).or_else(spare).or(Some(owner))
    }
}

export_balancer!(ConsistentHash);

#[cfg(test)]
mod tests;
