//! The walk over compressed messages, where some filter selected messages of the direction.

use super::{Accepted, Rest, Step, Walk, append};
use crate::peer::MessageKind;
use crate::pipe::inflate::{Inflation, Stage};
use crate::pipe::item::{Boundary, Fate, Finds, Found, Item, Part, Seen, Stop};
use crate::ws::{FramePlace, Violation};

impl Walk {
    /// Whether the frames to come belong to a compressed message that does not simply pass.
    pub(super) fn is_inflating(&self) -> bool {
        self.inflation.as_ref().is_some_and(|inflation| inflation.is_under_way())
    }

    /// Deals with a frame of a compressed message.
    pub(super) fn compressed(
        &mut self,
        accepted: Accepted,
        kind: MessageKind,
        payload: &[u8],
        position: usize,
        finds: &mut Finds,
    ) -> Result<Step, Violation> {
        let wanted = self.wanted(kind);
        let is_wanted = self.wanted.iter().any(Option::is_some);
        self.inflation.take_if(|inflation| !is_wanted && inflation.is_dispensable());
        let Some(mut inflation) = self.inflation.take() else {
            return Ok(self.pass_header(accepted, kind, position, finds));
        };
        let first = matches!(accepted.place, FramePlace::First(_));
        // A frame that was short is here again.
        if first && !inflation.is_under_way() {
            match (inflation.stage_for(wanted), wanted) {
                (Stage::Pass, wanted) => {
                    self.inflation = Some(inflation);
                    return match wanted {
                        None => Ok(self.pass_header(accepted, kind, position, finds)),
                        Some(need) => self.select(accepted, kind, need, payload, position, finds),
                    };
                }
                (stage, _) => inflation.begin(stage),
            }
        }
        let step = match inflation.stage() {
            Stage::Gather => self.gather(&mut inflation, accepted, kind, payload, position, finds),
            Stage::Head(head) => self.head(&mut inflation, head, accepted, kind, payload, position, finds),
            Stage::Follow | Stage::Pass => {
                inflation.frame(accepted.header.mask);
                // A filter that needs no payload has its say on the first header.
                let decides = first && wanted.is_some();
                Ok(self.follow_header(accepted, kind, first, decides, position, finds))
            }
        };
        self.inflation = Some(inflation);
        step
    }

    /// Gathers a message whole.
    fn gather(
        &mut self,
        inflation: &mut Inflation,
        accepted: Accepted,
        kind: MessageKind,
        payload: &[u8],
        position: usize,
        finds: &mut Finds,
    ) -> Result<Step, Violation> {
        let Accepted { header, header_len, .. } = accepted;
        let is_whole = self.assembly.as_ref().is_some_and(|assembly| assembly.is_whole);
        let gathered = self.assembly.as_ref().map_or(0, |assembly| assembly.payload.len());
        if !is_whole && header.payload_len.saturating_add(gathered as u64) > inflation.max_compressed() as u64 {
            return Err(Violation::InflatedTooLarge { limit: self.limits.max_message_size });
        }
        let Some(payload) = usize::try_from(header.payload_len).ok().and_then(|len| payload.get(..len)) else {
            self.accepted = Some(accepted);
            return Ok(Step::Short);
        };
        let next = position + header_len + payload.len();
        if !header.fin {
            finds.tally.bytes += header.payload_len;
            append(&mut self.assembly.get_or_insert_default().payload, payload, header.mask);
            return Ok(Step::On(next));
        }
        let start = finds.inflated.len();
        let is_inflated = match &mut self.assembly {
            Some(assembly) => {
                if !std::mem::replace(&mut assembly.is_whole, true) {
                    append(&mut assembly.payload, payload, header.mask);
                }
                inflation.whole(&assembly.payload, None, finds)?
            }
            None => inflation.whole(payload, header.mask, finds)?,
        };
        if !is_inflated {
            self.accepted = Some(accepted);
            return Ok(Step::Stop(position, Stop::Full));
        }
        finds.tally.bytes += header.payload_len;
        let (assembled, raw) = match self.assembly.take() {
            Some(assembly) => (Some(assembly.payload), next..next),
            None => (None, position..next),
        };
        let plain = start..finds.inflated.len();
        if kind == MessageKind::Text {
            let text = finds.inflated.get(plain.clone()).unwrap_or_default();
            simdutf8::basic::from_utf8(text).map_err(|_| Violation::InvalidUtf8)?;
        }
        let (size, payload) = (plain.len() as u64, Seen::Inflated(plain));
        let end = Boundary::Message;
        finds.items.push(Item::Message(Found {
            kind,
            size,
            compressed: true,
            assembled,
            raw,
            payload,
            end,
            reframed: false,
        }));
        finds.count(kind);
        Ok(Step::On(next))
    }

    /// Holds a message until enough of it has come out for its verdict.
    #[expect(clippy::too_many_arguments, reason = "a frame, where it stands, and what it is for")]
    fn head(
        &mut self,
        inflation: &mut Inflation,
        enough: usize,
        accepted: Accepted,
        kind: MessageKind,
        payload: &[u8],
        position: usize,
        finds: &mut Finds,
    ) -> Result<Step, Violation> {
        let Accepted { header, header_len, .. } = accepted;
        if inflation.offset() == 0 {
            inflation.frame(header.mask);
        }
        let payload_len = usize::try_from(header.payload_len).unwrap_or(usize::MAX);
        let payload = payload.get(..payload_len).unwrap_or(payload);
        inflation.head(payload.get(inflation.offset()..).unwrap_or_default(), enough, finds)?;
        let taken = inflation.offset();
        let gathered = self.assembly.as_ref().map_or(0, |assembly| assembly.payload.len());
        if gathered.saturating_add(taken) > inflation.max_compressed() {
            return Err(Violation::InflatedTooLarge { limit: self.limits.max_message_size });
        }
        let ended = taken == payload_len;
        if ended && header.fin {
            inflation.finish(true, finds)?;
        } else if inflation.head_len() < enough {
            if finds.is_full() {
                self.accepted = Some(accepted);
                return Ok(Step::Stop(position, Stop::Full));
            }
            if !ended {
                self.accepted = Some(accepted);
                return Ok(Step::Short);
            }
            append(&mut self.assembly.get_or_insert_default().payload, payload, header.mask);
            finds.tally.bytes += header.payload_len;
            inflation.frame(None);
            return Ok(Step::On(position + header_len + taken));
        }
        let start = finds.inflated.len();
        inflation.take_head(finds);
        let assembled = self.assembly.take().map(|assembly| assembly.payload);
        let size = header.payload_len.saturating_add(gathered as u64);
        let next = position + header_len + taken;
        let payload = Seen::Inflated(start..finds.inflated.len());
        let end = match (ended, header.fin) {
            (true, true) => Boundary::Message,
            (true, false) => Boundary::Frame,
            (false, _) => Boundary::Inside,
        };
        let raw = position..next;
        finds.items.push(Item::Message(Found {
            kind,
            size,
            compressed: true,
            assembled,
            raw,
            payload,
            end,
            reframed: false,
        }));
        finds.tally.bytes += taken as u64;
        if end == Boundary::Message {
            finds.count(kind);
            inflation.end(finds);
            return Ok(Step::On(next));
        }
        let follow = inflation.decided(finds);
        let left = header.payload_len - taken as u64;
        self.rest = (left > 0).then_some(Rest { kind, left, fin: header.fin, follow, mask: None });
        Ok(Step::Stop(next, Stop::Undecided))
    }

    /// Lets the header of a frame go by whose payload is to be inflated.
    fn follow_header(
        &mut self,
        Accepted { header, header_len, .. }: Accepted,
        kind: MessageKind,
        first: bool,
        decides: bool,
        position: usize,
        finds: &mut Finds,
    ) -> Step {
        let next = position + header_len;
        self.rest = Some(Rest { kind, left: header.payload_len, fin: header.fin, follow: true, mask: None });
        let (raw, end) = (position..next, Boundary::Inside);
        let plain = finds.inflated.len()..finds.inflated.len();
        if decides {
            let (size, payload) = (header.payload_len, Seen::Inflated(plain));
            let found = Found { kind, size, compressed: true, assembled: None, raw, payload, end, reframed: false };
            finds.items.push(Item::Message(found));
            return Step::Stop(next, Stop::Undecided);
        }
        if self.fate == Fate::Pass {
            finds.part(Part { raw, end, plain, begins: first.then_some(kind) });
        }
        Step::On(next)
    }

    /// Lets the payload of the current frame go by and inflates it, as [`Walk::pass_rest`] does without inflating. The
    /// answer says whether what was inflated has to go on before anything else.
    pub(super) fn follow(
        &mut self,
        rest: Rest,
        bytes: &[u8],
        position: usize,
        finds: &mut Finds,
    ) -> Result<(usize, bool), Violation> {
        let Some(inflation) = &mut self.inflation else {
            // Nobody needs it any more.
            return Ok((self.pass_rest(rest, bytes, position, finds), false));
        };
        let here = bytes.get(position..).unwrap_or_default();
        let here = usize::try_from(rest.left).ok().and_then(|left| here.get(..left)).unwrap_or(here);
        let start = finds.inflated.len();
        let taken = inflation.follow(here, finds)?;
        let left = rest.left - taken as u64;
        let ends = left == 0 && rest.fin;
        if ends {
            inflation.finish(false, finds)?;
            inflation.end(finds);
            finds.count(rest.kind);
        }
        finds.tally.bytes += taken as u64;
        self.rest = (left > 0).then_some(Rest { left, ..rest });
        let end = Boundary::within(left, rest.fin);
        let next = position + taken;
        // Also where what came out is thrown away: there may be more than was taken.
        let is_full = finds.is_full();
        match self.fate {
            Fate::Pass => {
                finds.part(Part { raw: position..next, end, plain: start..finds.inflated.len(), begins: None });
            }
            Fate::Discard => {
                finds.inflated.truncate(start);
                if ends {
                    finds.pass(next..next, end);
                }
            }
        }
        if ends {
            self.fate = Fate::Pass;
        }
        Ok((next, is_full))
    }
}
