//! Deflating messages (RFC 7692 section 7.2.1).
//!
//! Each piece is compressed with an empty window and ends on a byte, so pieces may follow each other in one message,
//! a receiver needs nothing that came before, and all connections of a worker share one compressor for each window
//! size.

use flate2::{Compress, Compression, FlushCompress, Status};

use super::cost;
use super::inflate::TAIL;

/// The compressors of one worker, each made when it is first needed: 300 KiB at most.
#[derive(Debug, Default)]
pub struct Deflater {
    by_bits: [Option<Box<Compress>>; WINDOWS],
}

/// Window sizes that zlib can compress with: 9 to 15 bits.
const WINDOWS: usize = 7;

impl Deflater {
    /// Shorter pieces are stored: they do not get smaller, or not by enough to be worth the time, because emptying the
    /// window alone takes some 4 µs.
    pub const WORTH_DEFLATING: usize = 128;

    /// Appends a piece of a message to `compressed`, for a receiver with a window of `bits`. The last piece of a message,
    /// which may be empty, comes without the tail that RFC 7692 strips.
    ///
    /// A window of 8 bits is too small for zlib: such a receiver gets blocks that refer to nothing, and are no smaller.
    pub fn deflate(&mut self, bits: u8, plain: &[u8], last: bool, compressed: &mut Vec<u8>) {
        let start = compressed.len();
        let deflated = usize::from(bits)
            .checked_sub(9)
            .filter(|_| plain.len() >= Self::WORTH_DEFLATING)
            .and_then(|index| self.by_bits.get_mut(index))
            .map(|slot| {
                slot.get_or_insert_with(|| Box::new(Compress::new_with_window_bits(LEVEL, false, bits.clamp(9, 15))))
            })
            .is_some_and(|compressor| deflate(compressor, plain, compressed));
        if !deflated {
            compressed.truncate(start);
            store(plain, compressed);
        }
        if last {
            match compressed.len().checked_sub(TAIL.len()) {
                Some(end) if deflated => compressed.truncate(end),
                // The header of an empty block, whose length is the tail.
                _ => compressed.push(0),
            }
        }
    }
}

/// Compresses everything with an empty window; false when the compressor cannot.
fn deflate(compressor: &mut Compress, mut plain: &[u8], compressed: &mut Vec<u8>) -> bool {
    compressor.reset();
    cost::spend(RESET + plain.len());
    loop {
        let start = compressed.len();
        let room = plain.len() / 2 + ROOM_MIN;
        compressed.resize(start + room, 0);
        cost::spend(room);
        let before = (compressor.total_in(), compressor.total_out());
        let fresh = compressed.get_mut(start..).unwrap_or_default();
        let status = compressor.compress(plain, fresh, FlushCompress::Sync);
        let taken = usize::try_from(compressor.total_in() - before.0).unwrap_or(usize::MAX);
        let given = usize::try_from(compressor.total_out() - before.1).unwrap_or(usize::MAX);
        compressed.truncate(start.saturating_add(given));
        plain = plain.get(taken..).unwrap_or_default();
        match status {
            Ok(Status::Ok) if given == room => {}
            Ok(Status::Ok | Status::BufError) => return plain.is_empty() && compressed.ends_with(&TAIL),
            Ok(Status::StreamEnd) | Err(_) => return false,
        }
    }
}

/// Appends stored blocks (RFC 1951 section 3.2.4).
fn store(plain: &[u8], compressed: &mut Vec<u8>) {
    cost::spend(plain.len());
    for block in plain.chunks(usize::from(u16::MAX)) {
        let length = u16::try_from(block.len()).unwrap_or(u16::MAX);
        compressed.push(0);
        compressed.extend_from_slice(&length.to_le_bytes());
        compressed.extend_from_slice(&(!length).to_le_bytes());
        compressed.extend_from_slice(block);
    }
}

/// Saves all but a few percent of what the default level does, at half its cost on long messages.
const LEVEL: Compression = Compression::new(2);

/// What a reset costs: the heads of its hash chains are cleared, which goes faster than copying.
const RESET: usize = 16 << 10;

/// Room for a short message and the end of its last block.
const ROOM_MIN: usize = 256;

#[cfg(test)]
mod tests;
