//! A filter that is shown messages part by part.

use super::Session;
use crate::component::answer;
use crate::component::types::{Failure, Load, Message, Part, PartVerdict, Verdict};
use crate::metrics::CallVerdict;
use crate::peer::MessageKind;

impl Session {
    /// Decides about a part of a message.
    pub fn on_part(&mut self, part: &Part<'_>) -> Result<PartVerdict, Failure> {
        self.on_part_beside(part, Load::default())
    }

    fn on_part_beside(&mut self, part: &Part<'_>, held: Load) -> Result<PartVerdict, Failure> {
        let message = Message { origin: part.origin, kind: part.kind, size: 0, payload: part.bytes };
        self.check_size(&message)?;
        let handle = self.resource()?;
        let selection = self.interest().from(part.origin);
        let called = self.slot.call(&*self.handshake, |store, exports| match &exports.on_part {
            Some(on_part) => Ok(on_part.call(store, (handle, part.origin.into(), part.into()))?.0),
            None => Err(wasmtime::Error::msg("it exports no `streaming`")),
        });
        let verdict = called.and_then(|verdict| {
            self.heed()?;
            self.check_reply(verdict.load(), held)?;
            answer::part(verdict, selection).map_err(|why| self.invalid(why))
        });
        let verdict = verdict.inspect_err(|_| self.end())?;
        self.slot.verdict(match &verdict {
            PartVerdict::Forward => CallVerdict::Forward,
            PartVerdict::Replace(_) => CallVerdict::Replace,
            PartVerdict::Close(_) => CallVerdict::Close,
        });
        Ok(verdict)
    }

    /// Decides about a message that is here as a whole, as its only part.
    pub(super) fn on_only_part(&mut self, message: &Message<'_>, held: Load) -> Result<(Verdict, Load), Failure> {
        let Message { origin, kind, payload, .. } = *message;
        let part = Part { origin, kind, first: true, last: true, bytes: payload };
        let verdict = self.on_part_beside(&part, held)?;
        if let PartVerdict::Replace(made) = &verdict
            && kind == MessageKind::Text
            && simdutf8::basic::from_utf8(made).is_err()
        {
            return Err(self.invalid("it made a text message that is not UTF-8")).inspect_err(|_| self.end());
        }
        let bytes = if let PartVerdict::Replace(made) = &verdict { made.len() } else { 0 };
        let load = Load { bytes, ..Load::default() };
        Ok((verdict.of_message(kind), load))
    }
}
