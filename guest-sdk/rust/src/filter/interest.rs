//! Which messages a filter wants, and how much of each.

pub use crate::bindings::filter::exports::tidegate::edge::filtering::{Interest, Kinds, Need, Selection};

impl Interest {
    /// The same of both directions.
    pub fn both(selection: Selection) -> Self {
        Self { from_client: selection, from_upstream: selection }
    }

    /// Only messages that the client sends.
    pub fn from_client(selection: Selection) -> Self {
        Self { from_client: selection, from_upstream: Selection::nothing() }
    }

    /// Only messages that the upstream sends.
    pub fn from_upstream(selection: Selection) -> Self {
        Self { from_client: Selection::nothing(), from_upstream: selection }
    }

    /// No message at all: for a filter that only admits or refuses handshakes.
    pub fn nothing() -> Self {
        Self::both(Selection::nothing())
    }
}

impl Selection {
    /// No message.
    pub fn nothing() -> Self {
        Self { kinds: Kinds::empty(), need: Need::Nothing }
    }

    /// The fact that there is a message of these kinds, and its size, without its payload.
    pub fn fact(kinds: Kinds) -> Self {
        Self { kinds, need: Need::Nothing }
    }

    /// The first bytes of messages of these kinds, at most `bytes` of them.
    pub fn head(kinds: Kinds, bytes: u32) -> Self {
        Self { kinds, need: Need::Head(bytes) }
    }

    /// Each part of messages of these kinds as it comes; the messages go on as they came.
    pub fn stream(kinds: Kinds) -> Self {
        Self { kinds, need: Need::Stream }
    }

    /// The same, and parts may be replaced: each goes on as a frame of its own.
    pub fn rewrite(kinds: Kinds) -> Self {
        Self { kinds, need: Need::Rewrite }
    }

    /// Messages of these kinds as a whole. Only then may a verdict replace them.
    pub fn whole(kinds: Kinds) -> Self {
        Self { kinds, need: Need::Whole }
    }
}

impl Kinds {
    /// Text and binary.
    pub fn all() -> Self {
        Self::TEXT | Self::BINARY
    }
}
