//! Closing those of the connections that somebody names, also those that are still opening at that moment.
//!
//! A request that has begun may have been let in already and not be open yet, so it is not among the open ones. It holds a
//! place in the worker's line of dismissals, and looks when it opens which came after that place. A dismissal is kept as
//! long as somebody stands before it, so nothing is kept where no request is under way, and nobody who does not dismiss
//! pays for more than a count of references.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use super::connection::Connection;
use super::criteria::Criteria;
use crate::ws::CloseFrame;

/// Which connections are to be closed, and what both of their sides are told.
#[derive(Debug)]
pub struct Dismissal {
    /// Which.
    pub criteria: Criteria,
    /// What they are told.
    pub close: CloseFrame,
}

/// The end of the line of a worker.
#[derive(Debug, Default)]
pub(super) struct Dismissals(RefCell<Place>);

/// Where somebody stands in the line: whatever is dismissed from then on comes after it.
#[derive(Clone, Debug, Default)]
pub(super) struct Place(Rc<Next>);

#[derive(Debug, Default)]
struct Next(OnceCell<(Arc<Dismissal>, Place)>);

impl Dismissals {
    /// The end of the line now.
    pub(super) fn place(&self) -> Place {
        self.0.borrow().clone()
    }

    /// Has a dismissal come after all who have a place.
    pub(super) fn add(&self, dismissal: Arc<Dismissal>) {
        let last = self.0.replace(Place::default());
        // The last one has nobody behind it.
        let _ = last.0.0.set((dismissal, self.place()));
    }
}

impl Place {
    /// What a connection is told that has been dismissed since.
    pub(super) fn since(&self, connection: &Connection) -> Option<CloseFrame> {
        self.since_for(|criteria| criteria.holds_for(connection))
    }

    /// What somebody is told for whom such criteria hold.
    pub(super) fn since_for(&self, holds: impl Fn(&Criteria) -> bool) -> Option<CloseFrame> {
        let mut place = self;
        while let Some((dismissal, next)) = place.0.0.get() {
            if holds(&dismissal.criteria) {
                return Some(dismissal.close.clone());
            }
            place = next;
        }
        None
    }
}

/// One after the other: each within the one before it would take a frame of the stack for each.
impl Drop for Place {
    fn drop(&mut self) {
        let mut next = Rc::get_mut(&mut self.0).and_then(|next| next.0.take());
        while let Some((_, mut place)) = next {
            next = Rc::get_mut(&mut place.0).and_then(|next| next.0.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(dismissals: &Dismissals, code: u16) -> Arc<Dismissal> {
        let dismissal = Arc::new(Dismissal { criteria: Criteria::default(), close: CloseFrame::new(code, "") });
        dismissals.add(dismissal.clone());
        dismissal
    }

    fn next(place: &Place) -> Option<(u16, Place)> {
        place.0.0.get().map(|(dismissal, next)| (dismissal.close.code, next.clone()))
    }

    #[test]
    fn who_has_a_place_sees_what_comes_after_it_in_order_and_nothing_else() {
        let dismissals = Dismissals::default();
        add(&dismissals, 4000);
        let place = dismissals.place();
        assert!(next(&place).is_none());
        add(&dismissals, 4001);
        add(&dismissals, 4002);
        let (first, second) = next(&place).unwrap();
        assert_eq!((first, next(&second).unwrap().0), (4001, 4002));
        assert!(next(&dismissals.place()).is_none());
    }

    #[test]
    fn a_dismissal_that_nobody_stands_before_is_not_kept() {
        let dismissals = Dismissals::default();
        let gone = add(&dismissals, 4000);
        assert_eq!(Arc::strong_count(&gone), 1);
        let place = dismissals.place();
        let kept = add(&dismissals, 4001);
        assert_eq!(Arc::strong_count(&kept), 2);
        drop(place);
        assert_eq!(Arc::strong_count(&kept), 1);
    }

    #[test]
    fn a_line_of_any_length_ends_without_the_stack_of_its_length() {
        let dismissals = Dismissals::default();
        let place = dismissals.place();
        for _ in 0..200_000 {
            add(&dismissals, 4000);
        }
        drop(place);
        assert!(next(&dismissals.place()).is_none());
    }
}
