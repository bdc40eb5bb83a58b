//! What was read and cannot be dealt with before more is: the start of a frame that a filter wants whole.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::scratch::Scratch;

/// The bytes read so far, and room for more. Room grows with what has come, not with what a header announces.
#[derive(Debug)]
pub(super) struct Carry {
    /// Zeroed once, so that reading needs no more than that.
    room: Vec<u8>,
    filled: usize,
}

impl Carry {
    /// Keeps these bytes; nothing for none.
    pub(super) fn of(bytes: &[u8]) -> Option<Box<Self>> {
        (!bytes.is_empty()).then(|| Box::new(Self { room: bytes.to_vec(), filled: bytes.len() }))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.room.get(..self.filled).unwrap_or_default()
    }

    /// Reads once behind what is here, towards `needed` bytes in all; gives how many came, 0 at the end of the stream.
    pub(super) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        needed: usize,
        spare: &mut Vec<u8>,
    ) -> Poll<io::Result<usize>> {
        if self.filled == self.room.len() {
            self.grow(needed, spare);
        }
        let mut buffer = ReadBuf::new(self.room.get_mut(self.filled..).unwrap_or_default());
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        let count = buffer.filled().len();
        self.filled += count;
        Poll::Ready(Ok(count))
    }

    fn grow(&mut self, needed: usize, spare: &mut Vec<u8>) {
        let most = 2 * self.filled.max(Scratch::READ);
        let wanted = needed.clamp(self.filled + 1, most);
        // A much larger buffer would let a slow sender hold memory that it has not filled.
        let fits = (wanted..=2 * most).contains(&spare.len());
        match spare.get_mut(..self.filled).filter(|_| fits) {
            Some(start) => {
                start.copy_from_slice(self.room.get(..self.filled).unwrap_or_default());
                std::mem::swap(&mut self.room, spare);
            }
            None => self.room.resize(wanted, 0),
        }
    }

    /// Leaves the buffer to the worker, for the next large message.
    pub(super) fn give_back(self, spare: &mut Vec<u8>) {
        if self.room.len() > spare.len() && self.room.len() <= Scratch::KEPT {
            *spare = self.room;
        }
    }
}
