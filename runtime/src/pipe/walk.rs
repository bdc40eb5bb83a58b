//! From the bytes one peer sends to the items they hold: runs that pass as they are, and messages a filter selected.
//!
//! A walk holds no bytes but the fragments of a message that is being assembled. It says how far it got; what is left
//! has to be there again, at the front, in the next call. How the bytes were split into calls changes nothing.

mod compressed;
mod parts;

use std::sync::Arc;

use super::control_rate::ControlRate;
use super::deflate::Receiver;
use super::inflate::Inflation;
use super::item::{Boundary, Fate, Finds, Found, Item, PingToken, Seen, Stop};
use super::settings::Limits;
use crate::component::Need;
use crate::peer::MessageKind;
use crate::ws::{
    CloseFrame, FrameHeader, FramePlace, FrameSequence, Opcode, Violation, apply_mask, cost, extend_masked,
};

/// The walk over what one peer sends.
#[derive(Debug)]
pub(super) struct Walk {
    sequence: FrameSequence,
    /// What some filter wants of each kind; `None` where nobody wants anything.
    wanted: [Option<Need>; MessageKind::COUNT],
    limits: Arc<Limits>,
    /// The payload of our pings: a pong with it is for us.
    token: PingToken,
    control_rate: ControlRate,
    /// A frame whose header was accepted and whose bytes are not all there.
    accepted: Option<Accepted>,
    /// The data frame whose payload is going by.
    rest: Option<Rest>,
    /// How much of the start of a message that is shown part by part has to be there at once.
    heads: [u32; MessageKind::COUNT],
    /// The message under way, where it is shown part by part.
    parts: Option<Parts>,
    /// What becomes of the frames to come of the message under way.
    fate: Fate,
    assembly: Option<Box<Fragments>>,
    /// What compressed messages need, where any may come and filters select messages.
    inflation: Option<Box<Inflation>>,
}

#[derive(Clone, Copy, Debug)]
struct Accepted {
    header: FrameHeader,
    header_len: usize,
    place: FramePlace,
}

/// What is still to come of a data frame's payload.
#[derive(Clone, Copy, Debug)]
struct Rest {
    kind: MessageKind,
    left: u64,
    fin: bool,
    /// Whether it is inflated as it goes by.
    follow: bool,
    /// The key, from the next byte on.
    mask: Option<[u8; 4]>,
}

/// A message that is shown part by part.
#[derive(Clone, Copy, Debug)]
struct Parts {
    /// Whether each part goes on as a frame of its own.
    reframed: bool,
}

/// The fragments of a message so far, unmasked.
#[derive(Debug, Default)]
struct Fragments {
    payload: Vec<u8>,
    /// Whether the last one is among them, and only inflating takes its time.
    is_whole: bool,
}

impl Walk {
    pub(super) fn new(sequence: FrameSequence, limits: Arc<Limits>, token: PingToken) -> Self {
        Self {
            sequence,
            wanted: [None; MessageKind::COUNT],
            limits,
            token,
            control_rate: ControlRate::default(),
            accepted: None,
            rest: None,
            heads: [0; MessageKind::COUNT],
            parts: None,
            fate: Fate::Pass,
            assembly: None,
            inflation: None,
        }
    }

    /// The payload of our pings.
    pub(super) fn token(&self) -> PingToken {
        self.token
    }

    /// Says what the filters want of each kind, from the next message on.
    pub(super) fn want(&mut self, wanted: [Option<Need>; MessageKind::COUNT]) {
        self.wanted = wanted;
    }

    /// Says how much of the start of a message some filter wants at once, where others want it part by part.
    pub(super) fn want_heads(&mut self, heads: [u32; MessageKind::COUNT]) {
        self.heads = heads;
    }

    /// Assembles nothing more: only frames and the close frame are of interest from here on.
    pub(super) fn ignore_messages(&mut self) {
        self.wanted = [None; MessageKind::COUNT];
        self.assembly = None;
        self.inflation = None;
        self.parts = None;
    }

    /// Inflates compressed messages for the filters that want them.
    pub(super) fn inflate(&mut self, inflation: Inflation) {
        self.inflation = Some(Box::new(inflation));
    }

    /// What the receiver of compressed messages holds, where they are inflated.
    pub(super) fn receiver(&mut self) -> Option<&mut Receiver> {
        self.inflation.as_mut().map(|inflation| &mut inflation.receiver)
    }

    /// Says whether what the peer sends is read from now on: what it says meanwhile is counted later.
    #[inline]
    pub(super) fn reads(&mut self, is_read: bool) {
        if is_read {
            self.control_rate.resume();
        } else if self.limits.control_frames_per_second.is_some() {
            self.control_rate.pause();
        }
    }

    /// Says that all was read that has come so far.
    #[inline]
    pub(super) fn has_all(&mut self) {
        self.control_rate.has_all();
    }

    /// Whether filters can read what comes: nothing may come compressed, or it is inflated all along.
    pub(super) fn is_legible(&self) -> bool {
        self.inflation.is_some() || !self.sequence.may_compress()
    }

    /// Whether a message has begun that some filter waits for.
    pub(super) fn is_assembling(&self) -> bool {
        let is_held = |accepted: &Accepted| accepted.place != FramePlace::Control;
        self.assembly.is_some()
            || self.accepted.as_ref().is_some_and(is_held)
            || self.inflation.as_ref().is_some_and(|inflation| inflation.is_assembling())
    }

    /// The bytes of memory that are held of the message under way, beside those that were not dealt with.
    pub(super) fn held(&self) -> usize {
        let assembled = self.assembly.as_ref().map_or(0, |assembly| assembly.payload.capacity());
        assembled + self.inflation.as_ref().map_or(0, |inflation| inflation.held())
    }

    /// How many bytes of the message under way are held.
    pub(super) fn gathered(&self) -> usize {
        self.assembly.as_ref().map_or(0, |assembly| assembly.payload.len())
    }

    /// Whether a frame has begun and not ended, so that its sender can say nothing else.
    #[inline]
    pub(super) fn is_inside_frame(&self) -> bool {
        self.rest.is_some() || self.accepted.is_some()
    }

    /// Says what becomes of the rest of the message that stopped the walk.
    pub(super) fn decide(&mut self, fate: Fate) {
        self.fate = fate;
    }

    /// Bytes that the frame under way has in all, as far as its header tells.
    pub(super) fn needed(&self) -> usize {
        let Some(Accepted { header, header_len, .. }) = self.accepted else { return FrameHeader::MAX_LEN };
        usize::try_from(header.payload_len).unwrap_or(usize::MAX).saturating_add(header_len)
    }

    /// Walks over `bytes[start..]` and adds what it finds. Gives the position up to which bytes are dealt with, and why
    /// it stopped there if not for lack of bytes.
    pub(super) fn walk(&mut self, bytes: &[u8], start: usize, finds: &mut Finds) -> (usize, Option<Stop>) {
        let mut position = start;
        loop {
            if let Some(rest) = self.rest {
                if rest.follow {
                    match self.follow(rest, bytes, position, finds) {
                        Ok((next, false)) => position = next,
                        Ok((next, true)) => return (next, Some(Stop::Full)),
                        Err(violation) => return (position, Some(Stop::Violation(violation))),
                    }
                } else if let Some(parts) = self.parts.filter(|_| self.fate == Fate::Pass) {
                    return match self.slice(rest, parts, bytes, position, finds) {
                        Some(next) => (next, Some(Stop::Slice)),
                        None => (position, None),
                    };
                } else {
                    position = self.pass_rest(rest, bytes, position, finds);
                }
                if self.rest.is_some() {
                    return (position, None);
                }
            }
            match self.frame(bytes, position, finds) {
                Ok(Step::On(next)) if finds.is_enough() => return (next, Some(Stop::Full)),
                Ok(Step::On(next)) => position = next,
                Ok(Step::Short) => return (position, None),
                Ok(Step::Stop(next, stop)) => return (next, Some(stop)),
                Err(violation) => return (position, Some(Stop::Violation(violation))),
            }
        }
    }

    /// Lets the payload of the current frame go by.
    fn pass_rest(&mut self, rest: Rest, bytes: &[u8], position: usize, finds: &mut Finds) -> usize {
        let here = usize::try_from(rest.left).unwrap_or(usize::MAX).min(bytes.len() - position);
        let left = rest.left - here as u64;
        finds.tally.bytes += here as u64;
        let end = Boundary::within(left, rest.fin);
        self.rest = (left > 0).then_some(Rest { left, ..rest });
        if end == Boundary::Message {
            finds.count(rest.kind);
        }
        match (self.fate, end) {
            (Fate::Pass, _) => finds.pass(position..position + here, end),
            // Nothing of it went on, so what went on ends between messages again.
            (Fate::Discard, Boundary::Message) => finds.pass(position + here..position + here, end),
            (Fate::Discard, _) => {}
        }
        if end == Boundary::Message {
            self.fate = Fate::Pass;
            self.parts = None;
        }
        position + here
    }

    /// Deals with the frame that starts at `position`.
    fn frame(&mut self, bytes: &[u8], position: usize, finds: &mut Finds) -> Result<Step, Violation> {
        cost::spend(FrameHeader::MAX_LEN);
        let here = bytes.get(position..).unwrap_or_default();
        let accepted = match self.accepted.take() {
            Some(accepted) => accepted,
            None => match FrameHeader::parse(here)? {
                None => return Ok(Step::Short),
                Some((header, header_len)) => {
                    Accepted { header, header_len, place: self.sequence.accept(&header, &self.limits.frames)? }
                }
            },
        };
        let payload = here.get(accepted.header_len..).unwrap_or_default();
        match accepted.place {
            FramePlace::Control => self.control(accepted, payload, position, finds),
            FramePlace::First(kind) if accepted.header.reserved != 0 && self.inflation.is_some() => {
                self.compressed(accepted, kind, payload, position, finds)
            }
            FramePlace::First(kind) => match self.wanted(kind) {
                None => Ok(self.pass_header(accepted, kind, position, finds)),
                Some(need) => self.select(accepted, kind, need, payload, position, finds),
            },
            FramePlace::Further(kind) if self.is_inflating() => {
                self.compressed(accepted, kind, payload, position, finds)
            }
            FramePlace::Further(kind) if self.assembly.is_some() => {
                let need = self.wanted(kind).unwrap_or_default();
                self.select(accepted, kind, need, payload, position, finds)
            }
            FramePlace::Further(kind) => Ok(self.pass_header(accepted, kind, position, finds)),
        }
    }

    fn wanted(&self, kind: MessageKind) -> Option<Need> {
        self.wanted.get(kind as usize).copied().flatten()
    }

    /// Lets a frame go by, by the fate of its message.
    fn pass_header(
        &mut self,
        Accepted { header, header_len, .. }: Accepted,
        kind: MessageKind,
        position: usize,
        finds: &mut Finds,
    ) -> Step {
        let next = position + header_len;
        let is_reframed = self.parts.is_some_and(|parts| parts.reframed);
        if self.fate == Fate::Pass && !is_reframed {
            finds.pass(position..next, Boundary::Inside);
        }
        self.rest = Some(Rest { kind, left: header.payload_len, fin: header.fin, follow: false, mask: header.mask });
        Step::On(next)
    }

    /// Deals with a control frame, which is held until it is whole: it is small, and may be for us.
    fn control(
        &mut self,
        accepted: Accepted,
        payload: &[u8],
        position: usize,
        finds: &mut Finds,
    ) -> Result<Step, Violation> {
        let Some(payload) = usize::try_from(accepted.header.payload_len).ok().and_then(|len| payload.get(..len)) else {
            self.accepted = Some(accepted);
            return Ok(Step::Short);
        };
        let end = position + accepted.header_len + payload.len();
        // Control frames may stand inside a message; what may follow them is what might have stood in their place.
        let boundary = if self.message_open() { Boundary::Frame } else { Boundary::Message };
        if accepted.header.opcode != Opcode::Close {
            self.control_rate.count(self.limits.control_frames_per_second)?;
        }
        match accepted.header.opcode {
            Opcode::Close => {
                let close = CloseFrame::parse(&plain(payload, accepted.header.mask))?;
                finds.pass(position..end, boundary);
                return Ok(Step::Stop(end, Stop::Close(close)));
            }
            Opcode::Pong if plain(payload, accepted.header.mask) == self.token => finds.tally.pong = true,
            _ => finds.pass(position..end, boundary),
        }
        Ok(Step::On(end))
    }

    /// Whether what has gone on so far ends inside a message.
    fn message_open(&self) -> bool {
        self.sequence.inside_message() && self.assembly.is_none() && self.fate == Fate::Pass
    }

    /// Deals with a frame of a message that some filter wants to see.
    fn select(
        &mut self,
        accepted: Accepted,
        kind: MessageKind,
        need: Need,
        payload: &[u8],
        position: usize,
        finds: &mut Finds,
    ) -> Result<Step, Violation> {
        let Accepted { header, header_len, .. } = accepted;
        let gathered = self.assembly.as_ref().map_or(0, |assembly| assembly.payload.len());
        let size = header.payload_len.saturating_add(gathered as u64);
        let limit = self.limits.max_message_size;
        // How much of this frame has to be here before anything can be said.
        let needed = match need {
            Need::Nothing => 0,
            Need::Head(head) => u64::from(head).min(limit as u64).saturating_sub(gathered as u64),
            Need::Stream | Need::Rewrite => self.head_of(kind).saturating_sub(gathered as u64),
            Need::Whole if size > limit as u64 => return Err(Violation::MessageTooLarge { limit }),
            Need::Whole => header.payload_len,
        }
        .min(header.payload_len);
        let Some(seen) = usize::try_from(needed).ok().and_then(|needed| payload.get(..needed)) else {
            self.accepted = Some(accepted);
            return Ok(Step::Short);
        };
        let enough = match need {
            Need::Nothing => true,
            Need::Head(head) => header.fin || size >= u64::from(head).min(limit as u64),
            Need::Stream | Need::Rewrite => header.fin || size >= self.head_of(kind),
            Need::Whole => header.fin,
        };
        let body = position + header_len;
        if !enough {
            let assembly = self.assembly.get_or_insert_default();
            append(&mut assembly.payload, seen, header.mask);
            finds.tally.bytes += header.payload_len;
            return Ok(Step::On(body + seen.len()));
        }
        let here = usize::try_from(header.payload_len).unwrap_or(usize::MAX).min(payload.len());
        let seen = if need.is_of_parts() { payload.get(..here).unwrap_or(seen) } else { seen };
        let assembled = self.assembly.take().map(|assembly| assembly.payload);
        let (assembled, at) = match (assembled, header.mask) {
            (Some(mut fragments), _) if need == Need::Whole => {
                append(&mut fragments, seen, header.mask);
                (Some(fragments), Seen::Assembled)
            }
            (Some(fragments), mask) => {
                let start = finds.unmasked.len();
                append(&mut finds.unmasked, &fragments, None);
                append(&mut finds.unmasked, seen, mask);
                (Some(fragments), Seen::Unmasked(start..finds.unmasked.len()))
            }
            (None, Some(key)) => {
                let start = finds.unmasked.len();
                append(&mut finds.unmasked, seen, Some(key));
                (None, Seen::Unmasked(start..finds.unmasked.len()))
            }
            (None, None) => (None, Seen::Buffer(body..body + seen.len())),
        };
        if need == Need::Whole && kind == MessageKind::Text {
            let text = match (&at, &assembled) {
                (Seen::Assembled, Some(payload)) => payload,
                (Seen::Unmasked(range), _) => finds.unmasked.get(range.clone()).unwrap_or_default(),
                _ => seen,
            };
            simdutf8::basic::from_utf8(text).map_err(|_| Violation::InvalidUtf8)?;
        }
        let left = header.payload_len - here as u64;
        finds.tally.bytes += here as u64;
        let end = Boundary::within(left, header.fin);
        let next = body + here;
        // An assembled message went on in `assembled`; of a head, the frame that completed it goes on as it came.
        let raw = if matches!(at, Seen::Assembled) { next..next } else { position..next };
        let compressed = header.reserved != 0;
        let reframed = need == Need::Rewrite && end != Boundary::Message;
        finds.items.push(Item::Message(Found { kind, size, compressed, assembled, raw, payload: at, end, reframed }));
        if end == Boundary::Message {
            finds.count(kind);
            return Ok(Step::On(next));
        }
        self.parts = need.is_of_parts().then_some(Parts { reframed });
        let mask = header.mask.map(|key| turned(key, here));
        self.rest = (left > 0).then_some(Rest { kind, left, fin: header.fin, follow: false, mask });
        Ok(Step::Stop(next, Stop::Undecided))
    }
}

/// A key as it is so many bytes further on (RFC 6455 section 5.3).
fn turned(mut key: [u8; 4], by: usize) -> [u8; 4] {
    key.rotate_left(by % 4);
    key
}

enum Step {
    /// The frame is dealt with; the next one starts here.
    On(usize),
    /// More bytes are needed.
    Short,
    Stop(usize, Stop),
}

fn append(target: &mut Vec<u8>, payload: &[u8], mask: Option<[u8; 4]>) {
    cost::spend(payload.len());
    match mask {
        Some(key) => extend_masked(target, payload, key),
        None => target.extend_from_slice(payload),
    }
}

fn plain(payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut plain = payload.to_vec();
    if let Some(key) = mask {
        apply_mask(&mut plain, key);
    }
    plain
}
