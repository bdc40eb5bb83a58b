//! Whether an endpoint fails at present, and when it is asked again.
//!
//! An endpoint that could not be reached, or did not answer a handshake, fails from then on for a while, and every
//! handshake that can go elsewhere does. When the while is over one attempt at a time finds out how it is by now: a
//! success ends the failing, a failure makes the next while twice as long. Time comes in as an argument. Which
//! handshake makes an attempt is decided elsewhere.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::metrics::ConnectOutcome;
use crate::upstream::Fault;

/// The failures of one endpoint, shared by all workers.
#[derive(Debug)]
pub(super) struct Failures {
    record: Mutex<Record>,
    /// How many endpoints of the upstream fail; this one is counted while it does.
    among: Arc<AtomicUsize>,
    gauge: Arc<AtomicU64>,
}

#[derive(Debug, Default)]
struct Record {
    /// Since the last success.
    in_a_row: u32,
    succeeded_at: Option<Instant>,
    last: Option<ConnectOutcome>,
    failing: Option<Failing>,
    /// Whether nobody is sent there any more.
    retired: bool,
    /// When the operator last heard that it stopped answering.
    told_at: Option<Instant>,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    /// How long it is left alone this time.
    wait: Duration,
    until: Instant,
    /// Whether an attempt is finding out.
    probed: bool,
    told: bool,
}

/// What an attempt is to its endpoint. It has to be given to one of [`Failures::succeeded`], [`Failures::failed`] and
/// [`Failures::given_up`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    at: Instant,
    /// For the one that finds out how a failing endpoint is: how long it should wait for that.
    pub(super) patience: Option<Duration>,
}

/// A failing endpoint, for the admin API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailingNow {
    /// Attempts that failed since the last one that did not.
    pub failures: u32,
    /// How the last one failed.
    pub last: Option<ConnectOutcome>,
    /// How long it still comes last; zero when the next handshake may find out.
    pub left: Duration,
}

/// What an outcome has changed, and whether the operator is to hear of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Nothing,
    Failing { tell: bool },
    Well { tell: bool, after: Duration },
}

impl Failures {
    /// None yet. `among` counts what fails of the upstream, `gauge` what fails under this url.
    pub(super) fn none(among: Arc<AtomicUsize>, gauge: Arc<AtomicU64>) -> Self {
        Self { record: Mutex::default(), among, gauge }
    }

    /// Whether the endpoint is to come last: it fails, and no attempt is due.
    pub(super) fn comes_last(&self, now: Instant) -> bool {
        self.record().failing.as_ref().is_some_and(|failing| !failing.is_due(now))
    }

    pub(super) fn is_failing(&self) -> bool {
        self.record().failing.is_some()
    }

    /// What is known of an endpoint that fails.
    pub(super) fn now(&self, now: Instant) -> Option<FailingNow> {
        let record = self.record();
        let failing = record.failing.as_ref()?;
        let left = failing.until.saturating_duration_since(now);
        Some(FailingNow { failures: record.in_a_row, last: record.last, left })
    }

    /// An attempt begins. Of a failing endpoint whose while is over, the first that begins finds out.
    pub(super) fn begin(&self, now: Instant) -> Begun {
        let mut record = self.record();
        let due = record.failing.as_mut().filter(|failing| failing.is_due(now));
        let patience = due.map(|failing| {
            failing.probed = true;
            // A client should not pay much for it, nor should an endpoint that has become slow be shut out for ever.
            failing.wait / PATIENCE
        });
        Begun { at: now, patience }
    }

    /// The endpoint has answered.
    pub(super) fn succeeded(&self, now: Instant) -> Change {
        let mut record = self.record();
        record.in_a_row = 0;
        record.succeeded_at = Some(now);
        let Some(failing) = record.failing.take() else { return Change::Nothing };
        self.uncount();
        Change::Well { tell: failing.told, after: now.saturating_duration_since(failing.since) }
    }

    /// An attempt has failed. What may be the fault of one request only counts when it happens again and again, and
    /// nothing counts when the endpoint has answered somebody else meanwhile.
    pub(super) fn failed(&self, begun: Begun, fault: Fault, outcome: ConnectOutcome, now: Instant) -> Change {
        let mut record = self.record();
        if let Some(failing) = record.failing.as_mut().filter(|_| begun.patience.is_some()) {
            failing.probed = false;
        }
        if record.retired || fault == Fault::None || record.succeeded_at.is_some_and(|at| at > begun.at) {
            return Change::Nothing;
        }
        record.in_a_row = record.in_a_row.saturating_add(1);
        record.last = Some(outcome);
        if let Some(failing) = &mut record.failing {
            // What was under way when it began to fail says nothing new.
            if begun.patience.is_some() {
                failing.leave_alone(failing.wait.saturating_mul(2).min(LONGEST), now);
            }
            return Change::Nothing;
        }
        if fault == Fault::Doubtful && record.in_a_row < DOUBTFUL {
            return Change::Nothing;
        }
        let tell = record.told_at.is_none_or(|at| now.saturating_duration_since(at) >= TELLING);
        if tell {
            record.told_at = Some(now);
        }
        let mut failing = Failing { since: now, wait: FIRST, until: now, probed: false, told: tell };
        failing.leave_alone(FIRST, now);
        record.failing = Some(failing);
        self.among.fetch_add(1, Ordering::Relaxed);
        self.gauge.fetch_add(1, Ordering::Relaxed);
        Change::Failing { tell }
    }

    /// The attempt ended because its client left. One that had waited long may well have waited in vain.
    pub(super) fn given_up(&self, begun: Begun, now: Instant) -> Change {
        let waited = now.saturating_duration_since(begun.at) >= LONG_WAIT;
        let fault = if waited { Fault::Doubtful } else { Fault::None };
        self.failed(begun, fault, ConnectOutcome::HandshakeTimeout, now)
    }

    /// Nobody is sent there any more: it has left its upstream, or is off. Then it is no failing endpoint, whatever becomes
    /// of attempts that are under way.
    pub(super) fn retire(&self) {
        let mut record = self.record();
        record.retired = true;
        if record.failing.take().is_some() {
            self.uncount();
        }
    }

    /// The while is over: there is reason to find out at once.
    pub(super) fn fall_due(&self, now: Instant) {
        if let Some(failing) = &mut self.record().failing {
            failing.until = failing.until.min(now);
        }
    }

    fn uncount(&self) {
        self.among.fetch_sub(1, Ordering::Relaxed);
        self.gauge.fetch_sub(1, Ordering::Relaxed);
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Failures {
    fn drop(&mut self) {
        if self.is_failing() {
            self.uncount();
        }
    }
}

impl Failing {
    fn is_due(&self, now: Instant) -> bool {
        !self.probed && now >= self.until
    }

    /// Jittered, so that what began to fail together is not asked together.
    fn leave_alone(&mut self, wait: Duration, now: Instant) {
        self.wait = wait;
        self.until = now + wait.mul_f64(rand::random_range(JITTER));
    }
}

/// The first while: a process that restarts is back in a moment.
const FIRST: Duration = Duration::from_secs(1);
/// The longest: how long a connection that was healed may go unused.
const LONGEST: Duration = Duration::from_secs(60);
const JITTER: std::ops::Range<f64> = 0.8..1.2;
/// The part of the while that the attempt after it may take, where there are other endpoints.
const PATIENCE: u32 = 4;
/// A gateway may refuse one path or one user with a 503; an endpoint that does so to three in a row refuses all.
const DOUBTFUL: u32 = 3;
/// Much longer than a handshake takes.
const LONG_WAIT: Duration = Duration::from_secs(1);
/// How often the operator hears that the same endpoint stopped answering, and each time that it is back.
const TELLING: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
