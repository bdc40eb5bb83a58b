//! What a reload does to the connections that are open on a route. There is no other place that says so: what a dry run
//! tells and what connections do is this.

use std::sync::Arc;

use super::snapshot::{OnChange, Route};

/// What becomes of the open connections of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// They go on as they are.
    Kept,
    /// Their filters are asked to change between two messages.
    Swapped,
    /// They are closed with 1012 over the time of a drain.
    Closed,
}

impl Effect {
    /// That of a route in the place of another of this name, or of none in its place. How the new one wants to have it
    /// counts, and of one that is gone how it wanted it.
    pub fn of(before: &Arc<Route>, after: Option<&Arc<Route>>) -> Self {
        let Some(after) = after else {
            return if before.on_change == OnChange::Drain { Self::Closed } else { Self::Kept };
        };
        match after.on_change {
            OnChange::Drain if before.since != after.since => Self::Closed,
            // What they have kept so far, they are asked about when their route no longer keeps.
            OnChange::Swap if before.on_change != OnChange::Swap || !before.has_filters(&after.filters) => {
                Self::Swapped
            }
            _ => Self::Kept,
        }
    }

    /// In a word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::Swapped => "swapped",
            Self::Closed => "closed",
        }
    }
}
