//! Which peers' messages a filter is about: a noun that most configurations need.

use serde::Deserialize;

use super::{Interest, Selection};
use crate::Side;

/// Whose messages; `"client"`, `"upstream"` or `"both"` in a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origins {
    /// Those that the client sends.
    Client,
    /// Those that the upstream sends.
    Upstream,
    /// Those of both peers.
    Both,
}

impl Origins {
    /// Whether messages of this peer are meant.
    pub fn contains(self, side: Side) -> bool {
        match self {
            Self::Client => side == Side::Client,
            Self::Upstream => side == Side::Upstream,
            Self::Both => true,
        }
    }

    /// The interest in a selection of these peers' messages.
    pub fn interest(self, selection: Selection) -> Interest {
        match self {
            Self::Client => Interest::from_client(selection),
            Self::Upstream => Interest::from_upstream(selection),
            Self::Both => Interest::both(selection),
        }
    }
}
