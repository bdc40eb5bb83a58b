//! What was read and cannot be dealt with before more is: the start of a frame that a filter wants whole, or what has to
//! wait for its turn.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

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

    /// Reads once behind what is here, towards `needed` bytes in all; gives how many came, 0 at the end of the stream.
    ///
    /// It reads to where all connections of the worker do, so that one that waits for bytes has no room for them.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        needed: usize,
        scratch: &mut Scratch,
    ) -> Poll<io::Result<usize>> {
        let most = needed.saturating_sub(self.bytes().len()).clamp(Scratch::READ, Scratch::BULK);
        let mut buffer = ReadBuf::new(scratch.read.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        let count = buffer.filled().len();
        self.append(buffer.filled(), needed, &mut scratch.spare);
        Poll::Ready(Ok(count))
    }

    fn append(&mut self, more: &[u8], needed: usize, spare: &mut Vec<u8>) {
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
    use std::task::Waker;

    use super::*;

    /// Reads all of it, and says how often it read; `needed` is what a frame's header announced.
    fn read(carry: &mut Carry, mut stream: &[u8], needed: usize, scratch: &mut Scratch) -> usize {
        let mut context = Context::from_waker(Waker::noop());
        let mut reads = 0;
        loop {
            let Poll::Ready(count) = carry.poll_read(&mut context, &mut stream, needed, scratch) else {
                panic!("waits")
            };
            if count.unwrap() == 0 {
                return reads;
            }
            reads += 1;
            assert!(carry.room() <= 2 * carry.bytes().len(), "{} for {}", carry.room(), carry.bytes().len());
        }
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
