//! The types of the optional interfaces `streaming` and `timing`.

use wasmtime::component::{ComponentType, Lift, Lower};

use super::{Closing, MessageKind, Outgoing, load};
use crate::component::types;

#[derive(Clone, Copy, Debug, ComponentType, Lower)]
#[component(record)]
pub(in crate::component) struct Part<'a> {
    kind: MessageKind,
    first: bool,
    last: bool,
    bytes: &'a [u8],
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(in crate::component) enum PartVerdict {
    #[component(name = "forward")]
    Forward,
    #[component(name = "replace")]
    Replace(Vec<u8>),
    #[component(name = "close")]
    Close(Closing),
}

#[derive(Debug, ComponentType, Lift)]
#[component(variant)]
pub(in crate::component) enum Reaction {
    #[component(name = "nothing")]
    Nothing,
    #[component(name = "send")]
    Send(Vec<Outgoing>),
    #[component(name = "close")]
    Close(Closing),
}

impl PartVerdict {
    /// What it carries.
    pub(in crate::component) fn load(&self) -> types::Load {
        match self {
            Self::Replace(bytes) => types::Load { bytes: bytes.len(), ..types::Load::default() },
            Self::Forward | Self::Close(_) => types::Load::default(),
        }
    }
}

impl Reaction {
    /// What it carries.
    pub(in crate::component) fn load(&self) -> types::Load {
        match self {
            Self::Send(messages) => load(messages),
            Self::Nothing | Self::Close(_) => types::Load::default(),
        }
    }
}

impl<'a> From<&types::Part<'a>> for Part<'a> {
    fn from(part: &types::Part<'a>) -> Self {
        let types::Part { kind, first, last, bytes, .. } = *part;
        Self { kind: kind.into(), first, last, bytes }
    }
}

impl From<Reaction> for types::Reaction {
    fn from(reaction: Reaction) -> Self {
        match reaction {
            Reaction::Nothing => Self::Nothing,
            Reaction::Send(messages) => Self::Send(messages.into_iter().map(Into::into).collect()),
            Reaction::Close(Closing { code, reason }) => Self::Close(types::CloseFrame { code, reason }),
        }
    }
}

impl From<PartVerdict> for types::PartVerdict {
    fn from(verdict: PartVerdict) -> Self {
        match verdict {
            PartVerdict::Forward => Self::Forward,
            PartVerdict::Replace(bytes) => Self::Replace(bytes),
            PartVerdict::Close(Closing { code, reason }) => Self::Close(types::CloseFrame { code, reason }),
        }
    }
}
