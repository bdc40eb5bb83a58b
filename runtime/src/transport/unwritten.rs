//! Bytes on their way to a stream that has not taken them yet.

/// A buffer of which the first bytes are written.
#[derive(Debug, Default)]
pub struct Unwritten {
    bytes: Vec<u8>,
    written: usize,
}

impl Unwritten {
    /// Nothing, with this room for what comes.
    pub fn within(mut room: Vec<u8>) -> Self {
        room.clear();
        Self { bytes: room, written: 0 }
    }

    /// Its room, without what is here.
    pub fn into_room(self) -> Vec<u8> {
        self.bytes
    }

    /// What is not written yet.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(self.written..).unwrap_or_default()
    }

    /// Whether everything is written.
    pub fn is_empty(&self) -> bool {
        self.written >= self.bytes.len()
    }

    /// The bytes of memory that it takes.
    pub fn room(&self) -> usize {
        self.bytes.capacity()
    }

    /// Puts bytes behind what is here.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Notes that so many more bytes are written.
    pub fn advance(&mut self, count: usize) {
        self.written += count;
    }
}
