//! Listing open connections, which live on the workers, slice by slice.
//!
//! A worker walks one slice in a turn and makes views only of those in it that the list may still have a place for. All
//! that grows with the number of connections is done here, on the control runtime: asking for the next slice, and
//! keeping the oldest of what the workers have found so far.

use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::worker::Order;
use crate::admin::{ConnectionView, ConnectionsQuery, ConnectionsView};
use crate::peer::Shown;
use crate::session::{Connection, Criteria, Registry};

/// What a worker is asked for.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Only these connections.
    pub(super) criteria: Arc<Criteria>,
    /// At most this many, the oldest.
    pub(super) limit: usize,
    /// Only those that were opened before.
    pub(super) before: Option<Instant>,
    /// Where in the worker's list the slice begins.
    pub(super) from: usize,
}

/// A part of a worker's list.
#[derive(Debug)]
pub(super) struct Slice {
    /// How many connections in it are wanted, whatever the limit.
    matching: u64,
    found: Vec<Found>,
    /// Where the next slice begins; `None`: there is none.
    next: Option<usize>,
}

/// A connection on a list, by age.
#[derive(Debug)]
struct Found {
    opened_at: Instant,
    view: ConnectionView,
}

impl PartialEq for Found {
    fn eq(&self, other: &Self) -> bool {
        self.opened_at == other.opened_at
    }
}

impl Eq for Found {}

impl PartialOrd for Found {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Found {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.opened_at.cmp(&other.opened_at)
    }
}

impl Slice {
    /// What a worker answers.
    pub(super) fn of(registry: &Registry, worker: usize, wanted: &Wanted) -> Self {
        let mut matching = 0;
        let mut oldest: Vec<_> = Vec::new();
        let next = registry.slice(wanted.from, |connection| {
            if !wanted.criteria.holds_for(connection) {
                return;
            }
            matching += 1;
            if wanted.limit > 0 && wanted.before.is_none_or(|before| connection.opened_at < before) {
                oldest.push(connection.clone());
            }
        });
        if oldest.len() > wanted.limit {
            oldest.select_nth_unstable_by_key(wanted.limit, |connection| connection.opened_at);
            oldest.truncate(wanted.limit);
        }
        let found =
            oldest.iter().map(|connection| Found { opened_at: connection.opened_at, view: view(connection, worker) });
        Self { matching, found: found.collect(), next }
    }
}

fn view(connection: &Connection, worker: usize) -> ConnectionView {
    ConnectionView {
        connection: connection.id.to_string(),
        route: connection.route().name.clone(),
        upstream: connection.upstream.balance.name().to_owned(),
        endpoint: connection.lease.endpoint().url().to_owned(),
        client: Shown(connection.client).to_string(),
        worker,
        // Told when all have been found, so that the oldest is the one of the greatest age.
        age_seconds: 0.0,
        attributes: attributes(connection),
    }
}

/// So much of its attributes that a long list of connections stays bounded.
fn attributes(connection: &Connection) -> BTreeMap<String, String> {
    let shown = |text: &str| text.chars().take(SHOWN_CHARACTERS).collect();
    let attributes = connection.attributes();
    attributes.iter().rev().take(SHOWN_ATTRIBUTES).map(|(name, value)| (shown(name), shown(value))).collect()
}

/// The attributes of each connection in a list.
const SHOWN_ATTRIBUTES: usize = 16;
/// Of the name and of the value of each.
const SHOWN_CHARACTERS: usize = 128;

/// Lists the connections of all workers. One that does not answer in time is named and not waited for any longer; what
/// it has said before stands.
pub(super) async fn list(workers: &[mpsc::Sender<Order>], query: &ConnectionsQuery) -> ConnectionsView {
    let oldest = Mutex::new(Oldest::new(query.limit));
    let criteria = Arc::new(query.criteria.clone());
    let walks = workers.iter().map(|worker| walk(worker, &criteria, query.limit, &oldest));
    let answered = join_all(walks).await;
    let silent = answered.iter().enumerate().filter(|(_, answered)| answered.is_none());
    let workers_silent = silent.map(|(index, _)| index).collect();
    let Oldest { total, found, .. } = oldest.into_inner().unwrap_or_else(PoisonError::into_inner);
    let now = Instant::now();
    let connections = found.into_sorted_vec().into_iter().map(|Found { opened_at, view }| ConnectionView {
        age_seconds: now.saturating_duration_since(opened_at).as_secs_f64(),
        ..view
    });
    ConnectionsView { total, connections: connections.collect(), workers_silent }
}

/// Asks one worker for its slices, one after the other; `None` when it has not told all of them.
async fn walk(
    worker: &mpsc::Sender<Order>,
    criteria: &Arc<Criteria>,
    limit: usize,
    oldest: &Mutex<Oldest>,
) -> Option<()> {
    let mut from = Some(0);
    while let Some(place) = from {
        let before = oldest.lock().unwrap_or_else(PoisonError::into_inner).before();
        let (answer, told) = oneshot::channel();
        let wanted = Wanted { criteria: criteria.clone(), limit, before, from: place };
        worker.try_send(Order::List(wanted, answer)).ok()?;
        let Slice { matching, found, next } = timeout(PATIENCE, told).await.ok()?.ok()?;
        oldest.lock().unwrap_or_else(PoisonError::into_inner).add(matching, found);
        from = next;
    }
    Some(())
}

/// The oldest connections so far, and how many there are in all.
#[derive(Debug)]
struct Oldest {
    limit: usize,
    total: u64,
    /// The youngest first.
    found: BinaryHeap<Found>,
}

impl Oldest {
    fn new(limit: usize) -> Self {
        Self { limit, total: 0, found: BinaryHeap::new() }
    }

    /// What is no older than this has no place on the list.
    fn before(&self) -> Option<Instant> {
        let is_full = self.found.len() >= self.limit;
        self.found.peek().filter(|_| is_full).map(|youngest| youngest.opened_at)
    }

    fn add(&mut self, matching: u64, found: Vec<Found>) {
        self.total += matching;
        for one in found {
            self.found.push(one);
            if self.found.len() > self.limit {
                self.found.pop();
            }
        }
    }
}

/// Workers answer within one turn of their loop.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn found(opened_at: Instant, name: u64) -> Found {
        let view = ConnectionView {
            connection: name.to_string(),
            route: String::new(),
            upstream: String::new(),
            endpoint: String::new(),
            client: String::new(),
            worker: 0,
            age_seconds: 0.0,
            attributes: BTreeMap::new(),
        };
        Found { opened_at, view }
    }

    /// A worker that answers with the slices it is given, and notes what it is asked for.
    fn worker(slices: Vec<Slice>) -> (mpsc::Sender<Order>, tokio::task::JoinHandle<Vec<Wanted>>) {
        let (sender, mut orders) = mpsc::channel(1);
        let answers = tokio::spawn(async move {
            let mut asked = Vec::new();
            for slice in slices {
                let Some(Order::List(wanted, answer)) = orders.recv().await else { break };
                asked.push(wanted);
                answer.send(slice).unwrap();
            }
            asked
        });
        (sender, answers)
    }

    #[tokio::test]
    async fn the_oldest_of_all_slices_of_all_workers_are_listed_by_age() {
        let start = Instant::now();
        let at = |second: u64| found(start + Duration::from_secs(second), second);
        let slice = |seconds: &[u64], next| Slice {
            matching: seconds.len() as u64,
            found: seconds.iter().map(|second| at(*second)).collect(),
            next,
        };
        let (first, asked_first) = worker(vec![slice(&[9, 1, 7], Some(3)), slice(&[3], None)]);
        let (second, _) = worker(vec![slice(&[2, 8], None)]);

        let query = ConnectionsQuery { limit: 3, ..ConnectionsQuery::default() };
        let view = list(&[first, second], &query).await;

        let names: Vec<_> = view.connections.iter().map(|connection| connection.connection.as_str()).collect();
        assert_eq!((view.total, names, view.workers_silent), (6, vec!["1", "2", "3"], vec![]));
        let asked = asked_first.await.unwrap();
        assert_eq!(asked.iter().map(|wanted| wanted.from).collect::<Vec<_>>(), [0, 3]);
        // Once the list is full, only what is older than its youngest is of use.
        assert!(asked[0].before.is_none() && asked[1].before.is_some(), "{asked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_does_not_answer_is_named_and_not_waited_for() {
        let (silent, _orders) = mpsc::channel(1);
        let slice = Slice { matching: 1, found: vec![found(Instant::now(), 1)], next: None };
        let (other, _) = worker(vec![slice]);

        let view = list(&[silent, other], &ConnectionsQuery::default()).await;

        assert_eq!((view.total, view.connections.len(), view.workers_silent), (1, 1, vec![0]));
    }
}
