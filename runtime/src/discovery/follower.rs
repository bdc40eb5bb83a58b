//! Following one source: what it says, and what is made of it.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::time::{Instant, sleep, sleep_until};

use super::Terms;
use super::entry::Entry;
use super::report::{Lost, Report, Said};
use super::standing::Standing;
use crate::balance::{EndpointSpec, Feed};

/// Follows a source for an upstream.
#[derive(Debug)]
pub(super) struct Follower {
    terms: Terms,
    feed: Feed,
    standing: Arc<Standing>,
    /// What was read last, by key.
    read: HashMap<String, EndpointSpec>,
    /// When a set without endpoints is believed; `None`: there is none.
    empty_at: Option<Instant>,
    /// How often it has failed in a row.
    failures: u32,
}

impl Follower {
    pub(super) fn new(terms: Terms, feed: Feed, standing: Arc<Standing>) -> Self {
        Self { terms, feed, standing, read: HashMap::new(), empty_at: None, failures: 0 }
    }

    /// Follows it for ever.
    pub(super) async fn follow(self) {
        let source = Arc::new(self.terms.source.clone());
        let follow = |report| {
            let source = source.clone();
            async move { source.follow(&report).await }
        };
        self.follow_by(follow).await;
    }

    async fn follow_by<F: Future<Output = Lost>>(mut self, source: impl Fn(Report) -> F) {
        loop {
            self.follow_once(&source).await;
            let pause = pause(self.failures, rand::rng().random_range(0.5..=1.0));
            self.failures = self.failures.saturating_add(1);
            sleep(pause).await;
        }
    }

    /// Follows it until it is lost.
    async fn follow_once<F: Future<Output = Lost>>(&mut self, source: &impl Fn(Report) -> F) {
        let (report, mut said) = Report::new();
        let mut following = pin!(source(report));
        loop {
            let empty_at = self.empty_at;
            tokio::select! {
                biased;
                Some(said) = said.recv() => match said {
                    Said::Found(entries) => self.take(entries),
                    Said::Unreadable(why) => self.standing.failed(why),
                },
                () = sleep_until(empty_at.unwrap_or_else(Instant::now)), if empty_at.is_some() => self.empty(),
                lost = following.as_mut() => {
                    // What is not confirmed by then is not believed.
                    self.empty_at = None;
                    self.standing.failed(lost.to_string());
                    return;
                }
            }
        }
    }

    /// Has the upstream go by what the source says now.
    fn take(&mut self, entries: Vec<Entry>) {
        self.failures = 0;
        if entries.len() > MOST_ENDPOINTS {
            let why = format!("it has {} entries, and an upstream may have {MOST_ENDPOINTS} endpoints", entries.len());
            self.standing.failed(why);
            return;
        }
        let mut read = HashMap::with_capacity(entries.len());
        let (mut specs, mut unreadable) = (Vec::with_capacity(entries.len()), Vec::new());
        for Entry { key, endpoint } in entries {
            let spec = match endpoint {
                Ok(spec) => spec,
                Err(why) => {
                    unreadable.push(format!("{key}: {why}"));
                    let Some(before) = self.read.get(&key) else { continue };
                    before.clone()
                }
            };
            specs.push(spec.clone());
            read.insert(key, spec);
        }
        self.standing.found(specs.len(), &unreadable);
        if specs.is_empty()
            && let Some(grace) = self.terms.empty_grace
            && self.feed.has_endpoints()
        {
            self.empty_at.get_or_insert_with(|| {
                let (upstream, source) = (&self.standing.upstream, self.standing.source);
                let grace_s = grace.as_secs();
                tracing::warn!(
                    upstream,
                    source,
                    grace_s,
                    "a source says that no endpoint is left; not believed at once"
                );
                Instant::now() + grace
            });
            return;
        }
        (self.read, self.empty_at) = (read, None);
        self.feed.replace(specs);
    }

    /// No endpoint has come back in time.
    fn empty(&mut self) {
        self.empty_at = None;
        self.read.clear();
        self.feed.replace(Vec::new());
        let Standing { upstream, source, .. } = &*self.standing;
        tracing::warn!(upstream, source, "a source still says that no endpoint is left: there is none now");
    }
}

/// How long to wait after so many failures in a row; `share` of the longest, so that not everybody comes back at once.
fn pause(failures: u32, share: f64) -> Duration {
    let grown = SHORTEST_PAUSE.saturating_mul(1 << failures.min(8));
    grown.min(LONGEST_PAUSE).mul_f64(share)
}

/// A source that has just broken off is most often there again.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// A question in this time is nothing to a server, and whoever waits for it to come back does not wait for us.
const LONGEST_PAUSE: Duration = Duration::from_millis(800);
/// An upstream with more is none: each worker holds all of them.
const MOST_ENDPOINTS: usize = 20_000;

#[cfg(test)]
mod tests;
