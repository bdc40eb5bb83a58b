//! What came back against what was sent: in order, once, unchanged.
//!
//! Each connection expects its own sequence numbers one after the other. A gap is lost until the missing message turns
//! up late (then it was reordered); whatever is left of the gaps at the end stays lost.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::frame::Opcode;
use crate::payload::Payloads;

/// Everything that went wrong with messages. All zero is the only good result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Sent and never back.
    pub lost: u64,
    /// Back with other bytes or another kind.
    pub changed: u64,
    /// Back after a later one of the same connection.
    pub reordered: u64,
    /// Back more than once.
    pub repeated: u64,
    /// Back on another connection.
    pub misdelivered: u64,
    /// Connections that ended with an error, or without being asked to.
    pub broken: u64,
}

impl Faults {
    /// Nothing went wrong.
    pub fn none(&self) -> bool {
        *self == Self::default()
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.lost += other.lost;
        self.changed += other.changed;
        self.reordered += other.reordered;
        self.repeated += other.repeated;
        self.misdelivered += other.misdelivered;
        self.broken += other.broken;
    }
}

/// The echoes one connection still waits for.
#[derive(Debug, Default)]
pub struct Order {
    next: u64,
    missing: BTreeSet<u64>,
}

impl Order {
    /// The sequence number that should come next.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes the message that should come next as undamaged.
    pub fn accept(&mut self) {
        self.next += 1;
    }

    /// Checks an echo.
    pub fn check(&mut self, payloads: &Payloads, connection: u32, opcode: Opcode, payload: &[u8], faults: &mut Faults) {
        if opcode == payloads.opcode(self.next) && payloads.matches(connection, self.next, payload) {
            self.accept();
            return;
        }
        match payloads.identify(opcode, payload) {
            Some((owner, _)) if owner != connection => faults.misdelivered += 1,
            Some((_, sequence)) if sequence > self.next => {
                // A gap longer than any window is not worth a set entry for each of its members.
                let gap = sequence - self.next;
                if gap <= LONGEST_GAP {
                    self.missing.extend(self.next..sequence);
                } else {
                    faults.lost += gap;
                }
                self.next = sequence + 1;
            }
            Some((_, sequence)) if self.missing.remove(&sequence) => faults.reordered += 1,
            Some(_) => faults.repeated += 1,
            None => {
                faults.changed += 1;
                self.next += 1;
            }
        }
    }

    /// Counts what never came back of the `sent` messages.
    pub fn finish(&mut self, sent: u64, faults: &mut Faults) {
        faults.lost += self.missing.len() as u64 + sent.saturating_sub(self.next);
        self.missing.clear();
        self.next = self.next.max(sent);
    }
}

const LONGEST_GAP: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Mix;

    fn faults_of(connection: u32, echoes: &[(u32, u64)], sent: u64) -> Faults {
        let payloads = Payloads::new(64, Mix::Both).unwrap();
        let (mut order, mut faults) = (Order::default(), Faults::default());
        for (owner, sequence) in echoes {
            let mut bytes = Vec::new();
            payloads.write(*owner, *sequence, &mut bytes);
            order.check(&payloads, connection, payloads.opcode(*sequence), &bytes, &mut faults);
        }
        order.finish(sent, &mut faults);
        faults
    }

    #[test]
    fn an_undisturbed_connection_has_no_faults() {
        assert!(faults_of(1, &[(1, 0), (1, 1), (1, 2)], 3).none());
    }

    #[test]
    fn a_gap_and_a_missing_tail_are_lost() {
        assert_eq!(faults_of(1, &[(1, 0), (1, 2)], 5), Faults { lost: 3, ..Faults::default() });
    }

    #[test]
    fn a_late_message_is_reordered_and_not_lost() {
        assert_eq!(faults_of(1, &[(1, 1), (1, 0), (1, 2)], 3), Faults { reordered: 1, ..Faults::default() });
    }

    #[test]
    fn a_second_copy_is_repeated() {
        assert_eq!(faults_of(1, &[(1, 0), (1, 0), (1, 1)], 2), Faults { repeated: 1, ..Faults::default() });
    }

    #[test]
    fn a_neighbours_message_is_misdelivered() {
        let faults = faults_of(1, &[(1, 0), (2, 1), (1, 1)], 2);
        assert_eq!(faults, Faults { misdelivered: 1, ..Faults::default() });
    }

    #[test]
    fn another_kind_with_the_same_bytes_is_changed() {
        let payloads = Payloads::new(64, Mix::Text).unwrap();
        let (mut order, mut faults, mut bytes) = (Order::default(), Faults::default(), Vec::new());
        payloads.write(1, 0, &mut bytes);
        order.check(&payloads, 1, Opcode::Binary, &bytes, &mut faults);
        order.finish(1, &mut faults);
        assert_eq!(faults, Faults { changed: 1, ..Faults::default() });
    }
}
