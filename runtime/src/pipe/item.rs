//! What a walk finds in the bytes of one peer.

use std::ops::Range;

use crate::component::MAX_BATCH;
use crate::peer::MessageKind;
use crate::ws::{CloseFrame, Inflater, Violation};

/// What a walk found, in buffers that are used again.
#[derive(Debug)]
pub(super) struct Finds {
    pub(super) items: Vec<Item>,
    /// Payloads that a filter needs and whose sender masks them.
    pub(super) unmasked: Vec<u8>,
    /// What compressed messages inflate to.
    pub(super) inflated: Vec<u8>,
    /// How much work inflating was, in compressed bytes.
    pub(super) inflating: usize,
    /// For messages that refer to nothing before them.
    pub(super) inflater: Option<Inflater>,
    /// What is decided about in one go.
    pub(super) most: usize,
    /// Whether passing bytes make an item for each frame, to find places to put frames in.
    pub(super) split: bool,
    /// Whether each message is dealt with before the next one is looked for.
    pub(super) single: bool,
    /// What went by.
    pub(super) tally: Tally,
}

impl Finds {
    /// What may be inflated before it is dealt with, a larger message apart.
    pub(super) const FULL: usize = 256 << 10;

    /// How many compressed bytes may be inflated before the worker's other connections have their turn: ten
    /// milliseconds of the most laborious ones, which make a new Huffman code every dozen bytes.
    pub(super) const TURN: usize = 64 << 10;

    /// How many messages, and passing runs between them, may be found before they are dealt with and others have their
    /// turn: filters take a millisecond or two for so many of the smallest.
    pub(super) const MANY: usize = 1 << 12;

    /// Whether so much was found that it has to be dealt with, and others have their turn, before more is.
    pub(super) fn is_full(&self) -> bool {
        self.inflated.len() >= Self::FULL || self.inflating >= Self::TURN
    }

    /// Whether what was found has to be dealt with before more is looked for.
    pub(super) fn is_enough(&self) -> bool {
        self.items.len() >= self.most
            || self.is_full()
            || self.single && matches!(self.items.last(), Some(Item::Message(_)))
    }

    /// Forgets what the last walk found.
    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.unmasked.clear();
        self.inflated.clear();
        self.inflating = 0;
        self.tally = Tally::default();
    }

    /// Counts a message that has gone by.
    pub(super) fn count(&mut self, kind: MessageKind) {
        if let Some(count) = self.tally.messages.get_mut(kind as usize) {
            *count += 1;
        }
    }

    /// Adds a part of a compressed message, to that before it where both are of one frame.
    pub(super) fn part(&mut self, part: Part) {
        if let Some(Item::Part(last)) = self.items.last_mut()
            && last.end == Boundary::Inside
            && (last.raw.end, last.plain.end) == (part.raw.start, part.plain.start)
        {
            last.raw.end = part.raw.end;
            last.plain.end = part.plain.end;
            last.end = part.end;
        } else {
            self.items.push(Item::Part(part));
        }
    }

    /// Adds bytes that go on as they are, to the run before them where there is no gap.
    pub(super) fn pass(&mut self, range: Range<usize>, boundary: Boundary) {
        if let Some(Item::Pass { raw, end }) = self.items.last_mut()
            && raw.end == range.start
            && (!self.split || *end == Boundary::Inside)
        {
            raw.end = range.end;
            *end = boundary;
        } else {
            self.items.push(Item::Pass { raw: range, end: boundary });
        }
    }
}

impl Default for Finds {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            unmasked: Vec::new(),
            inflated: Vec::new(),
            inflating: 0,
            inflater: None,
            // As many messages as a filter is shown in one call.
            most: MAX_BATCH,
            split: false,
            single: false,
            tally: Tally::default(),
        }
    }
}

/// The payload of the proxy's own pings on a connection.
pub(super) type PingToken = [u8; 8];

/// What becomes of the rest of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Pass,
    Discard,
}

/// Messages and payload bytes that went by, and whether a pong answered our ping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) messages: [u32; MessageKind::COUNT],
    pub(super) bytes: u64,
    pub(super) pong: bool,
}

/// Where a run of bytes ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Boundary {
    /// Inside a frame: nothing may be put in.
    Inside,
    /// After a frame, inside a message: control frames may be put in.
    Frame,
    /// After a message, or between messages: anything may be put in.
    Message,
}

impl Boundary {
    /// Where the payload of a frame of a message ends of which so many bytes are `left`; `fin` is its header's.
    pub(super) fn within(left: u64, fin: bool) -> Self {
        match (left, fin) {
            (0, true) => Self::Message,
            (0, false) => Self::Frame,
            _ => Self::Inside,
        }
    }
}

/// A part of the bytes walked over.
#[derive(Debug)]
pub(super) enum Item {
    /// Bytes that go on as they are.
    Pass { raw: Range<usize>, end: Boundary },
    /// Bytes of a compressed message that go on as they are while the receiver can inflate them.
    Part(Part),
    /// A message, or the start of one, that is up to the filters.
    Message(Found),
    /// A further part of a message that some filter is shown part by part; always the last item.
    Slice(Slice),
}

/// A part of a compressed message, in a direction in which every message is inflated.
#[derive(Debug)]
pub(super) struct Part {
    /// Within one frame, as it came.
    pub(super) raw: Range<usize>,
    /// Where `raw` ends.
    pub(super) end: Boundary,
    /// What `raw` inflates to.
    pub(super) plain: Range<usize>,
    /// The kind of the message, if it begins here.
    pub(super) begins: Option<MessageKind>,
}

/// A further part of a message that is shown part by part.
#[derive(Debug)]
pub(super) struct Slice {
    pub(super) kind: MessageKind,
    /// Payload bytes of one frame, as they came.
    pub(super) raw: Range<usize>,
    /// Where they can be read.
    pub(super) payload: Seen,
    /// Where `raw` ends.
    pub(super) end: Boundary,
    /// Whether it goes on as a frame of its own.
    pub(super) reframed: bool,
}

/// A message that some filter selected.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) kind: MessageKind,
    /// Length of the message's payload, as far as its sender has announced it; of a whole compressed message, inflated.
    pub(super) size: u64,
    /// Whether it came compressed.
    pub(super) compressed: bool,
    /// What was assembled of fragments: it goes on as one frame, before `raw`.
    pub(super) assembled: Option<Vec<u8>>,
    /// Whole frames, or the start of one, as they came.
    pub(super) raw: Range<usize>,
    /// Where the unmasked payload is, as far as any filter needs it.
    pub(super) payload: Seen,
    /// Where `raw` ends; a message that does not end here goes on with what [`Walk::decide`] was told.
    pub(super) end: Boundary,
    /// Whether this, which is not all of the message, goes on as a frame of its own.
    pub(super) reframed: bool,
}

/// Where an unmasked payload can be read.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    /// In the bytes walked over, because its sender does not mask.
    Buffer(Range<usize>),
    /// In the walk's buffer of unmasked bytes.
    Unmasked(Range<usize>),
    /// In [`Found::assembled`].
    Assembled,
    /// In the buffer of inflated bytes.
    Inflated(Range<usize>),
}

/// Why a walk came to a stop before the end of the bytes.
#[derive(Debug)]
pub(super) enum Stop {
    /// The last item's message has not ended; [`Walk::decide`] before walking on.
    Undecided,
    /// Enough was found: it has to be dealt with before walking on.
    Full,
    /// The last item is a further part of a message: it has to be dealt with before walking on.
    Slice,
    /// A close frame, which is the last item; what follows it means nothing.
    Close(Option<CloseFrame>),
    /// The sender broke the protocol or a limit; what follows cannot be read.
    Violation(Violation),
}
