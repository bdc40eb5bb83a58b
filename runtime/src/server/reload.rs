//! Reloads, one after the other: on a signal, on the admin API, on a changed file.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use super::rebuild::{Reloaded, reload};
use super::state::State;
use super::watching;
use crate::admin::Superseded;
use crate::metrics::ReloadOutcome;

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
    let (mut rejected, mut deferred, mut writing) = (None, None, None);
    loop {
        let request = tokio::select! {
            request = requests.recv() => match request {
                Some(request) => request,
                None => return,
            },
            Some(()) = changes.recv() => {
                Writing::seen(&mut writing);
                continue;
            }
            () = Writing::has_settled(writing), if writing.is_some() => {
                writing = None;
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
        if !request.dry_run {
            // What was written until now is read; what is written from now on is told.
            writing = None;
        }
        let (reloaded, files) = reload(state, request.cause, request.dry_run).await;
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

/// Files that are being written: a write is many events, and a deployment several files. Who writes more slowly than they
/// are waited for has half of a file refused, and the whole taken when it is there. Who asks for a reload does not wait.
#[derive(Clone, Copy, Debug)]
struct Writing {
    begun: Instant,
    latest: Instant,
}

impl Writing {
    /// Something was written now.
    fn seen(writing: &mut Option<Self>) {
        let now = Instant::now();
        writing.get_or_insert(Self { begun: now, latest: now }).latest = now;
    }

    /// Waits until the files have been left alone for a moment, or are written to all the time.
    async fn has_settled(writing: Option<Self>) {
        if let Some(Self { begun, latest }) = writing {
            sleep_until((latest + SETTLE).min(begun + SETTLE_AT_MOST)).await;
        }
    }
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
