//! What a filter asks of the runtime while it is called, by `timer` and `connection`. It is heeded once the call has
//! succeeded.

use std::time::Duration;

use thiserror::Error;
use tokio::time::Instant;

use crate::metrics::FailureReason;
use crate::token::OWN_ATTRIBUTES;

/// What was asked for in one call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    /// Timers by token; `None` takes one back.
    pub(super) timers: Vec<(u64, Option<Duration>)>,
    /// By name, the last of each.
    pub(super) attributes: Vec<(String, String)>,
    pub(super) lease: Option<Duration>,
    /// When a token is over that was handed in and holds.
    pub(super) renewed_until: Option<Instant>,
}

/// How much may be asked for in one call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Attributes.
    pub(super) count: usize,
    /// The bytes of their names and values.
    pub(super) size: usize,
}

/// A call asked for more than a session may have, or for what is not its own; it traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum Greedy {
    #[error("it set more than {MAX_TIMERS} timers for a session")]
    Timers,
    #[error("it set more than {0} attributes of a connection, which is its max_attachments")]
    Count(usize),
    #[error("it set an attribute of which only the runtime sets any: one that begins with `tls.` or `token.`")]
    Reserved,
    #[error("it set attributes of a connection with more than {0} bytes, which is its max_attachment_size")]
    Size(usize),
}

impl Greedy {
    /// What kind of failure it is.
    pub(super) fn reason(self) -> FailureReason {
        match self {
            Self::Timers => FailureReason::Trap,
            Self::Reserved => FailureReason::InvalidAnswer,
            Self::Count(_) | Self::Size(_) => FailureReason::Attachments,
        }
    }
}

impl Wishes {
    /// Asks for a timer, or to take it back.
    pub(super) fn timer(&mut self, token: u64, after: Option<Duration>) -> Result<(), Greedy> {
        let is_full = self.timers.len() >= 2 * MAX_TIMERS;
        match self.timers.iter_mut().find(|(known, _)| *known == token) {
            Some((_, time)) => *time = after,
            None if is_full => return Err(Greedy::Timers),
            None => self.timers.push((token, after)),
        }
        Ok(())
    }

    /// Asks for an attribute.
    pub(super) fn attribute(&mut self, name: String, value: String, bounds: Bounds) -> Result<(), Greedy> {
        if is_reserved(&name) {
            return Err(Greedy::Reserved);
        }
        set(&mut self.attributes, name, value);
        bounds.check(&self.attributes)
    }
}

impl Bounds {
    /// Whether a connection may have these.
    pub(super) fn check(self, attributes: &[(String, String)]) -> Result<(), Greedy> {
        let size: usize = attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        if attributes.len() > self.count {
            Err(Greedy::Count(self.count))
        } else if size > self.size {
            Err(Greedy::Size(self.size))
        } else {
            Ok(())
        }
    }
}

/// Whether only the runtime sets attributes of such a name.
pub(super) fn is_reserved(name: &str) -> bool {
    OWN_ATTRIBUTES.iter().any(|own| name.starts_with(own))
}

/// Sets an attribute, in place of the last one of that name; its place among them.
pub(super) fn set(attributes: &mut Vec<(String, String)>, name: String, value: String) -> usize {
    match attributes.iter_mut().enumerate().rev().find(|(_, (known, _))| *known == name) {
        Some((place, (_, known))) => {
            *known = value;
            place
        }
        None => {
            attributes.push((name, value));
            attributes.len() - 1
        }
    }
}

/// The timers that may wait for one session: a handful of purposes, each with a token of its own.
pub(super) const MAX_TIMERS: usize = 16;
