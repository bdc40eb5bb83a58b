//! What routes must not share: names, and handshakes that the first of them keeps from the second for good.

use crate::config::{
    pattern::{HostPattern, PathPattern},
    problem::Place,
    reader::{Read, Table},
};

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
    /// Where both match equally well: a host, or any host.
    fn shared_host(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (self.hosts.as_ref()?, other.hosts.as_ref()?);
        if self.path.as_ref()? != other.path.as_ref()? {
            return None;
        }
        if ours.is_empty() && theirs.is_empty() {
            return Some("any host".to_owned());
        }
        ours.iter().find(|host| theirs.contains(host)).map(|host| format!("the host {host}"))
    }
}

/// Refuses routes of the same name, and those that an earlier one hides.
pub(super) fn distinct(root: &Table<'_>, claims: &[Claim]) -> Read<()> {
    let mut result = Ok(());
    for (index, claim) in claims.iter().enumerate() {
        let mut earlier = claims.iter().take(index);
        if let Some(name) = &claim.name
            && let Some(twin) = earlier.clone().find(|other| other.name.as_ref() == Some(name))
        {
            let what = format!("{name:?} is the name of the route of line {} already", twin.place.line);
            result = Err(root.refuse(&claim.name_place, what, "choose another name"));
        }
        let hidden =
            earlier.find_map(|other| claim.shared_host(other).filter(|_| !other.passes_on).map(|host| (other, host)));
        if let (Some((other, host)), Some(path)) = (hidden, &claim.path) {
            let what = format!(
                "no handshake for {host} and the path {path} gets here: the route of line {} takes them all",
                other.place.line
            );
            result =
                Err(root.refuse(&claim.place, what, "give one of them another path or host, or the first a `when`"));
        }
    }
    result
}
