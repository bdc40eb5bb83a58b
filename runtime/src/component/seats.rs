//! Places for instances that serve one connection each: who gets one when there are few.
//!
//! A connection gets one as long as there is one. A shadow gets one of many, and gives it up to a connection that finds
//! none. A successor that takes a connection over gets its predecessor's: both live for a moment, and the room for that is
//! set aside, so that filters can change when all places are taken.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::metrics::{InstanceHolder, IsolatedInstances};

/// The places of a process.
#[derive(Debug)]
pub(super) struct Seats {
    counts: Arc<IsolatedInstances>,
    /// Left to connections by shadows.
    kept: usize,
    /// What is set aside for takeovers, as far as none is under way.
    passing: AtomicUsize,
}

/// A place. It is given back on drop.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    holder: Holder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holder {
    Counted(InstanceHolder),
    /// One of a takeover under way.
    Passing,
}

impl Seats {
    /// So many places, and so many more for takeovers under way.
    pub(super) fn new(most: usize, passing: usize, counts: Arc<IsolatedInstances>) -> Arc<Self> {
        counts.add(InstanceHolder::Free, most);
        Arc::new(Self { counts, kept: (most / LEFT_BY_SHADOWS).max(1), passing: AtomicUsize::new(passing) })
    }

    /// A place for a connection; `None` when all are taken.
    pub(super) fn for_connection(self: &Arc<Self>) -> Option<Seat> {
        self.take(InstanceHolder::Connection, 0)
    }

    /// A place for a shadow; `None` when connections might need it.
    pub(super) fn for_shadow(self: &Arc<Self>) -> Option<Seat> {
        self.take(InstanceHolder::Shadow, self.kept)
    }

    /// A place for a successor until it has its predecessor's; `None` when more take over at once than is set aside for.
    pub(super) fn for_takeover(self: &Arc<Self>) -> Option<Seat> {
        let taken = self.passing.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        taken.ok().map(|_| Seat { seats: Arc::clone(self), holder: Holder::Passing })
    }

    fn take(self: &Arc<Self>, holder: InstanceHolder, left: usize) -> Option<Seat> {
        let seat = || Seat { seats: Arc::clone(self), holder: Holder::Counted(holder) };
        self.counts.take(holder, left).then(seat)
    }
}

impl Seat {
    /// The same place, which a shadow gives up to a connection.
    pub(super) fn given_up(mut self) -> Self {
        let counts = &self.seats.counts;
        if let Holder::Counted(holder @ InstanceHolder::Shadow) = self.holder {
            counts.sub(holder, 1);
            counts.add(InstanceHolder::Connection, 1);
            self.holder = Holder::Counted(InstanceHolder::Connection);
        }
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        match self.holder {
            Holder::Counted(holder) => {
                self.seats.counts.sub(holder, 1);
                self.seats.counts.add(InstanceHolder::Free, 1);
            }
            Holder::Passing => drop(self.seats.passing.fetch_add(1, Ordering::Relaxed)),
        }
    }
}

/// Shadows leave a fourth of all places, and one in any case.
const LEFT_BY_SHADOWS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(most: usize) -> (Arc<Seats>, impl Fn() -> [usize; InstanceHolder::COUNT]) {
        let counts = Arc::new(IsolatedInstances::default());
        let seats = Seats::new(most, 1, Arc::clone(&counts));
        (seats, move || std::array::from_fn(|index| counts.of(InstanceHolder::ALL[index])))
    }

    #[test]
    fn a_seat_is_given_back() {
        let (seats, counts) = seats(1);
        let seat = seats.for_connection();
        assert!(seat.is_some() && seats.for_connection().is_none());
        assert_eq!(counts(), [0, 1, 0]);
        drop(seat);
        assert!(seats.for_connection().is_some());
        assert_eq!(counts(), [1, 0, 0]);
    }

    #[test]
    fn shadows_leave_a_fourth_of_all_seats_and_one_in_any_case() {
        for (most, shadows) in [(0, 0), (1, 0), (2, 1), (4, 3), (8, 6), (100, 75)] {
            let (seats, counts) = seats(most);
            let taken: Vec<_> = std::iter::from_fn(|| seats.for_shadow()).collect();
            assert_eq!((taken.len(), counts()), (shadows, [most - shadows, 0, shadows]), "of {most}");
        }
    }

    #[test]
    fn a_seat_that_a_shadow_gives_up_is_a_connections() {
        let (seats, counts) = seats(2);
        let seat = seats.for_shadow().unwrap().given_up();
        assert_eq!(counts(), [1, 1, 0]);
        drop(seat);
        assert_eq!(counts(), [2, 0, 0]);
    }

    #[test]
    fn takeovers_have_seats_of_their_own() {
        let (seats, counts) = seats(0);
        let passing = seats.for_takeover();
        assert!(passing.is_some() && seats.for_takeover().is_none());
        drop(passing);
        assert!(seats.for_takeover().is_some());
        assert_eq!(counts(), [0, 0, 0]);
    }
}
