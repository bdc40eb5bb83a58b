//! A candidate's trial: what has come of it so far, and how it ends.
//!
//! Its state is one for all workers and as old as the candidate. A worker reads two words of it for each connection that
//! opens; everything else is touched by those that a candidate shadows, and by its failures.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::decision::{Decision, Decisions};
use crate::component::{Content, Message, Outgoing, Probation, Verdict};
use crate::metrics::{CandidateMetrics, ShadowOutcome, WorkerIndex};
use crate::peer::{MessageKind, Side};

/// How a candidate is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its verdicts are compared with the filter's, and dropped.
    Shadow,
    /// It serves so many of ten thousand new connections.
    Canary {
        /// From 1 to 10,000.
        of_ten_thousand: u16,
    },
}

/// The terms of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// How the candidate is tried.
    pub mode: Mode,
    /// After this many failures it is rolled back; `None`: however many there are.
    pub max_failures: Option<NonZeroU32>,
    /// How many messages are kept on which a shadow disagreed.
    pub samples: usize,
}

/// A component as a candidate.
#[derive(Clone, Debug)]
pub struct Candidacy {
    /// The name of the component that is in the place so far.
    pub of: String,
    /// How it is tried.
    pub terms: Terms,
    /// What is decided about it, by decisions about its former version, too.
    pub decisions: Decisions,
}

/// What has become of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is tried.
    OnTrial,
    /// An operator has put it in the filter's place.
    Promoted,
    /// An operator has taken it back.
    RolledBack,
    /// It failed too often.
    Failed,
}

/// A message, or a handshake, about which a shadow disagreed with its filter.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The connection's id.
    pub connection: String,
    /// The message; `None`: the handshake.
    pub message: Option<SampledMessage>,
    /// What the filter said.
    pub filter: String,
    /// What the candidate said.
    pub candidate: String,
}

/// The start of a message.
#[derive(Clone, Debug)]
pub struct SampledMessage {
    /// Who sent it.
    pub origin: Side,
    /// Text or binary.
    pub kind: MessageKind,
    /// Length of the whole payload.
    pub size: u64,
    /// The first bytes, as far as the candidate saw them; bytes that are no text are escaped.
    pub payload: String,
}

/// The trial of one candidate.
#[derive(Debug)]
pub(super) struct Trial {
    of: String,
    terms: Terms,
    metrics: Arc<CandidateMetrics>,
    decisions: Decisions,
    failures: AtomicU32,
    /// Whether they were too many while it was tried.
    has_failed: AtomicBool,
    outcomes: [AtomicU64; ShadowOutcome::COUNT],
    samples: Mutex<VecDeque<Sample>>,
}

impl Trial {
    pub(super) fn new(candidacy: Candidacy, metrics: Arc<CandidateMetrics>) -> Self {
        let Candidacy { of, terms, decisions } = candidacy;
        Self {
            of,
            terms,
            metrics,
            decisions,
            failures: AtomicU32::new(0),
            has_failed: AtomicBool::new(false),
            outcomes: Default::default(),
            samples: Mutex::default(),
        }
    }

    pub(super) fn terms(&self) -> &Terms {
        &self.terms
    }

    /// An operator's word counts for more than failures.
    #[inline]
    pub(super) fn standing(&self) -> Standing {
        match self.decisions.decided() {
            Some(Decision::Promoted) => Standing::Promoted,
            Some(Decision::RolledBack) => Standing::RolledBack,
            None if self.has_failed.load(Ordering::Relaxed) => Standing::Failed,
            None => Standing::OnTrial,
        }
    }

    /// What is decided about the candidate.
    pub(super) fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    pub(super) fn failures(&self) -> u32 {
        self.failures.load(Ordering::Relaxed)
    }

    /// How often each outcome was, in the order of [`ShadowOutcome::ALL`].
    pub(super) fn outcomes(&self) -> [u64; ShadowOutcome::COUNT] {
        self.outcomes.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    /// The last samples, the oldest first.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.kept().iter().cloned().collect()
    }

    /// Takes note of what a shadow said on a worker.
    pub(super) fn shadowed(&self, worker: WorkerIndex, outcome: ShadowOutcome, count: u64) {
        self.metrics.of(worker).decided(outcome, count);
        if let Some(counter) = self.outcomes.get(outcome as usize) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Keeps a message on which filter and candidate differ, or a handshake where there is none.
    pub(super) fn keep(&self, connection: &str, message: Option<&Message<'_>>, said: impl FnOnce() -> [String; 2]) {
        if self.terms.samples == 0 {
            return;
        }
        let [filter, candidate] = said();
        let (connection, message) = (connection.to_owned(), message.map(SampledMessage::of));
        let sample = Sample { connection, message, filter, candidate };
        let mut kept = self.kept();
        while kept.len() >= self.terms.samples {
            kept.pop_front();
        }
        kept.push_back(sample);
    }

    fn kept(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Probation for Trial {
    fn of(&self) -> &str {
        &self.of
    }

    fn is_on(&self) -> bool {
        self.standing() == Standing::OnTrial
    }

    fn has_failed(&self) -> bool {
        self.standing() == Standing::Failed
    }

    #[cold]
    fn failed(&self, worker: WorkerIndex) -> Option<u32> {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let is_too_many = self.terms.max_failures.is_some_and(|most| failures >= most.get());
        let is_tried = || self.decisions.decided().is_none();
        let ends = is_too_many && is_tried() && !self.has_failed.swap(true, Ordering::Relaxed);
        ends.then(|| {
            self.decisions.failed();
            self.metrics.of(worker).rollbacks.add(1);
            failures
        })
    }
}

impl SampledMessage {
    fn of(message: &Message<'_>) -> Self {
        let Message { origin, kind, size, payload } = *message;
        Self { origin, kind, size, payload: shown(payload) }
    }
}

/// A verdict as a sample shows it.
pub(super) fn describe(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Forward => "forward".to_owned(),
        Verdict::Delay(milliseconds) => format!("delay {milliseconds} ms"),
        Verdict::Replace(content) => format!("replace: {}", shown(&content.payload)),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Send(messages) => {
            let each = messages.iter().map(|message| {
                let Outgoing { to, message: Content { kind, payload } } = message;
                format!("{} to {}: {}", kind.label(), to.label(), shown(payload))
            });
            let all = each.take(SAMPLED_MESSAGES).collect::<Vec<_>>().join(", ");
            format!("send {} ({all})", messages.len())
        }
        Verdict::Close(close) => format!("close {}: {}", close.code, close.reason),
    }
}

/// The start of a payload, as text.
fn shown(payload: &[u8]) -> String {
    let start = payload.get(..SAMPLED_BYTES).unwrap_or(payload);
    let text = match std::str::from_utf8(start) {
        Ok(text) => Some(text),
        // A character that is cut in two is left out.
        Err(error) if error.error_len().is_none() && start.len() < payload.len() => {
            start.get(..error.valid_up_to()).and_then(|whole| std::str::from_utf8(whole).ok())
        }
        Err(_) => None,
    };
    text.map_or_else(|| start.escape_ascii().to_string(), str::to_owned)
}

/// Of each payload in a sample.
const SAMPLED_BYTES: usize = 256;
/// Of the messages of a `send` in a sample.
const SAMPLED_MESSAGES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    const WORKER: WorkerIndex = WorkerIndex(0);

    fn trial(max_failures: u32, samples: usize) -> Trial {
        let terms = Terms { mode: Mode::Shadow, max_failures: NonZeroU32::new(max_failures), samples };
        let candidacy = Candidacy { of: "shout".to_owned(), terms, decisions: Decisions::none() };
        Trial::new(candidacy, Metrics::new(1).candidate("r", "c"))
    }

    #[test]
    fn the_failure_too_many_ends_the_trial_once() {
        let trial = trial(3, 0);
        assert_eq!([(); 4].map(|()| trial.failed(WORKER)), [None, None, Some(3), None]);
        assert_eq!(trial.metrics.of(WORKER).rollbacks.value(), 1);
        assert_eq!((trial.standing(), trial.failures()), (Standing::Failed, 4));
    }

    #[test]
    fn an_operators_decision_stands_whatever_fails_afterwards() {
        for (decision, standing) in
            [(Decision::Promoted, Standing::Promoted), (Decision::RolledBack, Standing::RolledBack)]
        {
            let trial = trial(1, 0);
            trial.decisions.decide(decision);
            assert_eq!(trial.failed(WORKER), None);
            assert_eq!(trial.standing(), standing);
        }
    }

    #[test]
    fn without_a_limit_nothing_fails_too_often() {
        let trial = trial(0, 0);
        assert!(!(0..1000).any(|_| trial.failed(WORKER).is_some()));
    }

    #[test]
    fn the_last_samples_are_kept_and_no_more_than_were_asked_for() {
        let trial = trial(1, 2);
        for number in 0..5_u8 {
            let payload = [b'0' + number];
            let message = Message { origin: Side::Client, kind: MessageKind::Text, size: 1, payload: &payload };
            trial.keep("c-1", Some(&message), || ["forward".to_owned(), "drop".to_owned()]);
        }
        let kept = trial.samples().into_iter().map(|sample| sample.message.unwrap().payload);
        assert_eq!(kept.collect::<Vec<_>>(), ["3", "4"]);
        let none = self::trial(1, 0);
        none.keep("c-1", None, Default::default);
        assert!(none.samples().is_empty());
    }

    #[test]
    fn a_payload_is_shown_as_text_and_cut_between_characters() {
        assert_eq!(shown("grüße".as_bytes()), "grüße");
        assert_eq!(shown(&[0xff, b'a', 0]), "\\xffa\\x00");
        let long = format!("{}ü", "x".repeat(SAMPLED_BYTES - 1));
        assert_eq!(shown(long.as_bytes()), "x".repeat(SAMPLED_BYTES - 1));
        let close = Verdict::Close(crate::component::CloseFrame::new(1008, "no"));
        assert_eq!(describe(&close), "close 1008: no");
    }
}
