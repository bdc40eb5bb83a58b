//! What was read and cannot be dealt with before more is: the start of a frame that a filter wants whole, or what has to
//! wait for its turn.

use super::scratch::Scratch;
use crate::ws::cost;

/// Bytes that were read, in room for no more than twice as many: it grows with what has come, not with what a header
/// announces.
#[derive(Debug)]
pub(super) struct Carry {
    bytes: Vec<u8>,
    /// How many at the start are dealt with.
    done: usize,
}

impl Carry {
    /// Keeps these bytes; nothing for none.
    pub(super) fn of(bytes: &[u8]) -> Option<Box<Self>> {
        cost::spend(bytes.len());
        (!bytes.is_empty()).then(|| Box::new(Self { bytes: bytes.to_vec(), done: 0 }))
    }

    /// What is still to be dealt with.
    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.done..).unwrap_or_default()
    }

    /// The bytes of memory that it takes.
    pub(super) fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// How much to read behind what is here at most, towards `needed` bytes in all.
    pub(super) fn room_for(&self, needed: usize) -> usize {
        needed.saturating_sub(self.bytes().len()).clamp(Scratch::READ, Scratch::BULK)
    }

    /// Puts bytes behind what is here, of `needed` in all.
    pub(super) fn append(&mut self, more: &[u8], needed: usize, spare: &mut Vec<u8>) {
        let filled = self.bytes().len() + more.len();
        if self.bytes.capacity() - self.bytes.len() < more.len() {
            let most = 2 * filled;
            let wanted = needed.clamp(filled, most);
            // One that another large message has left is warm, but must not be more than this one may have.
            let fits = filled >= Scratch::READ && (wanted..=most).contains(&spare.capacity());
            let mut room = if fits { std::mem::take(spare) } else { Vec::with_capacity(wanted) };
            room.extend_from_slice(self.bytes());
            cost::spend(room.len());
            self.bytes = room;
            self.done = 0;
        }
        self.bytes.extend_from_slice(more);
        cost::spend(more.len());
    }

    /// What is left once `count` more bytes are dealt with. It stays where it is unless most of the room is for nothing,
    /// so that taking a little at a time from much does not move it each time.
    pub(super) fn consume(mut self: Box<Self>, count: usize, spare: &mut Vec<u8>) -> Option<Box<Self>> {
        self.done += count;
        if self.bytes().len() > self.done {
            return Some(self);
        }
        let rest = Self::of(self.bytes());
        let mut room = self.bytes;
        if room.capacity() > spare.capacity() && room.capacity() <= Scratch::KEPT {
            room.clear();
            *spare = room;
        }
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all of it, and says in how many reads; `needed` is what a frame's header announced.
    fn read(carry: &mut Carry, mut stream: &[u8], needed: usize, scratch: &mut Scratch) -> usize {
        let mut reads = 0;
        while !stream.is_empty() {
            let (came, rest) = stream.split_at(carry.room_for(needed).min(stream.len()));
            carry.append(came, needed, &mut scratch.spare);
            stream = rest;
            reads += 1;
            assert!(carry.room() <= 2 * carry.bytes().len(), "{} for {}", carry.room(), carry.bytes().len());
        }
        reads
    }

    #[test]
    fn room_is_for_twice_what_has_come_whatever_is_announced() {
        let mut scratch = Scratch { spare: Vec::with_capacity(4 << 20), ..Scratch::default() };
        let mut carry = Carry::of(&[1; 14]).unwrap();
        for count in [1, 1, 100, 70_000, 1] {
            read(&mut carry, &vec![2; count], 16 << 20, &mut scratch);
        }
        assert_eq!(carry.bytes().len(), 14 + 70_103);
    }

    #[test]
    fn a_large_frame_takes_a_read_for_each_256_kib_and_leaves_its_room_for_the_next() {
        let mut scratch = Scratch::default();
        let mut carry = Carry::of(&[1; 14]).unwrap();
        let size = 4 << 20;
        assert_eq!(read(&mut carry, &vec![2; size - 14], size, &mut scratch), 16);
        assert_eq!(carry.room(), size);
        assert!(carry.consume(size, &mut scratch.spare).is_none());
        assert_eq!(scratch.spare.capacity(), size);
        let mut next = Carry::of(&[1; 14]).unwrap();
        read(&mut next, &vec![2; size - 14], size, &mut scratch);
        assert_eq!((next.room(), scratch.spare.capacity()), (size, 0));
    }

    #[test]
    fn taking_a_little_at_a_time_moves_each_byte_a_few_times_at_most() {
        let size = 256 << 10;
        let mut scratch = Scratch::default();
        let cost = cost::of(|| {
            let mut carry = Carry::of(&vec![7; size]);
            while let Some(rest) = carry {
                let taken = rest.bytes().len().min(6);
                carry = rest.consume(taken, &mut scratch.spare);
            }
        });
        assert!(cost <= 3 * size as u64, "{cost}");
    }
}
