//! Why a connection ends, and what each side is told.

use std::borrow::Cow;

use crate::component::Failure;
use crate::metrics::{CloseLabel, FailureReason, Initiator};
use crate::peer::Side;
use crate::ws::{CloseFrame, Violation};

/// The end of a connection, as the access log and the metrics tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Who ended it.
    pub by: Initiator,
    /// The code of `closes_total`.
    pub label: CloseLabel,
    /// The close frame that ended it, where there was one with a code.
    pub close: Option<CloseFrame>,
    /// What happened, where the close frame does not say it: for the access log.
    pub cause: Cow<'static, str>,
}

impl Outcome {
    /// The close code; 1005 for a frame without one and 1006 for none (RFC 6455 section 7.1.5).
    pub fn code(&self) -> u16 {
        match (&self.close, self.label) {
            (Some(close), _) => close.code,
            (None, CloseLabel::NoStatus) => 1005,
            (None, _) => 1006,
        }
    }
}

/// An [`Outcome`] with what is still to be told.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) outcome: Outcome,
    pub(super) to_client: Option<CloseFrame>,
    pub(super) to_upstream: Option<CloseFrame>,
}

impl Ending {
    /// A peer sent a close frame, which went on to the other as it was.
    pub(super) fn closed(by: Side, close: Option<CloseFrame>) -> Self {
        let label = close.as_ref().map_or(CloseLabel::NoStatus, |close| CloseLabel::of(close.code));
        let outcome = Outcome { by: by.into(), label, close, cause: Cow::Borrowed("") };
        Self { outcome, to_client: None, to_upstream: None }
    }

    /// A peer's socket ended without a close frame.
    pub(super) fn vanished(side: Side, cause: Cow<'static, str>) -> Self {
        let outcome = Outcome { by: side.into(), label: CloseLabel::Abnormal, close: None, cause };
        let (to_client, to_upstream) = match side {
            Side::Client => (None, Some(CloseFrame::new(1001, "the client went away"))),
            Side::Upstream => (Some(CloseFrame::new(1014, "the upstream went away")), None),
        };
        Self { outcome, to_client, to_upstream }
    }

    /// A peer broke the protocol or a limit.
    pub(super) fn violation(by: Side, violation: Violation) -> Self {
        let cause = violation.to_string();
        let own = CloseFrame::new(violation.code(), cause.clone());
        Self::misconduct(by, own, cause)
    }

    /// A peer did not answer a ping.
    pub(super) fn pong_timeout(silent: Side) -> Self {
        Self::misconduct(silent, CloseFrame::new(1011, "pong_timeout"), format!("pong_timeout: {}", silent.label()))
    }

    /// One peer is at fault; the other hears that the connection cannot go on.
    fn misconduct(offender: Side, own: CloseFrame, cause: String) -> Self {
        let (to_client, to_upstream) = match offender {
            Side::Client => {
                let other = CloseFrame::new(1011, format!("the client is at fault: {cause}"));
                (own.clone(), other)
            }
            Side::Upstream => {
                let other = CloseFrame::new(1014, format!("the upstream is at fault: {cause}"));
                (other, own.clone())
            }
        };
        Self {
            outcome: Outcome {
                by: Initiator::Proxy,
                label: CloseLabel::of(own.code),
                close: Some(own),
                cause: cause.into(),
            },
            to_client: Some(to_client),
            to_upstream: Some(to_upstream),
        }
    }

    /// A component failed, and its use says `close`. That a message is too large for it is its sender's failure.
    pub(super) fn failed(failure: &Failure) -> Self {
        let close = match failure.reason {
            FailureReason::MessageSize => CloseFrame::new(1009, "a message is too large for a filter"),
            _ => CloseFrame::new(1011, "a filter failed"),
        };
        Self::ordered(close, failure.to_string())
    }

    /// The proxy closes both sides alike.
    pub(super) fn ordered(close: CloseFrame, cause: impl Into<Cow<'static, str>>) -> Self {
        let outcome = Outcome {
            by: Initiator::Proxy,
            label: CloseLabel::of(close.code),
            close: Some(close.clone()),
            cause: cause.into(),
        };
        Self { outcome, to_client: Some(close.clone()), to_upstream: Some(close) }
    }
}
