//! How a source is doing, for whoever asks.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::metrics::DiscoveryMetrics;

/// How a source is doing.
#[derive(Debug)]
pub struct Standing {
    /// The upstream whose endpoints it finds.
    pub upstream: String,
    /// What kind of source it is.
    pub source: &'static str,
    state: Mutex<State>,
    /// Whether the source has said something, or has been found to say nothing.
    is_known: watch::Sender<bool>,
    metrics: Arc<DiscoveryMetrics>,
}

#[derive(Debug, Default)]
struct State {
    /// Why it is not up; `None`: it is.
    trouble: Option<String>,
    /// Since when.
    troubled_since: Option<Instant>,
    /// When the operator was told last.
    told: Option<Instant>,
    /// What of its last set cannot be read.
    unreadable: Option<String>,
}

impl Standing {
    pub(super) fn new(upstream: &str, source: &'static str, metrics: Arc<DiscoveryMetrics>) -> Self {
        let state = Mutex::default();
        Self { upstream: upstream.to_owned(), source, state, is_known: watch::Sender::new(false), metrics }
    }

    /// What is wrong at the moment, as a sentence; `None`: nothing.
    pub fn trouble(&self) -> Option<String> {
        let State { trouble, unreadable, .. } = &*self.state();
        trouble.clone().or_else(|| unreadable.clone())
    }

    /// How long nobody has been able to say whether the endpoints are the right ones; zero while the source is up. `None`: there have
    /// never been any.
    pub fn age(&self) -> Option<Duration> {
        self.metrics.set_age()
    }

    /// Whether the source is up.
    pub fn is_up(&self) -> bool {
        self.metrics.is_up()
    }

    /// A line for whoever asks whether all is well; `None`: it is.
    pub(super) fn remark(&self) -> Option<String> {
        let Self { upstream, source, .. } = self;
        let trouble = self.trouble()?;
        Some(match self.age() {
            None => format!("upstream {upstream}: its endpoints are not known yet, because of its {source}: {trouble}"),
            Some(age) if age.is_zero() => format!("upstream {upstream}: of its {source}: {trouble}"),
            Some(age) => format!(
                "upstream {upstream}: its endpoints are those of {} s ago, because of its {source}: {trouble}",
                age.as_secs()
            ),
        })
    }

    /// Waits until the source has been asked once, whatever it has said.
    pub(super) async fn until_known(&self) {
        // It cannot end while it is borrowed.
        let _ = self.is_known.subscribe().wait_for(|is_known| *is_known).await;
    }

    /// The source has said what there is. Of that, `unreadable` was passed over.
    pub(super) fn found(&self, endpoints: usize, unreadable: &[String]) {
        self.metrics.found(endpoints, unreadable.len());
        let now = Instant::now();
        let mut state = self.state();
        if let Some(since) = state.troubled_since.take() {
            let lost_ms = u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX);
            if state.told.is_some() {
                tracing::info!(
                    upstream = self.upstream,
                    source = self.source,
                    lost_ms,
                    "a source of endpoints is back"
                );
            }
        }
        (state.trouble, state.told) = (None, state.told.filter(|_| !unreadable.is_empty()));
        state.unreadable = (!unreadable.is_empty()).then(|| listed(unreadable));
        if let Some(reason) = state.unreadable.clone()
            && state.is_due(now)
        {
            let Self { upstream, source, .. } = self;
            tracing::warn!(
                upstream,
                source,
                reason,
                "entries of a source of endpoints cannot be read; what they said before stays"
            );
        }
        drop(state);
        self.is_known.send_replace(true);
    }

    /// The source has failed. What it said last stays in force.
    pub(super) fn failed(&self, reason: String) {
        self.metrics.failed();
        let now = Instant::now();
        let mut state = self.state();
        state.troubled_since.get_or_insert(now);
        if state.is_due(now) {
            let Self { upstream, source, .. } = self;
            tracing::warn!(upstream, source, reason, "a source of endpoints fails; what it said last stays in force");
        }
        state.trouble = Some(reason);
        drop(state);
        self.is_known.send_replace(true);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether the operator is to be told now, which happens then.
    fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if is_due {
            self.told = Some(now);
        }
        is_due
    }
}

/// What fits a line.
fn listed(unreadable: &[String]) -> String {
    let more = unreadable.len().saturating_sub(MOST_TOLD);
    let told = unreadable.iter().take(MOST_TOLD).cloned().chain((more > 0).then(|| format!("and {more} more")));
    told.collect::<Vec<_>>().join("; ")
}

/// More often would be no news.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// More entries would be no line to read.
const MOST_TOLD: usize = 4;
