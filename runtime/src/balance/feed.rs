//! Handing endpoints in, and who is who among them.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, Weak};
use std::time::SystemTime;

use tokio::time::Instant;

use super::endpoint::{Endpoint, EndpointSpec, Known};
use super::failures::Failures;
use super::pick::Balance;
use super::set::EndpointSet;
use crate::component::EndpointCounts;
use crate::metrics::Metrics;

/// Where a source of endpoints says what there is of an upstream: the configuration those that it names, a discovery those
/// that it finds. An upstream has one source at a time, because what one says replaces all that was said before.
#[derive(Clone, Debug)]
pub struct Feed {
    balance: Arc<Balance>,
    metrics: Arc<Metrics>,
}

impl Feed {
    /// The feed of an upstream whose endpoints are counted in these metrics.
    pub fn new(balance: Arc<Balance>, metrics: Arc<Metrics>) -> Self {
        Self { balance, metrics }
    }

    /// Has the upstream go by these endpoints, and by no others, from the next pick on. Which are the same goes by their
    /// urls; of several with one url the first counts.
    ///
    /// One that was there keeps its id, its live connections, its failures and its time of appearance; others appear now.
    /// One that was disabled and no longer is appears now, too, and has not failed. One that comes back appears now, but it
    /// keeps its id and its live connections where it still has some. Connections to those that are gone go on.
    ///
    /// Where it is said when an endpoint has started, that counts, and not when it appears.
    ///
    /// May be called on any thread, and takes no lock that a worker waits for.
    pub fn replace(&self, endpoints: Vec<EndpointSpec>) {
        self.balance.replace(endpoints, &self.metrics, Instant::now());
    }

    /// Whether the upstream has endpoints.
    pub fn has_endpoints(&self) -> bool {
        !self.balance.set().endpoints().is_empty()
    }
}

/// Who is who, beyond the endpoints that are there.
#[derive(Debug, Default)]
pub(super) struct Identities {
    next_id: u32,
    /// By url, those that are gone, for as long as somebody has to do with them.
    departed: HashMap<String, (u32, Weak<EndpointCounts>)>,
}

impl Identities {
    /// An id and counts for an endpoint that was not there.
    fn appear(&mut self, url: &str) -> (u32, Arc<EndpointCounts>) {
        if let Some((id, counts)) = self.departed.remove(url)
            && let Some(counts) = counts.upgrade()
        {
            return (id, counts);
        }
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        (id, Arc::default())
    }
}

impl Balance {
    /// See [`Feed::replace`].
    pub(super) fn replace(&self, mut specs: Vec<EndpointSpec>, metrics: &Metrics, now: Instant) {
        let mut urls = HashSet::with_capacity(specs.len());
        specs.retain(|spec| urls.insert(spec.address.url().to_owned()));
        let mut identities = self.identities.lock().unwrap_or_else(PoisonError::into_inner);
        identities.departed.retain(|_, (_, counts)| counts.strong_count() > 0);
        let set = self.set.load_full();
        let are_alike = set.endpoints().iter().zip(&specs).all(|(endpoint, spec)| endpoint.is_as(spec));
        if are_alike && set.endpoints().len() == specs.len() {
            return;
        }
        let mut before: HashMap<&str, &Endpoint> =
            set.endpoints().iter().map(|endpoint| (endpoint.url(), &**endpoint)).collect();
        let mut endpoints = Vec::with_capacity(specs.len());
        for spec in specs {
            let url = spec.address.url();
            let failures =
                || Arc::new(Failures::none(Arc::clone(&self.failing), metrics.endpoint_failing(self.name(), url)));
            let before = before.remove(url);
            let started = spec.started.map(|started| at(started, now));
            let (since, known) = match before {
                Some(before) if spec.enabled && !before.is_enabled() => {
                    (now, Known { failures: failures(), ..before.known.clone() })
                }
                Some(before) => (before.since, before.known.clone()),
                None => {
                    let (id, counts) = identities.appear(url);
                    let metrics = metrics.endpoint(self.name(), url);
                    (now, Known { id, counts, failures: failures(), metrics })
                }
            };
            // Every look at the clock of the day gives another moment: what was found first stays.
            let since = match before.filter(|before| before.started == spec.started && before.is_enabled()) {
                Some(before) => before.since,
                None => started.unwrap_or(since),
            };
            endpoints.push(Arc::new(Endpoint::new(spec, since, known, before)));
        }
        let off = endpoints.iter().filter(|endpoint| !endpoint.is_enabled()).map(|endpoint| &endpoint.known);
        off.chain(before.values().map(|endpoint| &endpoint.known)).for_each(|known| known.failures.retire());
        let gone = before
            .into_values()
            .map(|endpoint| (endpoint.url().to_owned(), (endpoint.id(), Arc::downgrade(&endpoint.known.counts))));
        identities.departed.extend(gone);
        // Under the lock, so that nobody puts the former set with the weights of now in its place.
        self.set.store(Arc::new(EndpointSet::new(endpoints, self.just_started, now)));
    }
}

/// A moment of the day as the clock of this process has it. What began before that clock did began with it, and what is to begin
/// begins now.
fn at(moment: SystemTime, now: Instant) -> Instant {
    let ago = SystemTime::now().duration_since(moment).unwrap_or_default();
    now.checked_sub(ago).unwrap_or(now)
}

#[cfg(test)]
mod tests;
