//! The compressed messages of one sender (RFC 7692), in a direction whose messages some filter selected.
//!
//! With context takeover a message can be inflated only if all before it were, so then every message is. Without, only
//! those are whose payload somebody wants, by an inflater that the worker's connections share. A relayed direction has
//! none of this.

use super::deflate::Receiver;
use super::item::Finds;
use crate::component::Need;
use crate::ws::{Growth, InflateLimits, Inflater, SlidingWindow, Violation, cost, extend_masked};

/// What a direction knows of its sender's compressed messages.
#[derive(Debug)]
pub(super) struct Inflation {
    window: SlidingWindow,
    limits: InflateLimits,
    /// With context takeover, from the first message on; otherwise while a head is being inflated.
    inflater: Option<Inflater>,
    message: Option<UnderWay>,
    pub(super) receiver: Receiver,
}

/// A compressed message that has begun and not ended.
#[derive(Debug)]
struct UnderWay {
    stage: Stage,
    growth: Growth,
    /// The mask of the frame under way, and how much of its payload was inflated.
    mask: Option<[u8; 4]>,
    offset: usize,
    /// What came out of a head so far.
    head: Vec<u8>,
}

/// What is done with a compressed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nothing: as any other.
    Pass,
    /// It is gathered whole, and inflated then.
    Gather,
    /// It is inflated up to its verdict, which needs this many bytes.
    Head(usize),
    /// It goes by with its verdict, inflated for the sake of those that follow.
    Follow,
}

impl Inflation {
    pub(super) fn new(window: SlidingWindow, limits: InflateLimits) -> Self {
        Self { window, limits, inflater: None, message: None, receiver: Receiver::new(window) }
    }

    /// Whether a compressed message is under way that does not simply pass.
    pub(super) fn is_under_way(&self) -> bool {
        self.message.is_some()
    }

    /// Whether a message is under way that a filter waits for.
    pub(super) fn is_assembling(&self) -> bool {
        matches!(self.stage(), Stage::Gather | Stage::Head(_))
    }

    /// The bytes of memory that such a message takes here.
    pub(super) fn held(&self) -> usize {
        let inflater = if self.window.takeover || self.inflater.is_none() { 0 } else { Inflater::SIZE };
        self.message.as_ref().map_or(0, |message| message.head.capacity() + inflater)
    }

    /// Whether originals can go on for ever without being inflated.
    pub(super) fn is_dispensable(&self) -> bool {
        self.message.is_none() && self.receiver.is_in_step()
    }

    /// What is done with the message under way.
    pub(super) fn stage(&self) -> Stage {
        self.message.as_ref().map_or(Stage::Pass, |message| message.stage)
    }

    /// What becomes of a message of which this is wanted.
    pub(super) fn stage_for(&self, wanted: Option<Need>) -> Stage {
        match wanted {
            Some(Need::Whole | Need::Stream | Need::Rewrite) => Stage::Gather,
            Some(Need::Head(head)) if head > 0 => {
                Stage::Head(usize::try_from(head).unwrap_or(usize::MAX).min(self.limits.max_size))
            }
            _ if self.window.takeover => Stage::Follow,
            _ => Stage::Pass,
        }
    }

    /// Begins a message.
    pub(super) fn begin(&mut self, stage: Stage) {
        let limits = match stage {
            Stage::Gather => self.limits,
            Stage::Head(_) => InflateLimits { max_size: usize::MAX, ..self.limits },
            Stage::Follow | Stage::Pass => InflateLimits::NONE,
        };
        self.message = Some(UnderWay { stage, growth: Growth::new(limits), mask: None, offset: 0, head: Vec::new() });
    }

    /// Makes sure that there is an inflater.
    fn equip(&mut self, finds: &mut Finds) {
        if self.inflater.is_none() {
            self.inflater = Some(match self.window.takeover {
                true => Inflater::new(self.window),
                false => finds.inflater.take().unwrap_or_else(|| Inflater::new(SlidingWindow::LARGEST)),
            });
        }
    }

    /// Goes on with the next frame of the message.
    pub(super) fn frame(&mut self, mask: Option<[u8; 4]>) {
        if let Some(message) = &mut self.message {
            message.mask = mask;
            message.offset = 0;
        }
    }

    /// How much of the frame under way was inflated.
    pub(super) fn offset(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.offset)
    }

    /// Follows the message from here on, whose verdict has fallen. Without context takeover, nobody needs the rest.
    pub(super) fn decided(&mut self, finds: &mut Finds) -> bool {
        match &mut self.message {
            Some(message) if self.window.takeover => {
                message.stage = Stage::Follow;
                message.growth.lift();
            }
            _ => self.end(finds),
        }
        self.window.takeover
    }

    /// The most compressed bytes that are held of one message: what a message of the largest size can need.
    pub(super) fn max_compressed(&self) -> usize {
        let size = self.limits.max_size;
        size.saturating_add(size / 16).saturating_add(1 << 10)
    }

    /// Inflates the next part of a message that is there whole; `payload` is masked if there is a key. Whether that was
    /// the last: then all that came out is at the end of `finds.inflated`.
    pub(super) fn whole(
        &mut self,
        payload: &[u8],
        mask: Option<[u8; 4]>,
        finds: &mut Finds,
    ) -> Result<bool, Violation> {
        self.equip(finds);
        let Some(message) = &mut self.message else { return Ok(true) };
        message.mask = mask;
        let is_resumed = message.offset > 0;
        let mut earlier = std::mem::take(&mut message.head);
        let Finds { unmasked, inflated, inflating, .. } = finds;
        let start = inflated.len();
        let plain = if is_resumed { &mut earlier } else { &mut *inflated };
        while self.offset() < payload.len() && *inflating < Finds::TURN {
            let left = payload.get(self.offset()..).unwrap_or_default();
            self.chunk(left.get(..LARGE_CHUNK).unwrap_or(left), unmasked, inflating, plain)?;
        }
        if let Some(message) = self.message.as_mut().filter(|message| message.offset < payload.len()) {
            message.head = if is_resumed { earlier } else { inflated.split_off(start) };
            cost::spend(inflated.len() - start);
            return Ok(false);
        }
        if let (Some(message), Some(inflater)) = (&mut self.message, &mut self.inflater) {
            inflater.finish(&mut message.growth, plain)?;
        }
        cost::spend(earlier.len());
        finds.inflated.append(&mut earlier);
        self.end(finds);
        Ok(true)
    }

    /// Inflates the next bytes of the frame under way, until `enough` bytes of the message are there. Gives how many it
    /// took: fewer than there are when it is others' turn, too.
    pub(super) fn head(&mut self, payload: &[u8], enough: usize, finds: &mut Finds) -> Result<usize, Violation> {
        self.equip(finds);
        let mut head = self.message.as_mut().map(|message| std::mem::take(&mut message.head)).unwrap_or_default();
        let mut taken = 0;
        let Finds { unmasked, inflating, .. } = finds;
        while head.len() < enough && taken < payload.len() && *inflating < Finds::TURN {
            let left = payload.get(taken..).unwrap_or_default();
            taken += self.chunk(left.get(..CHUNK).unwrap_or(left), unmasked, inflating, &mut head)?;
        }
        if let Some(message) = &mut self.message {
            message.head = head;
        }
        Ok(taken)
    }

    /// How much of a head there is.
    pub(super) fn head_len(&self) -> usize {
        self.message.as_ref().map_or(0, |message| message.head.len())
    }

    /// Moves what came out of a head to the end of `finds.inflated`.
    pub(super) fn take_head(&mut self, finds: &mut Finds) {
        if let Some(message) = &mut self.message {
            cost::spend(message.head.len());
            finds.inflated.append(&mut message.head);
        }
    }

    /// Inflates the next bytes of the frame under way to the end of `finds.inflated`. Gives how many it took: fewer than
    /// there are when what came out should go on first.
    pub(super) fn follow(&mut self, payload: &[u8], finds: &mut Finds) -> Result<usize, Violation> {
        self.equip(finds);
        let mut taken = 0;
        let Finds { unmasked, inflated, inflating, .. } = finds;
        while taken < payload.len() && inflated.len() < Finds::FULL && *inflating < Finds::TURN {
            let left = payload.get(taken..).unwrap_or_default();
            taken += self.chunk(left.get(..CHUNK).unwrap_or(left), unmasked, inflating, inflated)?;
        }
        Ok(taken)
    }

    /// Inflates what the end of the message makes complete.
    pub(super) fn finish(&mut self, head: bool, finds: &mut Finds) -> Result<(), Violation> {
        if let (Some(message), Some(inflater)) = (&mut self.message, &mut self.inflater) {
            let UnderWay { growth, head: of_head, .. } = message;
            inflater.finish(growth, if head { of_head } else { &mut finds.inflated })?;
        }
        Ok(())
    }

    /// Ends the message.
    pub(super) fn end(&mut self, finds: &mut Finds) {
        self.message = None;
        if !self.window.takeover
            && let Some(mut inflater) = self.inflater.take()
        {
            inflater.reset();
            finds.inflater = Some(inflater);
        }
    }

    /// Inflates a part of a payload. Gives its length.
    fn chunk(
        &mut self,
        chunk: &[u8],
        unmasked: &mut Vec<u8>,
        inflating: &mut usize,
        plain: &mut Vec<u8>,
    ) -> Result<usize, Violation> {
        let (Some(message), Some(inflater)) = (&mut self.message, &mut self.inflater) else { return Ok(chunk.len()) };
        let before = plain.len();
        match message.mask {
            Some(mut key) => {
                key.rotate_left(message.offset % 4);
                let start = unmasked.len();
                extend_masked(unmasked, chunk, key);
                inflater.inflate(unmasked.get(start..).unwrap_or_default(), &mut message.growth, plain)?;
                unmasked.truncate(start);
            }
            None => inflater.inflate(chunk, &mut message.growth, plain)?,
        }
        *inflating += chunk.len() + (plain.len() - before) / OUT_PER_IN;
        message.offset += chunk.len();
        Ok(chunk.len())
    }
}

/// Compressed bytes that are inflated at once, where nothing but their number bounds what comes out. Deflate makes at
/// most a thousandfold of them.
const CHUNK: usize = 1 << 10;

/// The same where `max_message_size` does.
const LARGE_CHUNK: usize = 8 << 10;

/// So many bytes that come out take no longer than one that goes in, where that is worst.
const OUT_PER_IN: usize = 16;
