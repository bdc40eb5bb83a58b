//! Inflating compressed messages (RFC 7692 section 7.2.2), in steps that end where a limit is passed.
//!
//! What comes out is never more than one step ahead of the limits, so a message that claims to be huge costs no more
//! than the limits allow. A block with BFINAL set ends the sender's window: what follows it starts with an empty one.

use flate2::{Decompress, FlushDecompress, Status};

use super::{SlidingWindow, Violation, cost};

/// The bytes that a sender strips from the end of every compressed message.
pub(super) const TAIL: [u8; 4] = [0, 0, 0xFF, 0xFF];

/// A stored block of no bytes, from its header on.
const EMPTY_BLOCK: [u8; 5] = [0, 0, 0, 0xFF, 0xFF];

/// How large a message may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InflateLimits {
    /// The most bytes that come out.
    pub max_size: usize,
    /// How many bytes may come out for each that went in, once they are more than [`InflateLimits::FREE`].
    pub max_ratio: Option<u32>,
}

impl InflateLimits {
    /// Those of what is not held.
    pub const NONE: Self = Self { max_size: usize::MAX, max_ratio: None };

    /// Up to this size, that of the largest window, the ratio does not matter: a message that repeats what the window
    /// holds may well compress to a thousandth.
    pub const FREE: u64 = 32 << 10;
}

/// How far a message has grown against its limits.
#[derive(Clone, Copy, Debug)]
pub struct Growth {
    limits: InflateLimits,
    compressed: u64,
    inflated: u64,
}

impl Growth {
    /// A message of which nothing has come.
    pub fn new(limits: InflateLimits) -> Self {
        Self { limits, compressed: 0, inflated: 0 }
    }

    /// What is still to come is not wanted: it may become as large as it likes.
    pub fn lift(&mut self) {
        self.limits = InflateLimits::NONE;
    }

    fn add(&mut self, compressed: usize, inflated: usize) -> Result<(), Violation> {
        let InflateLimits { max_size, max_ratio } = self.limits;
        self.compressed += compressed as u64;
        self.inflated += inflated as u64;
        if self.inflated > max_size as u64 {
            return Err(Violation::InflatedTooLarge { limit: max_size });
        }
        match max_ratio {
            Some(limit)
                if self.inflated > InflateLimits::FREE
                    && self.inflated > self.compressed.saturating_mul(limit.into()) =>
            {
                Err(Violation::CompressionRatio { limit })
            }
            _ => Ok(()),
        }
    }
}

/// The receiving end of one sender's compressed messages: 42 KiB, most of it the sliding window.
#[derive(Debug)]
pub struct Inflater {
    state: Decompress,
    /// Whether a block said that it is the last, so that whatever follows is a new stream.
    ended: bool,
}

impl Inflater {
    /// The bytes of memory that one takes.
    pub const SIZE: usize = 42 << 10;

    /// An inflater that has seen nothing.
    pub fn new(window: SlidingWindow) -> Self {
        // zlib knows no window of 8 bits; a larger one than the sender's reads the same.
        let bits = window.bits.clamp(9, 15);
        Self { state: Decompress::new_with_window_bits(false, bits), ended: false }
    }

    /// Forgets what it has seen, for a message that refers to nothing before it.
    pub fn reset(&mut self) {
        cost::spend(RESET);
        self.state.reset(false);
        self.ended = false;
    }

    /// Takes in the next bytes of a message and appends what comes out to `plain`.
    ///
    /// # Errors
    /// When these are no deflate data, or the message has passed a limit. The inflater is of no use afterwards.
    pub fn inflate(&mut self, bytes: &[u8], growth: &mut Growth, plain: &mut Vec<u8>) -> Result<(), Violation> {
        let start = plain.len();
        let mut filled = start;
        let inflated = self.inflate_into(bytes, growth, plain, &mut filled);
        cost::spend(bytes.len() + filled - start);
        plain.truncate(filled);
        inflated
    }

    /// Inflates to where `plain` is `filled` up to, and leaves cleared room behind it. Room is cleared again only when all
    /// of it was filled, or else a stream that ends after every other byte would have it cleared each time.
    fn inflate_into(
        &mut self,
        mut bytes: &[u8],
        growth: &mut Growth,
        plain: &mut Vec<u8>,
        filled: &mut usize,
    ) -> Result<(), Violation> {
        loop {
            if self.ended {
                if bytes.is_empty() {
                    return Ok(());
                }
                self.reset();
            }
            if *filled == plain.len() {
                let room = bytes.len().saturating_mul(4).clamp(STEP_MIN, STEP_MAX);
                plain.resize(*filled + room, 0);
                cost::spend(room);
            }
            let fresh = plain.get_mut(*filled..).unwrap_or_default();
            let room = fresh.len();
            let before = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(bytes, fresh, FlushDecompress::None);
            let taken = distance(before.0, self.state.total_in());
            let given = distance(before.1, self.state.total_out());
            *filled += given;
            growth.add(taken, given)?;
            bytes = bytes.get(taken..).unwrap_or_default();
            match status.map_err(|_| Violation::InvalidDeflate)? {
                Status::StreamEnd => self.ended = true,
                // More may be waiting for room.
                _ if given == room => {}
                _ if bytes.is_empty() => return Ok(()),
                _ if taken == 0 && given == 0 => return Err(Violation::InvalidDeflate),
                _ => {}
            }
        }
    }

    /// Ends a message and appends what is left of it to `plain`.
    ///
    /// # Errors
    /// As [`Inflater::inflate`].
    pub fn finish(&mut self, growth: &mut Growth, plain: &mut Vec<u8>) -> Result<(), Violation> {
        // What never began, or ended by itself, has no end to be put back.
        if self.ended || growth.compressed == 0 {
            return Ok(());
        }
        self.inflate(&TAIL, growth, plain)?;
        self.stands_between_blocks()
    }

    /// What stops inside a block would take the next message for the rest of it.
    fn stands_between_blocks(&mut self) -> Result<(), Violation> {
        if self.ended {
            return Ok(());
        }
        let before = self.state.total_out();
        // Between two blocks an empty one changes nothing, and anywhere else it is data, or none at all.
        let taken = self.state.decompress(&EMPTY_BLOCK, &mut [0; EMPTY_BLOCK.len()], FlushDecompress::None);
        match taken {
            Ok(Status::Ok | Status::BufError) if self.state.total_out() == before => Ok(()),
            _ => Err(Violation::InvalidDeflate),
        }
    }
}

/// What a reset touches: the state without the window, which is not cleared.
const RESET: usize = 64;

/// Room for a short message, whose end needs a little.
const STEP_MIN: usize = 512;
/// The most that comes out before the limits are looked at again.
const STEP_MAX: usize = 64 << 10;

fn distance(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
