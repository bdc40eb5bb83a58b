//! The contract of `wit/` in Rust, as the rest of the runtime sees it.

use std::sync::Arc;

use super::fields::Fields;
use crate::metrics::FailureReason;
use crate::peer::{MessageKind, Side};
use crate::token::Bearer;
pub use crate::ws::CloseFrame;

/// A client's opening handshake as components see it; the fields are those of `types.handshake` in the WIT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handshake {
    /// The request method.
    pub method: String,
    /// `ws` or `wss`, as the client spoke to the listener.
    pub scheme: &'static str,
    /// Host and port as the client sent them; empty when it sent none.
    pub authority: String,
    /// The path as it came, starting with `/`.
    pub path: String,
    /// The query without its `?`.
    pub query: Option<String>,
    /// `1.1` or `2`; for a predicate `1.0` as well.
    pub http_version: &'static str,
    /// All header fields, names in lower case, in the order of arrival.
    pub headers: Fields,
    /// The subprotocols offered, in the order of preference.
    pub protocols: Vec<String>,
    /// The client's IP address in text, without port or brackets.
    pub client_address: String,
    /// The client's TCP port.
    pub client_port: u16,
    /// Names the connection for the life of the process.
    pub connection_id: String,
    /// The route under consideration.
    pub route: String,
    /// What the filters opened before have attached.
    pub attributes: Vec<(String, String)>,
    /// Who has come in by a token; no component sees it.
    pub bearer: Option<Arc<Bearer>>,
}

/// Which message kinds a filter wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kinds {
    /// Text messages.
    pub text: bool,
    /// Binary messages.
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
pub enum Need {
    /// Nothing.
    #[default]
    Nothing,
    /// The first bytes, at most this many, at least one.
    Head(u32),
    /// Each part as it comes.
    Stream,
    /// Each part as it comes, which it may replace.
    Rewrite,
    /// Everything.
    Whole,
}

impl Need {
    /// Whether it is shown parts.
    pub fn is_of_parts(self) -> bool {
        matches!(self, Self::Stream | Self::Rewrite)
    }
}

/// Which messages of one direction a filter wants, and how much of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The kinds it wants.
    pub kinds: Kinds,
    /// How much of each.
    pub need: Need,
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
    /// Of what the client sends.
    pub from_client: Selection,
    /// Of what the upstream sends.
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
    /// Who sent it.
    pub origin: Side,
    /// Text or binary.
    pub kind: MessageKind,
    /// Length of the payload, even where only a part of it is here.
    pub size: u64,
    /// Nothing, the head or the whole, as selected.
    pub payload: &'a [u8],
}

/// What happens to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it came.
    Forward,
    /// Forward it, then nothing more from its sender for this many milliseconds after the call.
    Delay(u32),
    /// This goes on in its place.
    Replace(Content),
    /// It goes no further.
    Drop,
    /// These go out in its place.
    Send(Vec<Outgoing>),
    /// It goes no further, and the connection is closed with this, which may stand in a frame.
    Close(CloseFrame),
}

/// How much answers carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Messages that are sent.
    pub(super) messages: usize,
    /// The bytes of their payloads, and of what is put in place of others.
    pub(super) bytes: usize,
}

impl std::ops::Add for Load {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let messages = self.messages.saturating_add(other.messages);
        Self { messages, bytes: self.bytes.saturating_add(other.bytes) }
    }
}

impl std::iter::Sum for Load {
    fn sum<I: Iterator<Item = Self>>(loads: I) -> Self {
        loads.fold(Self::default(), std::ops::Add::add)
    }
}

/// A part of a message, for a filter that wants each as it comes.
#[derive(Clone, Copy, Debug)]
pub struct Part<'a> {
    /// Who sent it.
    pub origin: Side,
    /// Text or binary.
    pub kind: MessageKind,
    /// Whether the message begins with it.
    pub first: bool,
    /// Whether the message ends with it.
    pub last: bool,
    /// What it is.
    pub bytes: &'a [u8],
}

/// What happens to a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PartVerdict {
    /// It goes on as it came.
    Forward,
    /// This goes on in its place.
    Replace(Vec<u8>),
    /// The connection is closed with this, which may stand in a frame.
    Close(CloseFrame),
}

impl PartVerdict {
    /// What it says about a message of this kind of which the part is the first, or all.
    pub fn of_message(self, kind: MessageKind) -> Verdict {
        match self {
            Self::Forward => Verdict::Forward,
            Self::Replace(payload) => Verdict::Replace(Content { kind, payload }),
            Self::Close(close) => Verdict::Close(close),
        }
    }
}

/// What a filter does when a time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing.
    Nothing,
    /// It sends these, past other filters.
    Send(Vec<Outgoing>),
    /// The connection is closed with this, which may stand in a frame.
    Close(CloseFrame),
}

/// A message that a filter sends in place of the one it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// Whom it goes to.
    pub to: Side,
    /// What it says.
    pub message: Content,
}

/// What a whole message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Text or binary.
    pub kind: MessageKind,
    /// UTF-8 if it is text.
    pub payload: Vec<u8>,
}

/// A change to a list of header fields. Names are valid and in lower case, values are valid field values, and no name
/// is one that the runtime owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderEdit {
    /// Replaces all fields of that name.
    Set(String, Vec<u8>),
    /// Adds a field.
    Append(String, Vec<u8>),
    /// Removes all fields of that name.
    Remove(String),
}

/// The endpoint that a balancer picks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Its id.
    pub endpoint: u32,
    /// Edits of the 101 answer that goes to the client, if this endpoint takes the connection.
    pub client_headers: Vec<HeaderEdit>,
}

impl From<u32> for Choice {
    /// That endpoint and nothing else.
    fn from(endpoint: u32) -> Self {
        Self { endpoint, client_headers: Vec::new() }
    }
}

/// A filter's refusal of a handshake; `status` is within 300 to 599.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// Header fields of the answer, valid and none of them the runtime's own.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body of the answer.
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
