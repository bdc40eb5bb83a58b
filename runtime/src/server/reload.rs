//! Reloads, one after the other: on a signal, on the admin API, on a changed file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use super::course::Listening;
use super::state::{Doors, State};
use super::{background, doors, watching};
use crate::admin::Superseded;
use crate::component::Moment;
use crate::config::{Config, Listener, Place, Problems};
use crate::control::{self, Plan, ReadSources, Sources};
use crate::listener::{BindError, Bound};
use crate::metrics::{Metrics, ReloadOutcome};
use crate::session::Snapshot;

/// How a reload ended.
#[derive(Clone, Debug)]
pub(super) enum Reloaded {
    /// This generation is in force, with these changes.
    Applied(u64, Plan),
    /// Nothing would change.
    Unchanged,
    /// Everything stays as it was.
    Rejected(Problems),
    /// Everything stays as it was, because only this was asked for: what would change.
    Applicable(Plan),
}

/// How a reload ended, or why there was none.
pub(super) type Answer = Result<Reloaded, Superseded>;

/// Asks for reloads.
#[derive(Clone, Debug)]
pub(super) struct Sender(mpsc::Sender<Request>);

/// The reloads that were asked for.
pub(super) struct Requests(mpsc::Receiver<Request>);

#[derive(Debug)]
struct Request {
    cause: &'static str,
    dry_run: bool,
    answer: Option<oneshot::Sender<Answer>>,
}

/// Connects those who ask with the one who reloads.
pub(super) fn channel() -> (Sender, Requests) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Sender(sender), Requests(receiver))
}

impl Sender {
    /// Asks for a reload without waiting for it. When enough are waiting already, one of them will do.
    pub(super) fn trigger(&self, cause: &'static str) {
        let _ = self.0.try_send(Request { cause, dry_run: false, answer: None });
    }

    /// Asks for a reload, or for what one would do, and waits for its end; `None` when too many are waiting.
    pub(super) async fn ask(&self, cause: &'static str, dry_run: bool) -> Option<Answer> {
        let (answer, reloaded) = oneshot::channel();
        self.0.try_send(Request { cause, dry_run, answer: Some(answer) }).ok()?;
        reloaded.await.ok()
    }
}

/// Reloads whenever it is asked for or a file has changed; while an upgrade is under way, only those that ask are told that
/// this is no time for it. The others have what they want by the files that the new process reads, or once there is none.
pub(super) async fn serve(state: Arc<State>, requests: Requests) {
    let (changed, changes) = mpsc::channel(1);
    let (follow, followed) = watch::channel(watched(&state, state.origin.files([&state.sources().config])));
    tokio::select! {
        () = carry_out(&state, requests, changes, &follow) => {}
        () = watching::serve(&state, followed, changed) => {}
    }
}

/// As [`serve`], without the watch, which has to `follow` the files that are told here.
async fn carry_out(
    state: &Arc<State>,
    Requests(mut requests): Requests,
    mut changes: mpsc::Receiver<()>,
    follow: &watch::Sender<Vec<PathBuf>>,
) {
    let (mut rejected, mut deferred) = (None, None);
    loop {
        let request = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => return,
            },
            Some(()) = changes.recv() => {
                settle(&mut changes).await;
                Request { cause: CHANGED_FILE, dry_run: false, answer: None }
            }
            () = state.succession.until_alone(), if deferred.is_some() => {
                Request { cause: deferred.take().unwrap_or(CHANGED_FILE), dry_run: false, answer: None }
            }
        };
        let turn = match state.turn_to_reload().await {
            Ok(turn) => turn,
            Err(superseded) => {
                match request.answer {
                    // Whoever asked may have gone.
                    Some(answer) => drop(answer.send(Err(superseded))),
                    None if request.cause == CHANGED_FILE => deferred = deferred.or(Some(CHANGED_FILE)),
                    None => deferred = Some(request.cause),
                }
                continue;
            }
        };
        let (reloaded, files) = reload(state, request.dry_run).await;
        drop(turn);
        follow.send_replace(watched(state, files));
        if !request.dry_run {
            let outcome = match &reloaded {
                Reloaded::Applied(..) => ReloadOutcome::Applied,
                Reloaded::Unchanged | Reloaded::Applicable(_) => ReloadOutcome::Unchanged,
                Reloaded::Rejected(_) => ReloadOutcome::Rejected,
            };
            let problems = if let Reloaded::Rejected(problems) = &reloaded { Some(problems.clone()) } else { None };
            // A look at files that say nothing new is no reload that anybody has asked for.
            let is_old = outcome == ReloadOutcome::Unchanged || (problems.is_some() && problems == rejected);
            let is_mended = rejected.is_some() && problems.is_none();
            if request.cause != CHANGED_FILE || !is_old || is_mended {
                tell(request.cause, &reloaded, is_mended);
            }
            if request.cause != CHANGED_FILE || !is_old {
                state.metrics.reloaded(outcome);
            }
            rejected = problems;
        }
        if let Some(answer) = request.answer {
            let _ = answer.send(Ok(reloaded));
        }
    }
}

/// Which of these files are to be watched.
fn watched(state: &State, files: Vec<PathBuf>) -> Vec<PathBuf> {
    if state.sources().config.watch { files } else { Vec::new() }
}

/// Waits until files have been left alone for a moment: a write is many events, and a deployment several files. Who
/// writes more slowly than that has half of a file refused, and the whole taken when it is there.
async fn settle(changes: &mut mpsc::Receiver<()>) {
    let latest = Instant::now() + SETTLE_AT_MOST;
    while timeout_at((Instant::now() + SETTLE).min(latest), changes.recv()).await.is_ok() && Instant::now() < latest {}
}

/// Reads and builds on a thread that may take its time, and puts in force unless it is a dry run. Returns the files that
/// decide about the next reload, too: those of what is in force and those of what was tried.
async fn reload(state: &Arc<State>, dry_run: bool) -> (Reloaded, Vec<PathBuf>) {
    let before = state.sources();
    let built = background::run({
        let state = state.clone();
        move || build(&state, dry_run)
    });
    let (built, files) = built.await.unwrap_or_else(|unfinished| {
        let mut problems = before.config.problems();
        problems.add(&Place::default(), format!("the configuration was not built: {unfinished}"), "report this");
        (Err(problems), state.origin.files([&before.config]))
    });
    let reloaded = match built {
        Ok(None) => Reloaded::Unchanged,
        Ok(Some(Built { plan, .. })) if dry_run => Reloaded::Applicable(plan),
        Ok(Some(Built { snapshot, sources, doors, metrics, plan })) => {
            let generation = snapshot.generation;
            tell_doors(state, &doors.listeners);
            tell_what_waits(&before.config, &sources.config);
            state.metrics.adopt(&metrics);
            state.put_in_force(snapshot, sources, doors);
            Reloaded::Applied(generation, plan)
        }
        Err(problems) => Reloaded::Rejected(problems),
    };
    (reloaded, files)
}

/// What could be put in force.
struct Built {
    snapshot: Snapshot,
    sources: Sources,
    doors: Doors,
    /// Where its parts are counted.
    metrics: Arc<Metrics>,
    /// What is another in it.
    plan: Plan,
}

/// Builds what the files say now; `None` if that is in force already. Nothing that is in force changes.
fn build(state: &State, dry_run: bool) -> (Result<Option<Built>, Problems>, Vec<PathBuf>) {
    let (begun, snapshot, before) = (Moment::now(), state.snapshot.load_full(), state.sources());
    let mut files = state.origin.files([&before.config]);
    let examined = state.origin.examine();
    files.extend(examined.inputs.0.iter().cloned());
    let built = examined.into_config().and_then(|config| {
        files = state.origin.files([&before.config, &config]);
        let sources = ReadSources::read_components(config)?;
        if sources == *before {
            return Ok(None);
        }
        settled(&before.config, &sources.config)?;
        // What a dry run counts, nobody sees.
        let metrics = if dry_run { Metrics::new(state.metrics.workers()) } else { state.metrics.draft() };
        let previous = Some((&*snapshot, &*before));
        let (snapshot, plan) =
            control::build(&sources, previous, begun, snapshot.generation + 1, &state.host, &metrics)?;
        // Last, because a client may be let in from then on.
        let doors = doors(state, &sources.config, dry_run)?;
        if !dry_run {
            state.host.sweep_cache(snapshot.components.values());
        }
        Ok(Some(Built { snapshot, sources, doors, metrics, plan }))
    });
    (built, files)
}

/// Opens the listeners of a configuration that are new, and keeps those that will do. Nobody is accepted from a new one
/// yet; in a dry run, nobody can even connect.
fn doors(state: &State, config: &Config, dry_run: bool) -> Result<Doors, Problems> {
    let limit = state.limit(config).map_err(|error| {
        let mut problems = config.problems();
        problems.add(&Place::of_key("listeners"), error.to_string(), "");
        problems
    })?;
    // Nobody is accepted any more.
    let Some(sockets) = state.sockets() else { return Ok(Doors { listeners: Vec::new(), limit }) };
    let mut known = sockets.listeners.clone();
    let kept = |wanted: &_| {
        let found = known.iter().position(|bound| bound.serves(wanted));
        found.map(|index| Ok(known.remove(index)))
    };
    let refused = |listener: &Listener, error: &BindError| doors::shut(config, listener.listen, error);
    let listeners = doors::open(config, state.team.len(), &sockets.claims(), kept)
        .map_err(|doors::Shut { listener, error }| refused(listener, &error))?;
    let fresh = |bound: &Arc<Bound>| !sockets.listeners.iter().any(|known| Arc::ptr_eq(known, bound));
    for (Listening { bound, .. }, listener) in listeners.iter().zip(&config.listeners) {
        if !dry_run && fresh(bound) {
            bound.listen().map_err(|error| refused(listener, &error))?;
        }
    }
    Ok(Doors { listeners, limit })
}

fn tell_doors(state: &State, listeners: &[Listening]) {
    let Some(sockets) = state.sockets() else { return };
    let is_known = |bound: &Arc<Bound>| sockets.listeners.iter().any(|known| Arc::ptr_eq(known, bound));
    for Listening { bound, .. } in listeners.iter().filter(|listening| !is_known(&listening.bound)) {
        tracing::info!(address = %bound.address(), "listening");
    }
    let is_kept = |bound: &Arc<Bound>| listeners.iter().any(|listening| Arc::ptr_eq(&listening.bound, bound));
    for bound in sockets.listeners.iter().filter(|bound| !is_kept(bound)) {
        tracing::info!(address = %bound.address(), "no longer listening; its connections go on");
    }
}

/// Warns of what is in the file and not in force.
fn tell_what_waits(before: &Config, after: &Config) {
    if before.workers != after.workers {
        tracing::warn!("`workers` changes with an upgrade (SIGUSR2) or a restart; everything else is in force");
    }
}

/// Refuses what cannot change while the process runs.
fn settled(before: &Config, after: &Config) -> Result<(), Problems> {
    let mut problems = after.problems();
    let instead = "put it back, or restart the process";
    let fixed = [
        ("admin", before.admin == after.admin),
        ("log", before.log == after.log),
        ("cache_directory", before.cache_directory == after.cache_directory),
        ("max_isolated_instances", before.max_isolated_instances == after.max_isolated_instances),
    ];
    for (key, _) in fixed.into_iter().filter(|(_, same)| !same) {
        problems.add(&Place::of_key(key), format!("`{key}` cannot change in a reload"), instead);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}

/// Says what has come of a reload; `is_mended`: the one before it was rejected, and this one was not.
fn tell(cause: &str, reloaded: &Reloaded, is_mended: bool) {
    match reloaded {
        Reloaded::Applied(generation, plan) if is_mended => {
            tracing::info!(cause, generation, changes = %plan, "configuration reloaded; what was rejected is mended");
        }
        Reloaded::Applied(generation, plan) => {
            tracing::info!(cause, generation, changes = %plan, "configuration reloaded");
        }
        Reloaded::Unchanged | Reloaded::Applicable(_) if is_mended => {
            tracing::info!(
                cause,
                "nothing has changed: what was rejected is gone, and the file says again what is in force"
            );
        }
        Reloaded::Unchanged | Reloaded::Applicable(_) => tracing::info!(cause, "nothing has changed"),
        Reloaded::Rejected(problems) => {
            for problem in problems {
                tracing::warn!(cause, %problem, "configuration rejected; the one in force stays");
            }
        }
    }
}

/// What the log says of a reload that nobody has asked for.
const CHANGED_FILE: &str = "changed file";
/// Reloads that may wait; more would do the same work again.
const WAITING: usize = 16;
const SETTLE: Duration = Duration::from_millis(40);
const SETTLE_AT_MOST: Duration = Duration::from_secs(2);
