//! The contract of `wit/` in Rust, as the rest of the runtime sees it.

use crate::metrics::{FailureReason, MessageKind, Side};

/// A client's opening handshake as components see it; the fields are those of `types.handshake` in the WIT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    pub method: String,
    pub scheme: String,
    pub authority: String,
    pub path: String,
    pub query: Option<String>,
    pub http_version: String,
    pub headers: Vec<(String, Vec<u8>)>,
    pub protocols: Vec<String>,
    pub client_address: String,
    pub client_port: u16,
    pub connection_id: String,
    pub route: String,
    pub attributes: Vec<(String, String)>,
}

/// Which message kinds a filter wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    pub text: bool,
    pub binary: bool,
}

impl Kinds {
    /// Whether messages of this kind are wanted.
    pub fn contains(self, kind: MessageKind) -> bool {
        match kind {
            MessageKind::Text => self.text,
            MessageKind::Binary => self.binary,
        }
    }
}

/// How much of a message a filter has to see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Payload {
    #[default]
    None,
    Head(u32),
    Whole,
}

/// Which messages of one direction a filter wants, and how much of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    pub kinds: Kinds,
    pub payload: Payload,
}

impl Selection {
    /// Whether it selects no message at all.
    pub fn is_empty(self) -> bool {
        !self.kinds.text && !self.kinds.binary
    }
}

/// What a filter wants of both directions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interest {
    pub from_client: Selection,
    pub from_upstream: Selection,
}

impl Interest {
    /// What it wants of the messages of one sender.
    pub fn from(&self, origin: Side) -> Selection {
        match origin {
            Side::Client => self.from_client,
            Side::Upstream => self.from_upstream,
        }
    }
}

/// A data message, or the part of it that a filter selected.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub origin: Side,
    pub kind: MessageKind,
    /// Length of the payload, even where only a part of it is here.
    pub size: u64,
    pub payload: &'a [u8],
}

/// What happens to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Forward,
    /// Forward it, then nothing more from its sender for this many milliseconds after the call.
    Delay(u32),
    Replace(Vec<u8>),
    Drop,
    Send(Vec<Outgoing>),
    Close(CloseFrame),
}

/// A message that a filter sends in place of the one it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub to: Side,
    pub kind: MessageKind,
    pub payload: Vec<u8>,
}

pub use crate::ws::CloseFrame;

/// A change to a list of header fields. Names are valid and in lower case, values are valid field values, and no name
/// is one that the runtime owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    Set(String, Vec<u8>),
    Append(String, Vec<u8>),
    Remove(String),
}

/// A filter's refusal of a handshake; `status` is within 400 to 599.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub status: u16,
    pub headers: Vec<(String, Vec<u8>)>,
    pub body: Vec<u8>,
}

/// A component failed in a call. Decisions of a component are never failures, and failures never decisions.
#[derive(Clone, Debug, thiserror::Error)]
#[error("component `{component}`: {message}")]
pub struct Failure {
    /// The component's name in the configuration.
    pub component: String,
    /// What kind of failure, for the metric.
    pub reason: FailureReason,
    /// What happened, for the operator: with a guest backtrace where there is one.
    pub message: String,
}
