//! A walk over any bytes, in any pieces, with any interests: what comes of it is the same, and valid.

use std::time::Duration;

use tokio::time::Instant;

use crate::component::Need;
use crate::peer::{MessageKind, Side};
use crate::pipe::chain::{Batch, seen};
use crate::pipe::deflate::Compressing;
use crate::pipe::direction::{Onward, emit};
use crate::pipe::emit::Emission;
use crate::pipe::inflate::Inflation;
use crate::pipe::item::{Fate, Finds, Item, PingToken, Stop, Tally};
use crate::pipe::outlet::Outlet;
use crate::pipe::settings::Limits;
use crate::pipe::walk::Walk;
use crate::ws::fuzz::{End, Frame, Message, received, relayed, written};
use crate::ws::{Deflater, FrameHeader, FrameSequence, InflateLimits, SlidingWindow};

/// Walks over what follows six bytes of settings, once whole and once in pieces.
///
/// # Panics
/// When the pieces change something, when what goes on is no valid sequence of frames, or when something that nobody
/// wants does not go on as it came.
pub fn messages(data: &[u8]) {
    let Some((settings, wire)) = data.split_first_chunk::<6>() else { return };
    let settings = Settings { window: None, ..Settings::read(*settings) };
    let whole = settings.walk([wire].into_iter());
    let pieces = settings.walk(wire.chunks(settings.piece));
    assert_eq!(pieces, whole, "the pieces change what comes of the bytes");
    if settings.wanted == [None; MessageKind::COUNT] {
        let expected = relayed(settings.from, settings.compression, Some(&TOKEN), wire);
        assert_eq!((&whole.frames, &whole.end), (&expected.0, &expected.1), "it does not go on as it came");
    }
}

/// The same where the handshakes agreed on permessage-deflate.
///
/// # Panics
/// When the pieces change something that the receiver gets, or the receiver cannot inflate what goes on, or it inflates
/// to something else than the filters let through.
pub fn compressed(data: &[u8]) {
    let Some((settings, wire)) = data.split_first_chunk::<6>() else { return };
    let settings = Settings { compression: true, ..Settings::read(*settings) };
    let Some(window) = settings.window.filter(|_| settings.wanted != [None; MessageKind::COUNT]) else { return };
    let whole = settings.walk([wire].into_iter());
    let pieces = settings.walk(wire.chunks(settings.piece));
    // How much of a broken message went by before it showed may depend on how it came.
    let is_broken = |outcome: &Outcome| matches!(outcome.end, End::Violation(it) if it.inflate_failure().is_some());
    let got = [&whole, &pieces].map(|outcome| {
        let inflates = |kind| window.takeover || settings.wanted.get(kind as usize) == Some(&Some(Need::Whole));
        received(&outcome.frames, window, |kind| inflates(kind) && !is_broken(outcome))
    });
    let all_whole = settings.wanted == [Some(Need::Whole); MessageKind::COUNT];
    for (got, outcome) in got.iter().zip([&whole, &pieces]).filter(|_| all_whole) {
        assert_eq!(*got, outcome.passed, "the receiver gets something else than the filters let through");
    }
    if !is_broken(&whole) && !is_broken(&pieces) {
        let [whole_got, pieces_got] = got;
        assert_eq!(pieces_got, whole_got, "the pieces change what the receiver gets");
        assert_eq!((pieces.seen, pieces.tally, pieces.end), (whole.seen, whole.tally, whole.end));
    }
}

struct Settings {
    from: Side,
    compression: bool,
    /// Of the sender, where compressed messages are inflated.
    window: Option<SlidingWindow>,
    wanted: [Option<Need>; MessageKind::COUNT],
    max_message_size: usize,
    /// Of the messages that are up to the filters each so many-th is dropped, and the one after it replaced; each third
    /// one delays what is behind it until the next piece.
    edit_every: usize,
    /// Bytes that come at a time.
    piece: usize,
}

/// What comes of the bytes.
#[derive(Debug, PartialEq)]
struct Outcome {
    /// What went on, unmasked: a replaced message has a mask of its own each time.
    frames: Vec<Frame>,
    /// What the filters were asked.
    seen: Vec<(MessageKind, u64, Vec<u8>)>,
    /// What they let through of the messages that they saw whole.
    passed: Vec<Message>,
    tally: Tally,
    end: End,
}

impl Settings {
    fn read([flags, head, size, edits, piece_high, piece_low]: [u8; 6]) -> Self {
        let wants = |bits| match bits & 3 {
            0 => None,
            1 => Some(Need::Nothing),
            2 => Some(Need::Head(u32::from(head).max(1))),
            _ => Some(Need::Whole),
        };
        Self {
            from: if flags & 1 == 0 { Side::Client } else { Side::Upstream },
            compression: flags & 2 != 0,
            window: Some(SlidingWindow {
                bits: if flags & 64 == 0 { 15 } else { 8 + (size & 1) },
                takeover: flags & 128 == 0,
            }),
            wanted: [wants(flags >> 2), wants(flags >> 4)],
            max_message_size: usize::from(size) << 4,
            edit_every: usize::from(edits).max(1),
            piece: usize::from(u16::from_be_bytes([piece_high, piece_low])).max(1),
        }
    }

    fn walk<'a>(&self, pieces: impl Iterator<Item = &'a [u8]>) -> Outcome {
        let sequence = FrameSequence::new(self.from, self.compression);
        let mut walk = Walk::new(sequence, Limits::on_messages(self.max_message_size), TOKEN);
        if let Some(window) = self.window {
            walk.inflate(Inflation::new(window, InflateLimits { max_size: self.max_message_size, max_ratio: None }));
        }
        walk.want(self.wanted);
        let (mut finds, mut batch, mut carry, mut wire) = (Finds::default(), Batch::default(), Vec::new(), Vec::new());
        let mut outlet = Outlet::new();
        let (mut deflater, mut deflated) = (Deflater::default(), Vec::new());
        let mut outcome = Outcome {
            frames: Vec::new(),
            seen: Vec::new(),
            passed: Vec::new(),
            tally: Tally::default(),
            end: End::Open,
        };
        for piece in pieces {
            outlet.release();
            carry.extend_from_slice(piece);
            let mut position = 0;
            let stopped = loop {
                finds.clear();
                let (next, stop) = walk.walk(&carry, position, &mut finds);
                assert!((position..=carry.len()).contains(&next), "the walk left its bytes");
                position = next;
                add(&mut outcome.tally, finds.tally);
                batch.load(&finds);
                let last_goes_on = self.edit(&carry, &finds, &mut batch, &mut outcome);
                let compressing = walk.receiver().map(|receiver| Compressing {
                    receiver,
                    deflater: &mut deflater,
                    deflated: &mut deflated,
                });
                let (bytes, to) = (carry.as_slice(), self.from.other());
                let mut emission = Emission { bytes, finds: &finds, batch: &batch, to, compressing };
                let mut onward = Onward::Nothing;
                emit(&mut emission, &mut onward, &mut outlet, &mut wire);
                onward.put(&carry, &mut wire, &mut outlet);
                match stop {
                    None => break None,
                    Some(Stop::Full | Stop::Slice) => {}
                    Some(Stop::Undecided) => walk.decide(if last_goes_on { Fate::Pass } else { Fate::Discard }),
                    Some(Stop::Close(close)) => break Some(End::Close(close)),
                    Some(Stop::Violation(violation)) => break Some(End::Violation(violation)),
                }
            };
            if let Some(stopped) = stopped {
                outcome.end = stopped;
                break;
            }
            carry.drain(..position);
            let room = self.max_message_size + FrameHeader::MAX_LEN + usize::from(u8::MAX);
            assert!(carry.len() < room || self.window.is_some(), "{} bytes are held back", carry.len());
        }
        outlet.release();
        let written_out = outlet.unwritten_mut().map_or(&[][..], |unwritten| unwritten.bytes());
        outcome.frames = written(self.from, self.compression, written_out);
        outcome
    }

    /// Plays the filters; says whether the last message goes on.
    fn edit(&self, bytes: &[u8], finds: &Finds, batch: &mut Batch, outcome: &mut Outcome) -> bool {
        let (mut goes_on, mut delays) = (true, Vec::new());
        batch.passing.retain_mut(|passing| {
            let Some(Item::Message(found)) = finds.items.get(passing.item) else { return false };
            let payload = seen(found, bytes, finds);
            let whole = self.wanted.get(found.kind as usize) == Some(&Some(Need::Whole));
            if whole {
                assert_eq!(found.size, payload.len() as u64);
                assert!(payload.len() <= self.max_message_size);
                assert!(found.kind == MessageKind::Binary || std::str::from_utf8(payload).is_ok());
            }
            let asked = match self.wanted.get(found.kind as usize) {
                Some(Some(Need::Head(head))) => {
                    payload.get(..(*head as usize).min(self.max_message_size)).unwrap_or(payload)
                }
                Some(Some(Need::Whole)) => payload,
                _ => &[],
            };
            outcome.seen.push((found.kind, found.size, asked.to_vec()));
            goes_on = !outcome.seen.len().is_multiple_of(self.edit_every);
            if whole && outcome.seen.len() % self.edit_every == 1 {
                passing.made = Some(MADE.to_vec());
            }
            if whole && goes_on {
                outcome.passed.push((found.kind, passing.made.clone().unwrap_or_else(|| payload.to_vec())));
            }
            if goes_on && outcome.seen.len().is_multiple_of(3) {
                delays.push((passing.item, Instant::now() + HOUR));
            }
            goes_on
        });
        batch.delays = delays;
        goes_on
    }
}

fn add(sum: &mut Tally, more: Tally) {
    sum.bytes += more.bytes;
    sum.pong |= more.pong;
    sum.messages.iter_mut().zip(more.messages).for_each(|(sum, more)| *sum += more);
}

const HOUR: Duration = Duration::from_secs(3600);

const TOKEN: PingToken = *b"our ping";

/// Long enough for it to be worth compressing.
const MADE: &[u8] = &[b'm'; 150];
