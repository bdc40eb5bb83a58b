//! Reloads, one after the other: on a signal, on the admin API, on a changed file.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::state::State;
use crate::config::{Config, Place, Problems};
use crate::control::{self, Watch, WatchError};
use crate::metrics::ReloadOutcome;

/// How a reload ended.
#[derive(Clone, Debug)]
pub(super) enum Reloaded {
    /// This generation is in force.
    Applied(u64),
    /// Nothing would change.
    Unchanged,
    /// Everything stays as it was.
    Rejected(Problems),
}

/// Asks for reloads.
#[derive(Clone, Debug)]
pub(super) struct Sender(mpsc::Sender<Request>);

/// The reloads that were asked for.
pub(super) struct Requests(mpsc::Receiver<Request>);

#[derive(Debug)]
struct Request {
    cause: &'static str,
    answer: Option<oneshot::Sender<Reloaded>>,
}

/// Connects those who ask with the one who reloads.
pub(super) fn channel() -> (Sender, Requests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Sender(sender), Requests(receiver))
}

impl Sender {
    /// Asks for a reload without waiting for it. When enough are waiting already, one of them will do.
    pub(super) fn trigger(&self, cause: &'static str) {
        let _ = self.0.try_send(Request { cause, answer: None });
    }

    /// Asks for a reload and waits for its end; `None` when too many are waiting.
    pub(super) async fn ask(&self, cause: &'static str) -> Option<Reloaded> {
        let (answer, reloaded) = oneshot::channel();
        self.0.try_send(Request { cause, answer: Some(answer) }).ok()?;
        reloaded.await.ok()
    }
}

/// Reloads whenever it is asked for or a file has changed.
pub(super) async fn serve(state: Arc<State>, Requests(mut requests): Requests) {
    let (changed, mut changes) = mpsc::channel(1);
    let mut watch = watching(Watch::new(changed.clone()));
    let mut watched = state.sources();
    let mut is_new = true;
    loop {
        let files = state.origin.files(Some(&watched.config));
        watch = watch.and_then(|mut watch| watching(watch.files(&files).map(|()| watch)));
        if std::mem::take(&mut is_new) && watch.is_some() {
            // What changed after the files were read and before they were watched, nobody tells.
            let _ = changed.try_send(());
        }
        let request = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => return,
            },
            Some(()) = changes.recv() => {
                settle(&mut changes).await;
                Request { cause: "changed file", answer: None }
            }
        };
        let reloaded = reload(&state).await;
        tell(request.cause, &reloaded);
        let outcome = match &reloaded {
            Reloaded::Applied(_) => ReloadOutcome::Applied,
            Reloaded::Unchanged => ReloadOutcome::Unchanged,
            Reloaded::Rejected(_) => ReloadOutcome::Rejected,
        };
        // Every look in a watched directory would count as a reload that changed nothing.
        if outcome != ReloadOutcome::Unchanged || request.answer.is_some() || request.cause != "changed file" {
            state.metrics.reloaded(outcome);
        }
        is_new = outcome == ReloadOutcome::Applied;
        if let Some(answer) = request.answer {
            let _ = answer.send(reloaded);
        }
        watched = state.sources();
    }
}

fn watching(watch: Result<Watch, WatchError>) -> Option<Watch> {
    watch
        .inspect_err(
            |error| tracing::warn!(%error, "file changes will go unnoticed; reload by SIGHUP or the admin API"),
        )
        .ok()
}

/// Waits until files have been left alone for a moment: a write is many events, and a deployment several files.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let latest = Instant::now() + SETTLE_AT_MOST;
    while timeout_at((Instant::now() + SETTLE).min(latest), changes.recv()).await.is_ok() && Instant::now() < latest {}
}

/// Reads, builds and puts in force, on a thread that may take its time.
async fn reload(state: &Arc<State>) -> Reloaded {
    let worker = state.clone();
    let built = tokio::task::spawn_blocking(move || {
        let state = worker;
        let read = state.origin.read()?;
        let (snapshot, sources) = (state.snapshot.load_full(), state.sources());
        if read == *sources {
            return Ok(None);
        }
        settled(&sources.config, &read.config)?;
        let generation = snapshot.generation + 1;
        let built = control::build(&read, Some((&snapshot, &sources)), generation, &state.host, &state.metrics)?;
        Ok(Some((built, read)))
    });
    match built.await {
        Ok(Ok(Some((snapshot, read)))) => {
            let generation = snapshot.generation;
            state.put_in_force(snapshot, read);
            Reloaded::Applied(generation)
        }
        Ok(Ok(None)) => Reloaded::Unchanged,
        Ok(Err(problems)) => Reloaded::Rejected(problems),
        Err(panic) => {
            let mut problems = state.sources().config.problems();
            problems.add(&Place::default(), format!("building the configuration has panicked: {panic}"), "report this");
            Reloaded::Rejected(problems)
        }
    }
}

/// Refuses what cannot change while the process runs.
fn settled(before: &Config, after: &Config) -> Result<(), Problems> {
    let mut problems = after.problems();
    let instead = "put it back, or restart the process";
    if before.listeners != after.listeners {
        let place = after.listeners.first().map(|listener| listener.place.clone()).unwrap_or_default();
        problems.add(&place, "listeners cannot change in a reload", instead);
    }
    let fixed = [
        ("admin", before.admin == after.admin),
        ("log", before.log == after.log),
        ("workers", before.workers == after.workers),
        ("max_connections", before.max_connections == after.max_connections),
        ("max_isolated_instances", before.max_isolated_instances == after.max_isolated_instances),
    ];
    for (key, _) in fixed.into_iter().filter(|(_, same)| !same) {
        problems.add(&Place::of_key(key), format!("`{key}` cannot change in a reload"), instead);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

fn tell(cause: &str, reloaded: &Reloaded) {
    match reloaded {
        Reloaded::Applied(generation) => tracing::info!(cause, generation, "configuration reloaded"),
        Reloaded::Unchanged => tracing::debug!(cause, "nothing has changed"),
        Reloaded::Rejected(problems) => {
            for problem in problems {
                tracing::warn!(cause, %problem, "configuration rejected; the one in force stays");
            }
        }
    }
}

/// Reloads that may wait; more would do the same work again.
const WAITING: usize = 16;
const SETTLE: Duration = Duration::from_millis(100);
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);
