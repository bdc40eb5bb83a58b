//! A message on its way, and what may happen to it.

use std::time::Duration;

pub use crate::bindings::balancer::tidegate::edge::types::Content;
use crate::bindings::filter::exports::tidegate::edge::filtering;
pub use crate::bindings::filter::exports::tidegate::edge::filtering::{Outgoing, Verdict};
pub use crate::bindings::filter::exports::tidegate::edge::timing::Reaction;
use crate::{CloseFrame, MessageKind, Side};

/// A data message, or the part of it that the filter's interest asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    origin: Side,
    kind: MessageKind,
    size: u32,
    payload: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message whose payload is here as a whole.
    pub fn new(origin: Side, kind: MessageKind, payload: &'a [u8]) -> Self {
        Self { origin, kind, size: saturated(payload.len()), payload }
    }

    /// What crossed from the runtime.
    pub(super) fn received(origin: Side, message: &'a filtering::Message) -> Self {
        match message {
            filtering::Message::Text(text) => Self::text_from(origin, text),
            filtering::Message::Binary(bytes) => Self::binary_from(origin, bytes),
            filtering::Message::Head(head) => Self::new(origin, head.kind, &head.bytes).of_size(head.size),
        }
    }

    /// A text message.
    pub fn text_from(origin: Side, text: &'a str) -> Self {
        Self::new(origin, MessageKind::Text, text.as_bytes())
    }

    /// A binary message.
    pub fn binary_from(origin: Side, payload: &'a [u8]) -> Self {
        Self::new(origin, MessageKind::Binary, payload)
    }

    /// The same message with more bytes announced than are here.
    #[must_use]
    pub fn of_size(self, size: u32) -> Self {
        Self { size, ..self }
    }

    /// Who sent it.
    pub fn origin(&self) -> Side {
        self.origin
    }

    /// Text or binary.
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The payload's length in bytes, also where less of it is here; [`u32::MAX`] where it is more. When the verdict falls
    /// before a fragmented message has ended: the bytes announced so far.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The payload: empty, the head or the whole, as selected.
    pub fn payload(&self) -> &'a [u8] {
        self.payload
    }

    /// The payload of a text message; `None` for a binary one. A head that ends inside a character comes without that
    /// character.
    pub fn text(&self) -> Option<&'a str> {
        match self.kind {
            MessageKind::Text => Some(simdutf8::basic::from_utf8(self.payload).unwrap_or_else(|_| self.valid_part())),
            MessageKind::Binary => None,
        }
    }

    #[cold]
    fn valid_part(&self) -> &'a str {
        self.payload.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }
}

impl Verdict {
    /// This goes on in its place: text from a `String` or `&str`, binary from bytes. Only for a selection of the whole.
    pub fn replace(content: impl Into<Content>) -> Self {
        Self::Replace(content.into())
    }

    /// It goes on, and nothing more from its sender does for this long, in whole milliseconds rounded up, counted from
    /// this call.
    pub fn delay(time: Duration) -> Self {
        let rest = u64::from(time.subsec_nanos().div_ceil(1_000_000));
        let milliseconds = time.as_secs().saturating_mul(1_000).saturating_add(rest);
        match u32::try_from(milliseconds) {
            Ok(0) => Self::Forward,
            Ok(milliseconds) => Self::Delay(milliseconds),
            Err(_) => Self::Delay(u32::MAX),
        }
    }

    /// It goes no further, and the connection is closed on both sides with this.
    pub fn close(code: u16, reason: impl Into<String>) -> Self {
        Self::Close(CloseFrame::new(code, reason))
    }

    /// These go out in its place, in this order. Only for a selection of the whole.
    pub fn send(messages: impl Into<Vec<Outgoing>>) -> Self {
        Self::Send(messages.into())
    }
}

impl Reaction {
    /// It sends these, in this order.
    pub fn send(messages: impl Into<Vec<Outgoing>>) -> Self {
        Self::Send(messages.into())
    }

    /// The connection is closed on both sides with this.
    pub fn close(code: u16, reason: impl Into<String>) -> Self {
        Self::Close(CloseFrame::new(code, reason))
    }
}

impl Outgoing {
    /// A text message.
    pub fn text(to: Side, text: impl Into<String>) -> Self {
        Self { to, message: Content::Text(text.into()) }
    }

    /// A binary message.
    pub fn binary(to: Side, payload: impl Into<Vec<u8>>) -> Self {
        Self { to, message: Content::Binary(payload.into()) }
    }
}

impl From<Message<'_>> for Content {
    /// What is here of it: of a head that ends inside a character, the text up to it.
    fn from(message: Message<'_>) -> Self {
        message.text().map_or_else(|| message.payload().into(), Self::from)
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        Self::Binary(bytes.to_vec())
    }
}

/// A length as the contract counts it.
fn saturated(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_only_in_text_messages() {
        assert_eq!(Message::text_from(Side::Client, "für").text(), Some("für"));
        assert_eq!(Message::binary_from(Side::Client, b"for").text(), None);
    }

    #[test]
    fn a_head_that_ends_inside_a_character_is_text_up_to_it() {
        let head = Message::new(Side::Client, MessageKind::Text, "für".as_bytes().get(..2).unwrap()).of_size(4);
        assert_eq!(head.text(), Some("f"));
        assert_eq!((head.size(), head.payload().len()), (4, 2));
    }

    #[test]
    fn a_delay_is_rounded_up_and_never_overflows() {
        assert_eq!(Verdict::delay(Duration::from_micros(1)), Verdict::Delay(1));
        assert_eq!(Verdict::delay(Duration::ZERO), Verdict::Forward);
        assert_eq!(Verdict::delay(Duration::MAX), Verdict::Delay(u32::MAX));
    }
}
