//! What others hold of an open connection.

use std::cell::RefCell;
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
    /// Boxed, because most connections never have any.
    attributes: RefCell<Option<Box<Attributes>>>,
}

type Attributes = Vec<(String, String)>;

impl Handle {
    /// The attributes that filters have set while the connection is open, by name.
    pub fn attributes(&self) -> Vec<(String, String)> {
        self.attributes.borrow().as_deref().cloned().unwrap_or_default()
    }

    /// Whether there is one among them, by its name and its value, that `ask` says yes to.
    pub fn any_attribute(&self, mut ask: impl FnMut(&str, &str) -> bool) -> bool {
        self.attributes.borrow().iter().flat_map(|known| known.iter()).any(|(name, value)| ask(name, value))
    }

    /// Sets attributes, in place of those of the same names.
    pub(super) fn set_attributes(&self, news: Attributes) {
        let mut attributes = self.attributes.borrow_mut();
        for (name, value) in news {
            let known = attributes.get_or_insert_default();
            match known.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => known.push((name, value)),
            }
        }
    }
}
