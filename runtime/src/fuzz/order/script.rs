//! What one peer says: messages in frames, and control frames between and inside of them.

use flate2::{Compress, Compression, FlushCompress};

use super::{Dice, Route};
use crate::peer::{MessageKind, Side};
use crate::ws::{Deflater, FrameHeader, Opcode, SlidingWindow, extend_masked};

/// All that a peer says.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) from: Side,
    pub(super) messages: Vec<Message>,
    /// Each with its place: twice the number of the message that it stands before, and one more inside of it.
    pub(super) controls: Vec<(usize, Opcode, Vec<u8>)>,
    pub(super) wire: Vec<u8>,
    /// Where the messages end in it, and how many control frames there are up to there.
    pub(super) ends: Vec<(usize, usize)>,
    pub(super) ending: Ending,
}

/// A data message.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) kind: MessageKind,
    pub(super) payload: Vec<u8>,
}

/// How a peer ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// With a close frame.
    Close,
    /// Without.
    Vanish,
}

impl Script {
    pub(super) fn roll(from: Side, route: &Route, size: usize, dice: &mut Dice) -> Self {
        let mut script = Self {
            from,
            messages: Vec::new(),
            controls: Vec::new(),
            wire: Vec::new(),
            ends: Vec::new(),
            ending: if dice.one_in(6) { Ending::Vanish } else { Ending::Close },
        };
        let mut compressor = route.window(from).map(Compressor::new);
        for number in 0..dice.below(size) {
            while dice.one_in(5) {
                script.control(2 * number, dice);
            }
            script.message(number, compressor.as_mut(), dice);
            script.ends.push((script.wire.len(), script.controls.len()));
        }
        script
    }

    fn control(&mut self, place: usize, dice: &mut Dice) {
        let opcode = if dice.one_in(2) { Opcode::Ping } else { Opcode::Pong };
        let payload = format!("C{}", self.controls.len()).into_bytes();
        self.frame(FrameHeader::new(opcode, 0), &payload, dice);
        self.controls.push((place, opcode, payload));
    }

    fn message(&mut self, number: usize, compressor: Option<&mut Compressor>, dice: &mut Dice) {
        let kind = if dice.one_in(2) { MessageKind::Text } else { MessageKind::Binary };
        let len = match dice.below(20) {
            0 => 0,
            1 => dice.below(70_000),
            2..5 => dice.below(2000),
            _ => dice.below(60),
        };
        let mut payload = format!("M{number} ").into_bytes();
        while payload.len() < len {
            payload.extend_from_slice([&b"lorem "[..], b"ipsum ", b"dolor ", b"sit amet "][dice.below(4)]);
        }
        let compressed = compressor.filter(|_| !dice.one_in(4)).map(|compressor| compressor.deflate(&payload));
        let reserved = if compressed.is_some() { FrameHeader::RSV1 } else { 0 };
        let bytes = compressed.as_ref().unwrap_or(&payload).clone();
        let count = if dice.one_in(2) { 1 } else { 1 + dice.below(4) };
        let mut cuts: Vec<usize> = (1..count).map(|_| dice.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(bytes.len());
        let mut start = 0;
        for (index, end) in cuts.iter().copied().enumerate() {
            while index > 0 && dice.one_in(3) {
                self.control(2 * number + 1, dice);
            }
            let opcode = match (index, kind) {
                (0, MessageKind::Text) => Opcode::Text,
                (0, MessageKind::Binary) => Opcode::Binary,
                _ => Opcode::Continuation,
            };
            let reserved = if index == 0 { reserved } else { 0 };
            let header = FrameHeader { fin: index + 1 == cuts.len(), reserved, ..FrameHeader::new(opcode, 0) };
            self.frame(header, &bytes[start..end], dice);
            start = end;
        }
        self.messages.push(Message { kind, payload });
    }

    fn frame(&mut self, header: FrameHeader, payload: &[u8], dice: &mut Dice) {
        let mask = (self.from == Side::Client).then(|| dice.next().to_le_bytes()[..4].try_into().unwrap());
        FrameHeader { mask, payload_len: payload.len() as u64, ..header }.encode(&mut self.wire);
        match mask {
            Some(key) => extend_masked(&mut self.wire, payload, key),
            None => self.wire.extend_from_slice(payload),
        }
    }
}

/// A sender's compressor, with a window of its own.
struct Compressor {
    state: Compress,
    window: SlidingWindow,
}

impl Compressor {
    fn new(window: SlidingWindow) -> Self {
        Self { state: Compress::new_with_window_bits(Compression::new(6), false, window.bits.max(9)), window }
    }

    fn deflate(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut compressed = Vec::with_capacity(plain.len() + 100);
        // zlib does not compress with 8 bits, but a sender may always store.
        if self.window.bits == 8 {
            Deflater::default().deflate(8, plain, true, &mut compressed);
            return compressed;
        }
        if !self.window.takeover {
            self.state.reset();
        }
        self.state.compress_vec(plain, &mut compressed, FlushCompress::Sync).unwrap();
        compressed.truncate(compressed.len() - 4);
        compressed
    }
}
