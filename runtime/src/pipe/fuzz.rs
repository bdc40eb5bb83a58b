//! A walk over any bytes, in any pieces, with any interests: what comes of it is the same, and valid.

use crate::component::Payload;
use crate::metrics::{MessageKind, Side};
use crate::pipe::chain::Batch;
use crate::pipe::emit::Emission;
use crate::pipe::item::{Fate, Finds, Found, Item, PingToken, Seen, Stop, Tally};
use crate::pipe::walk::Walk;
use crate::ws::fuzz::{End, Frame, relayed, written};
use crate::ws::{FrameHeader, FrameSequence};

/// Walks over what follows six bytes of settings, once whole and once in pieces.
///
/// # Panics
/// When the pieces change something, when what goes on is no valid sequence of frames, or when something that nobody
/// wants does not go on as it came.
pub fn messages(data: &[u8]) {
    let Some((settings, wire)) = data.split_first_chunk::<6>() else { return };
    let settings = Settings::read(*settings);
    let whole = settings.walk([wire].into_iter());
    let pieces = settings.walk(wire.chunks(settings.piece));
    assert_eq!(pieces, whole, "the pieces change what comes of the bytes");
    settings.check(&whole, wire);
}

struct Settings {
    from: Side,
    compression: bool,
    wanted: [Option<Payload>; MessageKind::COUNT],
    max_message_size: usize,
    /// Of the messages that are up to the filters each so many-th is dropped, and the one after it replaced.
    edit_every: usize,
    /// Bytes that come at a time.
    piece: usize,
}

/// What comes of the bytes.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// What went on, unmasked: a replaced message has a mask of its own each time.
    frames: Vec<Frame>,
    seen: Vec<(MessageKind, u64, Vec<u8>)>,
    tally: Tally,
    end: End,
}

impl Settings {
    fn read([flags, head, size, edits, piece_high, piece_low]: [u8; 6]) -> Self {
        let wants = |bits| match bits & 3 {
            0 => None,
            1 => Some(Payload::None),
            2 => Some(Payload::Head(u32::from(head).max(1))),
            _ => Some(Payload::Whole),
        };
        Self {
            from: if flags & 1 == 0 { Side::Client } else { Side::Upstream },
            compression: flags & 2 != 0,
            wanted: [wants(flags >> 2), wants(flags >> 4)],
            max_message_size: usize::from(size) << 4,
            edit_every: usize::from(edits).max(1),
            piece: usize::from(u16::from_be_bytes([piece_high, piece_low])).max(1),
        }
    }

    fn walk<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
        let sequence = FrameSequence::new(self.from, self.compression, None);
        let mut walk = Walk::new(sequence, self.max_message_size, TOKEN);
        walk.want(self.wanted);
        let (mut finds, mut batch, mut carry, mut wire) = Default::default();
        let (mut seen, mut tally, mut end) = (Vec::new(), Tally::default(), End::Open);
        for piece in pieces {
            Vec::extend_from_slice(&mut carry, piece);
            let mut position = 0;
            let stopped = loop {
                Finds::clear(&mut finds);
                let (next, stop) = walk.walk(&carry, position, &mut finds);
                assert!((position..=carry.len()).contains(&next), "the walk left its bytes");
                position = next;
                Batch::load(&mut batch, &finds);
                let last_goes_on = self.edit(&carry, &finds, &mut batch, &mut seen);
                let emission = Emission { bytes: &carry, finds: &finds, batch: &batch, to: self.from.other() };
                emission.render(0..finds.items.len(), None, &mut wire);
                match stop {
                    None => break None,
                    Some(Stop::Undecided) => walk.decide(if last_goes_on { Fate::Pass } else { Fate::Discard }),
                    Some(Stop::Close(close)) => break Some(End::Close(close)),
                    Some(Stop::Violation(violation)) => break Some(End::Violation(violation)),
                }
            };
            add(&mut tally, walk.take_tally());
            if let Some(stopped) = stopped {
                end = stopped;
                break;
            }
            carry.drain(..position);
            let room = self.max_message_size + FrameHeader::MAX_LEN + usize::from(u8::MAX);
            assert!(carry.len() < room, "{} bytes are held back", carry.len());
        }
        Outcome { frames: written(self.from, self.compression, &wire), seen, tally, end }
    }

    /// Plays the filters; says whether the last message goes on.
    fn edit(
        &self,
        bytes: &[u8],
        finds: &Finds,
        batch: &mut Batch,
        seen: &mut Vec<(MessageKind, u64, Vec<u8>)>,
    ) -> bool {
        let mut goes_on = true;
        batch.passing.retain_mut(|passing| {
            let Some(Item::Message(found)) = finds.items.get(passing.item) else { return false };
            let payload = payload(found, bytes, finds);
            let whole = self.wanted.get(found.kind as usize) == Some(&Some(Payload::Whole));
            if whole {
                assert_eq!(found.size, payload.len() as u64);
                assert!(payload.len() <= self.max_message_size);
                assert!(found.kind == MessageKind::Binary || std::str::from_utf8(payload).is_ok());
            }
            seen.push((found.kind, found.size, payload.to_vec()));
            goes_on = !seen.len().is_multiple_of(self.edit_every);
            if whole && seen.len() % self.edit_every == 1 {
                passing.made = Some(b"made".to_vec());
            }
            goes_on
        });
        goes_on
    }

    fn check(&self, outcome: &Outcome, wire: &[u8]) {
        if self.wanted == [None; MessageKind::COUNT] {
            let expected = relayed(self.from, self.compression, Some(&TOKEN), wire);
            assert_eq!((&outcome.frames, &outcome.end), (&expected.0, &expected.1), "it does not go on as it came");
        }
    }
}

fn payload<'a>(found: &'a Found, bytes: &'a [u8], finds: &'a Finds) -> &'a [u8] {
    match &found.payload {
        Seen::Buffer(range) => bytes.get(range.clone()),
        Seen::Unmasked(range) => finds.unmasked.get(range.clone()),
        Seen::Assembled => found.assembled.as_deref(),
    }
    .unwrap_or_default()
}

fn add(sum: &mut Tally, more: Tally) {
    sum.bytes += more.bytes;
    sum.pong |= more.pong;
    sum.messages.iter_mut().zip(more.messages).for_each(|(sum, more)| *sum += more);
}

const TOKEN: PingToken = *b"our ping";
