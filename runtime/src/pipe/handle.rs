//! What others hold of an open connection.

use std::rc::Rc;

use super::{Change, Traffic};
use crate::drain::Switch;

/// The hold of the rest of a worker on one of its pipes. Outlives the pipe.
#[derive(Debug, Default)]
pub struct Handle {
    /// What the connection carried so far.
    pub traffic: Traffic,
    /// Ends it from outside, or changes its filters.
    pub switch: Switch<Rc<Change>>,
}
