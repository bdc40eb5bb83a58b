//! The types of `wit/` as they pass between host and guest. Wasmtime checks them against a component's own types when
//! its exports are bound, and a test binds them to the files in `wit/`.
//!
//! What goes to a guest borrows from the host's types and is copied once, into the guest's memory. These types are
//! written by hand because generated ones would own the payloads of a batch, or borrow by way of one allocation for each list.

mod arrival;
mod hooks;
mod words;

use wasmtime::component::{ComponentType, Lift, Lower, ResourceAny, flags};

pub(super) use self::arrival::Arrival;
pub(super) use self::hooks::{Part, PartVerdict, Reaction};
pub(super) use self::words::Words;

use super::endpoints::PickEndpoint;
use super::types;
use crate::peer;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lift)]
#[component(enum)]
#[repr(u8)]
#[expect(dead_code, reason = "some levels are made by guests only")]
pub(super) enum Level {
    #[component(name = "error")]
    Error,
    #[component(name = "warn")]
    Warn,
    #[component(name = "info")]
    Info,
    #[component(name = "debug")]
    Debug,
}

#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum Side {
    #[component(name = "client")]
    Client,
    #[component(name = "upstream")]
    Upstream,
}

#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(enum)]
#[repr(u8)]
pub(super) enum MessageKind {
    #[component(name = "text")]
    Text,
    #[component(name = "binary")]
    Binary,
}

#[derive(Clone, Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct Handshake<'a> {
    method: &'a str,
    scheme: &'a str,
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    #[component(name = "http-version")]
    http_version: &'a str,
    headers: Vec<(&'a str, &'a [u8])>,
    protocols: &'a [String],
    #[component(name = "client-address")]
    client_address: &'a str,
    #[component(name = "client-port")]
    client_port: u16,
    #[component(name = "connection-id")]
    connection_id: &'a str,
    route: &'a str,
    attributes: &'a [(String, String)],
}

#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(variant)]
pub(super) enum Message<'a> {
    #[component(name = "text")]
    Text(&'a str),
    #[component(name = "binary")]
    Binary(&'a [u8]),
    #[component(name = "head")]
    Head(Head<'a>),
}

#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct Head<'a> {
    kind: MessageKind,
    size: u32,
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct CloseFrame<'a> {
    code: u16,
    reason: &'a str,
}

#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(super) struct Endpoint<'a> {
    id: u32,
    url: &'a str,
    weight: u32,
    active: u32,
    zone: Option<&'a str>,
    metadata: &'a [(String, String)],
}

flags! {
    Kinds {
        #[component(name = "text")]
        const TEXT;
        #[component(name = "binary")]
        const BINARY;
    }
}

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum Need {
    #[component(name = "nothing")]
    Nothing,
    #[component(name = "head")]
    Head(u32),
    #[component(name = "stream")]
    Stream,
    #[component(name = "rewrite")]
    Rewrite,
    #[component(name = "whole")]
    Whole,
}

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Selection {
    kinds: Kinds,
    need: Need,
}

#[derive(Clone, Copy, Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Interest {
    #[component(name = "from-client")]
    from_client: Selection,
    #[component(name = "from-upstream")]
    from_upstream: Selection,
}

pub(super) type Header = (String, Vec<u8>);

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum HeaderEdit {
    #[component(name = "set")]
    Set(Header),
    #[component(name = "append")]
    Append(Header),
    #[component(name = "remove")]
    Remove(String),
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) headers: Vec<Header>,
    pub(super) body: Vec<u8>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Admission {
    pub(super) session: ResourceAny,
    #[component(name = "upstream-headers")]
    pub(super) upstream_headers: Vec<HeaderEdit>,
    #[component(name = "client-headers")]
    pub(super) client_headers: Vec<HeaderEdit>,
    pub(super) attributes: Vec<(String, String)>,
    #[component(name = "lease-seconds")]
    pub(super) lease_seconds: Option<u32>,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Choice {
    pub(super) endpoint: u32,
    #[component(name = "client-headers")]
    pub(super) client_headers: Vec<HeaderEdit>,
}

/// What an answer to a handshake carries beside the decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attachments {
    /// Header edits, attributes and fields.
    pub(super) count: usize,
    /// Their names and values, and a refusal's body.
    pub(super) size: usize,
}

impl Refusal {
    pub(super) fn attachments(&self) -> Attachments {
        let fields: usize = self.headers.iter().map(header_size).sum();
        Attachments { count: self.headers.len(), size: fields + self.body.len() }
    }
}

impl Admission {
    pub(super) fn attachments(&self) -> Attachments {
        let Self { upstream_headers, client_headers, attributes, .. } = self;
        let edits = upstream_headers.iter().chain(client_headers).map(HeaderEdit::size);
        let attached = attributes.iter().map(|(name, value)| name.len() + value.len());
        Attachments {
            count: upstream_headers.len() + client_headers.len() + attributes.len(),
            size: edits.chain(attached).sum(),
        }
    }
}

impl Choice {
    pub(super) fn attachments(&self) -> Attachments {
        let Self { client_headers, .. } = self;
        Attachments { count: client_headers.len(), size: client_headers.iter().map(HeaderEdit::size).sum() }
    }
}

impl HeaderEdit {
    fn size(&self) -> usize {
        match self {
            Self::Set(header) | Self::Append(header) => header_size(header),
            Self::Remove(name) => name.len(),
        }
    }
}

fn header_size((name, value): &Header) -> usize {
    name.len() + value.len()
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum Content {
    #[component(name = "text")]
    Text(String),
    #[component(name = "binary")]
    Binary(Vec<u8>),
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Outgoing {
    to: Side,
    message: Content,
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Closing {
    code: u16,
    reason: String,
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(super) enum Verdict {
    #[component(name = "forward")]
    Forward,
    #[component(name = "delay")]
    Delay(u32),
    #[component(name = "replace")]
    Replace(Content),
    #[component(name = "drop")]
    Drop,
    #[component(name = "send")]
    Send(Vec<Outgoing>),
    #[component(name = "close")]
    Close(Closing),
}

#[derive(Debug, ComponentType, Lift)]
#[component(record)]
pub(super) struct Decision {
    pub(super) message: u32,
    pub(super) verdict: Verdict,
}

impl Content {
    #[inline]
    fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// What messages carry that are sent.
fn load(messages: &[Outgoing]) -> types::Load {
    types::Load { messages: messages.len(), bytes: messages.iter().map(|outgoing| outgoing.message.size()).sum() }
}

impl Verdict {
    /// What it carries.
    #[inline]
    pub(super) fn load(&self) -> types::Load {
        match self {
            Self::Replace(content) => types::Load { bytes: content.size(), ..types::Load::default() },
            Self::Send(messages) => load(messages),
            Self::Forward | Self::Delay(_) | Self::Drop | Self::Close(_) => types::Load::default(),
        }
    }
}

impl From<peer::Side> for Side {
    fn from(side: peer::Side) -> Self {
        match side {
            peer::Side::Client => Self::Client,
            peer::Side::Upstream => Self::Upstream,
        }
    }
}

impl From<Side> for peer::Side {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Upstream => Self::Upstream,
        }
    }
}

impl From<peer::MessageKind> for MessageKind {
    fn from(kind: peer::MessageKind) -> Self {
        match kind {
            peer::MessageKind::Text => Self::Text,
            peer::MessageKind::Binary => Self::Binary,
        }
    }
}

impl<'a> From<&'a types::Handshake> for Handshake<'a> {
    fn from(handshake: &'a types::Handshake) -> Self {
        Self {
            method: &handshake.method,
            scheme: handshake.scheme,
            authority: &handshake.authority,
            path: &handshake.path,
            query: handshake.query.as_deref(),
            http_version: handshake.http_version,
            headers: handshake.headers.iter().collect(),
            protocols: &handshake.protocols,
            client_address: &handshake.client_address,
            client_port: handshake.client_port,
            connection_id: &handshake.connection_id,
            route: &handshake.route,
            attributes: &handshake.attributes,
        }
    }
}

impl<'a> From<&'a PickEndpoint> for Endpoint<'a> {
    fn from(endpoint: &'a PickEndpoint) -> Self {
        let about = &*endpoint.about;
        Self {
            id: endpoint.id,
            url: &about.url,
            weight: endpoint.weight,
            active: endpoint.active(),
            zone: about.zone.as_deref(),
            metadata: &about.metadata,
        }
    }
}

impl<'a> Message<'a> {
    /// A message for a filter that needs so much of it.
    #[inline]
    pub(super) fn of(message: &types::Message<'a>, need: types::Need) -> Self {
        let types::Message { kind, size, payload, .. } = *message;
        match (need, kind) {
            (types::Need::Whole, peer::MessageKind::Binary) => Self::Binary(payload),
            // It was checked before, and is checked again rather than believed.
            (types::Need::Whole, peer::MessageKind::Text) => {
                simdutf8::basic::from_utf8(payload).map_or(Self::Binary(payload), Self::Text)
            }
            (_, kind) => Self::Head(Head { kind: kind.into(), size: saturated(size), bytes: payload }),
        }
    }
}

/// A size as the contract counts it.
fn saturated(size: u64) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}

impl<'a> From<&'a types::CloseFrame> for CloseFrame<'a> {
    fn from(close: &'a types::CloseFrame) -> Self {
        Self { code: close.code, reason: &close.reason }
    }
}

impl From<Selection> for types::Selection {
    fn from(selection: Selection) -> Self {
        let kinds = types::Kinds {
            text: selection.kinds.contains(Kinds::TEXT),
            binary: selection.kinds.contains(Kinds::BINARY),
        };
        let need = match selection.need {
            Need::Nothing | Need::Head(0) => types::Need::Nothing,
            Need::Head(length) => types::Need::Head(length),
            Need::Stream => types::Need::Stream,
            Need::Rewrite => types::Need::Rewrite,
            Need::Whole => types::Need::Whole,
        };
        Self { kinds, need }
    }
}

impl From<Interest> for types::Interest {
    fn from(interest: Interest) -> Self {
        Self { from_client: interest.from_client.into(), from_upstream: interest.from_upstream.into() }
    }
}

impl From<HeaderEdit> for types::HeaderEdit {
    fn from(edit: HeaderEdit) -> Self {
        match edit {
            HeaderEdit::Set((name, value)) => Self::Set(name, value),
            HeaderEdit::Append((name, value)) => Self::Append(name, value),
            HeaderEdit::Remove(name) => Self::Remove(name),
        }
    }
}

impl From<Content> for types::Content {
    fn from(content: Content) -> Self {
        match content {
            Content::Text(text) => Self { kind: peer::MessageKind::Text, payload: text.into_bytes() },
            Content::Binary(payload) => Self { kind: peer::MessageKind::Binary, payload },
        }
    }
}

impl From<Outgoing> for types::Outgoing {
    fn from(outgoing: Outgoing) -> Self {
        Self { to: outgoing.to.into(), message: outgoing.message.into() }
    }
}

impl From<Verdict> for types::Verdict {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Forward => Self::Forward,
            Verdict::Delay(milliseconds) => Self::Delay(milliseconds),
            Verdict::Replace(content) => Self::Replace(content.into()),
            Verdict::Drop => Self::Drop,
            Verdict::Send(messages) => Self::Send(messages.into_iter().map(Into::into).collect()),
            Verdict::Close(Closing { code, reason }) => Self::Close(types::CloseFrame { code, reason }),
        }
    }
}
