//! Writing lines to somebody who may be gone.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Gathers lines until they are flushed or are many, and writes them with one call. What cannot be written is lost and
/// counted, and later lines are tried as if nothing had been; so it never fails.
pub(super) struct Lossy<W> {
    log: &'static str,
    target: W,
    gathered: Vec<u8>,
    lost: Arc<AtomicU64>,
    is_losing: bool,
}

impl<W: Write> Lossy<W> {
    /// Writes to `target`; what is returned beside counts the lines that are lost.
    pub(super) fn new(log: &'static str, target: W) -> (Self, Arc<AtomicU64>) {
        let lost = Arc::<AtomicU64>::default();
        (Self { log, target, gathered: Vec::with_capacity(WRITE_SIZE), lost: lost.clone(), is_losing: false }, lost)
    }

    fn write_out(&mut self) {
        let mut left = self.gathered.as_slice();
        let mut error = None;
        while !left.is_empty() && error.is_none() {
            match self.target.write(left) {
                Ok(0) => error = Some(ErrorKind::WriteZero.into()),
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(refused) if refused.kind() == ErrorKind::Interrupted => {}
                Err(refused) => error = Some(refused),
            }
        }
        let lost = left.iter().filter(|byte| **byte == b'\n').count();
        self.gathered.clear();
        self.lost.fetch_add(lost as u64, Ordering::Relaxed);
        if let Some(error) = &error
            && !self.is_losing
        {
            tracing::warn!(log = self.log, %error, "lines of a log are lost");
        }
        self.is_losing = error.is_some();
    }
}

impl<W: Write> Write for Lossy<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= WRITE_SIZE {
            self.write_out();
        }
        Ok(bytes.len())
    }

    /// To be called by a thread of its own, when there are no more lines.
    fn flush(&mut self) -> io::Result<()> {
        self.write_out();
        // It keeps nothing back that it took.
        let _ = self.target.flush();
        // A line for which nobody waits costs who writes it no wake-up, which is more than the line itself costs.
        thread::sleep(GATHER);
        Ok(())
    }
}

/// Nobody reads a log faster than this; a line that comes after a while is written at once.
const GATHER: Duration = Duration::from_millis(10);
const WRITE_SIZE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes so many bytes and then none, until it is given room again.
    struct Disk {
        room: usize,
        taken: Vec<u8>,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let count = bytes.len().min(self.room);
            if count == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= count;
            self.taken.extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_find_no_room_are_counted_and_later_ones_are_written() {
        let (mut lossy, lost) = Lossy::new("access", Disk { room: 8, taken: Vec::new() });
        for line in ["one\n", "two\n", "three\n", "four\n"] {
            lossy.write_all(line.as_bytes()).unwrap();
        }
        lossy.flush().unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        lossy.target.room = 100;
        lossy.write_all(b"five\n").unwrap();
        lossy.flush().unwrap();
        assert_eq!(lost.load(Ordering::Relaxed), 2);
        assert_eq!(lossy.target.taken, b"one\ntwo\nfive\n");
    }
}
