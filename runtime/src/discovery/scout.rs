//! All sources that are followed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Terms;
use super::follower::Follower;
use super::standing::Standing;
use crate::balance::{Balance, Feed};
use crate::metrics::Metrics;

/// An upstream whose endpoints are to be found.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Who takes them.
    pub balance: Arc<Balance>,
    /// Where they are found.
    pub terms: Terms,
}

/// The sources that are followed, by the upstreams whose endpoints they find.
#[derive(Debug)]
pub struct Discovery {
    followed: Mutex<BTreeMap<String, Followed>>,
    /// Told when there is another.
    others: Notify,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Followed {
    wanted: Wanted,
    standing: Arc<Standing>,
    /// `None` until its task has begun.
    task: Option<AbortHandle>,
}

/// Follows sources, for as long as it is [served](Self::serve).
#[derive(Debug)]
pub struct Scout(Arc<Discovery>);

impl Discovery {
    /// Without sources, and who will follow them. What they find is counted in these metrics.
    pub fn new(metrics: Arc<Metrics>) -> (Arc<Self>, Scout) {
        let discovery = Arc::new(Self { followed: Mutex::default(), others: Notify::new(), metrics });
        (discovery.clone(), Scout(discovery))
    }

    /// Has these sources followed, and no others any more. One that is followed already goes on, and from now on no other hands in
    /// anything. Where a source is new, the endpoints that its upstream has stay until it has said something.
    pub fn follow(&self, wanted: Vec<Wanted>) {
        let mut followed = self.followed();
        let mut before = std::mem::take(&mut *followed);
        for wanted in wanted {
            let name = wanted.balance.name().to_owned();
            let known = match before.remove(&name) {
                Some(known) if known.serves(&wanted) => known,
                other => {
                    other.into_iter().for_each(Followed::end);
                    let kind = wanted.terms.source.kind();
                    let metrics = self.metrics.discovery(&name, kind);
                    Followed { standing: Arc::new(Standing::new(&name, kind, metrics)), wanted, task: None }
                }
            };
            followed.insert(name, known);
        }
        before.into_values().for_each(Followed::end);
        drop(followed);
        self.others.notify_one();
    }

    /// How the source of an upstream is doing.
    pub fn standing(&self, upstream: &str) -> Option<Arc<Standing>> {
        self.followed().get(upstream).map(|known| known.standing.clone())
    }

    /// What is wrong, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        self.followed().values().filter_map(|known| known.standing.remark()).collect()
    }

    /// Waits until all sources have been asked once, so that who is let in finds endpoints; but not for long.
    pub async fn until_known(&self) {
        let standings: Vec<_> = self.followed().values().map(|known| known.standing.clone()).collect();
        // Who is not there by then may come at any time.
        let _ = timeout(PATIENCE, join_all(standings.iter().map(|standing| standing.until_known()))).await;
    }

    fn followed(&self) -> MutexGuard<'_, BTreeMap<String, Followed>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Followed {
    fn serves(&self, wanted: &Wanted) -> bool {
        self.wanted.terms == wanted.terms && Arc::ptr_eq(&self.wanted.balance, &wanted.balance)
    }

    fn end(self) {
        self.task.iter().for_each(AbortHandle::abort);
    }
}

impl Scout {
    /// Follows them. It belongs on the control runtime, where nothing is handed in any more by a source from the moment when it is
    /// [followed](Discovery::follow) no longer.
    pub async fn serve(self) {
        let Self(discovery) = self;
        loop {
            for known in discovery.followed().values_mut().filter(|known| known.task.is_none()) {
                let Wanted { balance, terms } = known.wanted.clone();
                let feed = Feed::new(balance, discovery.metrics.clone());
                let follower = Follower::new(terms, feed, known.standing.clone());
                known.task = Some(tokio::spawn(follower.follow()).abort_handle());
            }
            discovery.others.notified().await;
        }
    }
}

/// A start is not held up by a source for longer: what is not known by then may never be.
const PATIENCE: Duration = Duration::from_secs(5);
