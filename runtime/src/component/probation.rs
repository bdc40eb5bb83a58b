//! Uses that serve on probation: somebody above the host says until when.

use std::fmt::Debug;

use crate::metrics::WorkerIndex;

/// Who has a say in whether a use serves. Its sessions ask on any worker, each time that connections change hands.
pub trait Probation: Debug + Send + Sync {
    /// The name of the component whose place in a chain the use is tried for.
    fn of(&self) -> &str;

    /// Whether it still goes on.
    fn is_on(&self) -> bool;

    /// Whether the use has failed it, and is to serve nobody any more.
    fn has_failed(&self) -> bool;

    /// Takes note of a failure of the use on a worker. Says how many there were, where this was the one too many.
    fn failed(&self, worker: WorkerIndex) -> Option<u32>;
}
