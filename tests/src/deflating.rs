//! permessage-deflate (RFC 7692) as an ordinary peer speaks it, with a window for each direction.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::{Frame, Opcode};

/// What every compressed message is stripped of.
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

/// One direction's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// 8 to 15.
    pub bits: u8,
    /// Whether messages refer to those before them.
    pub takeover: bool,
}

impl Window {
    /// Without parameters.
    pub const LARGEST: Self = Self { bits: 15, takeover: true };
}

/// The sender of compressed messages.
#[derive(Debug)]
pub struct Deflating {
    state: Compress,
    window: Window,
}

impl Deflating {
    /// A sender with an empty window.
    ///
    /// # Panics
    /// With 8 bits, because zlib has no such compressor.
    pub fn new(window: Window) -> Self {
        Self { state: Compress::new_with_window_bits(Compression::best(), false, window.bits), window }
    }

    /// A compressed text message in one frame.
    pub fn text(&mut self, text: impl AsRef<str>) -> Frame {
        self.message(Opcode::Text, text.as_ref().as_bytes())
    }

    /// A compressed message in one frame.
    pub fn message(&mut self, opcode: Opcode, payload: &[u8]) -> Frame {
        if !self.window.takeover {
            self.state.reset();
        }
        let mut compressed = Vec::with_capacity(payload.len() + 1024);
        self.state.compress_vec(payload, &mut compressed, FlushCompress::Sync).expect("compress");
        assert!(compressed.ends_with(&TAIL), "the flush did not fit");
        compressed.truncate(compressed.len() - TAIL.len());
        Frame::new(opcode, compressed).with_reserved(4)
    }
}

/// The receiver of compressed messages.
#[derive(Debug)]
pub struct Inflating {
    state: Decompress,
    window: Window,
}

impl Inflating {
    /// A receiver with an empty window.
    pub fn new(window: Window) -> Self {
        Self { state: Decompress::new_with_window_bits(false, window.bits.max(9)), window }
    }

    /// The text of a message in one frame, compressed or not.
    ///
    /// # Panics
    /// When it cannot be inflated with what was received before.
    pub fn text(&mut self, frame: &Frame) -> String {
        assert!(frame.is(Opcode::Text) && frame.fin, "no text in one frame: {frame:?}");
        self.payload(frame.reserved == 4, &frame.payload)
    }

    /// The text of a message's payload.
    ///
    /// # Panics
    /// As [`Inflating::text`].
    pub fn payload(&mut self, compressed: bool, payload: &[u8]) -> String {
        let plain = if compressed { self.inflate(payload) } else { payload.to_vec() };
        String::from_utf8(plain).expect("text")
    }

    fn inflate(&mut self, payload: &[u8]) -> Vec<u8> {
        if !self.window.takeover {
            self.state.reset(false);
        }
        let input = [payload, &TAIL].concat();
        let mut plain = Vec::with_capacity(1 << 20);
        let before = self.state.total_in();
        self.state.decompress_vec(&input, &mut plain, FlushDecompress::Sync).expect("what came can be inflated");
        assert_eq!(self.state.total_in() - before, input.len() as u64, "the message is larger than the test thinks");
        plain
    }
}
