//! What a reload is doing, for those who wait for it, and how it learns that nobody does any longer.

use std::cell::Cell;
use std::fmt;
use std::path::{Path, PathBuf};

/// Something that may take long: it waits for a file system, a compiler or a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// It has just begun.
    Beginning,
    /// Reads this file, or the names in a directory.
    Reading(PathBuf),
    /// Compiles the component with this name, or takes it from the cache.
    Compiling(String),
    /// Has this component take a configuration.
    Configuring(String),
    /// Removes from the cache what nobody uses.
    Sweeping,
    /// Opens listeners.
    Listening,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => formatter.write_str("beginning"),
            Self::Reading(path) => write!(formatter, "reading {}", path.display()),
            Self::Compiling(component) => write!(formatter, "compiling component `{component}`"),
            Self::Configuring(component) => write!(formatter, "configuring component `{component}`"),
            Self::Sweeping => formatter.write_str("sweeping the cache of components"),
            Self::Listening => formatter.write_str("opening listeners"),
        }
    }
}

/// Hears of each step before it is taken.
pub struct Steps<'s> {
    /// Says whether to go on.
    hear: &'s dyn Fn(Step) -> bool,
    is_given_up: Cell<bool>,
}

impl<'s> Steps<'s> {
    /// Tells each step to `hear`, which says whether to go on with it.
    pub fn told(hear: &'s dyn Fn(Step) -> bool) -> Self {
        Self { hear, is_given_up: Cell::new(false) }
    }

    /// Nobody needs to know.
    pub fn untold() -> Self {
        Self::told(&|_| true)
    }

    /// Tells of a step that begins; whether to take it. Once that is not so, it is not for any further step either.
    pub fn take(&self, step: Step) -> bool {
        let is_given_up = self.is_given_up.get() || !(self.hear)(step);
        self.is_given_up.set(is_given_up);
        !is_given_up
    }

    /// Whether nobody waits any longer.
    pub fn are_given_up(&self) -> bool {
        self.is_given_up.get()
    }

    pub(super) fn configuring(&self, component: &str) -> bool {
        self.take(Step::Configuring(component.to_owned()))
    }

    pub(super) fn reading(&self, path: &Path) -> bool {
        self.take(Step::Reading(path.to_owned()))
    }
}
