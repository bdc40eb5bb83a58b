//! One reload: what the files say is read and built, and put in force if all of it is right.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use super::course::Listening;
use super::doors;
use super::state::{Doors, InForce, State};
use super::underway::Underway;
use crate::background;
use crate::component::Moment;
use crate::config::{Admin, Config, Listener, Place, Problems};
use crate::control::{self, HandOver, Means, Plan, ReadSources, Sources, Step, Steps};
use crate::listener::{BindError, Bound, Settings};
use crate::metrics::Metrics;
use crate::session::Snapshot;
use crate::tls;

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

/// Reads and builds on a thread that may take its time, and puts in force unless it is a dry run. Returns the files that
/// decide about the next reload, too: those of what is in force and those of what was tried.
///
/// Ends in time, also where the thread does not: that one is left behind.
pub(super) async fn reload(state: &Arc<State>, cause: &'static str, dry_run: bool) -> (Reloaded, Vec<PathBuf>) {
    let before = state.sources();
    let rejected = |what: String, instead| {
        let mut problems = before.config.problems();
        problems.add(&Place::default(), what, instead);
        (Err(problems), state.origin.files([&before.config]))
    };
    let (built, files) = match state.ledger.begin(cause, dry_run, before.config.reload_timeout) {
        Err(why) => rejected(why, "see what holds them up; an upgrade (SIGUSR2) begins anew"),
        Ok(underway) => {
            let built = background::run({
                let (state, underway) = (state.clone(), underway.clone());
                move || build(&state, &underway, dry_run)
            });
            let ended = tokio::select! {
                biased;
                built = built => built.unwrap_or_else(|unfinished| {
                    rejected(format!("the configuration was not built: {unfinished}"), "report this")
                }),
                why = underway.until_given_up() => {
                    let (built, files) =
                        rejected(why, "see what holds it up, or allow it more time with `reload_timeout`");
                    (built, files.into_iter().chain(underway.read()).collect())
                }
            };
            state.ledger.end();
            ended
        }
    };
    let reloaded = match built {
        Ok(None) => Reloaded::Unchanged,
        Ok(Some(Built { plan, .. })) if dry_run => Reloaded::Applicable(plan),
        Ok(Some(Built { snapshot, endpoints, sources, doors, metrics, plan })) => {
            let generation = snapshot.generation;
            tell_doors(state, &doors.listeners);
            tell_what_waits(&before.config, &sources.config);
            tell_warnings(&sources);
            state.metrics.adopt(&metrics);
            state.put_in_force(snapshot, endpoints, sources, doors);
            state.set_in_force(InForce { cause, since: SystemTime::now(), plan: Some(plan.clone()) });
            Reloaded::Applied(generation, plan)
        }
        Err(problems) => Reloaded::Rejected(problems),
    };
    (reloaded, files)
}

/// What could be put in force.
struct Built {
    snapshot: Snapshot,
    endpoints: HandOver,
    sources: Sources,
    doors: Doors,
    /// Where its parts are counted.
    metrics: Arc<Metrics>,
    /// What is another in it.
    plan: Plan,
}

/// Builds what the files say now; `None` if that is in force already. Nothing that is in force changes.
fn build(state: &State, underway: &Underway, dry_run: bool) -> (Result<Option<Built>, Problems>, Vec<PathBuf>) {
    let hear = |step| underway.take(step);
    let steps = Steps::told(&hear);
    let (begun, in_force, before) = (Moment::now(), state.snapshot.load_full(), state.sources());
    let mut files = state.origin.files([&before.config]);
    let examined = state.origin.examine(&steps);
    files.extend(examined.inputs.0.iter().cloned());
    let built = examined.into_config().and_then(|config| {
        files = state.origin.files([&before.config, &config]);
        underway.allow(config.reload_timeout);
        let sources = ReadSources::read_components(config, &steps)?;
        if sources == *before {
            return Ok(None);
        }
        settled(&before.config, &sources.config)?;
        // What a dry run counts, nobody sees.
        let metrics = if dry_run { Metrics::new(state.metrics.workers()) } else { state.metrics.draft() };
        let previous = Some((&*in_force, &*before));
        let means = Means {
            host: &state.host,
            metrics: &metrics,
            keys: &state.keys,
            issuers: &state.issuers,
            desk: &state.desk,
            acme: &state.acme,
        };
        let control::Built { snapshot, listeners, admin, plan, endpoints } =
            control::build(&sources, previous, begun, in_force.generation + 1, &means, &steps)?;
        if !dry_run && steps.take(Step::Sweeping) {
            // Also what is in force, for should an address not be free.
            let live = in_force.components.values().chain(snapshot.components.values());
            state.host.sweep_cache(live);
        }
        // Last, because a client may be let in from then on.
        if !underway.take_last(Step::Listening) {
            return Err(sources.config.problems());
        }
        let doors = doors(state, &sources.config, (&listeners, admin), dry_run)?;
        Ok(Some(Built { snapshot, endpoints, sources, doors, metrics, plan }))
    });
    (built, files)
}

/// Opens the listeners of a configuration that are new, and keeps those that will do. Nobody is accepted from a new one
/// yet; in a dry run, nobody can even connect.
fn doors(
    state: &State,
    config: &Config,
    (settings, admin): (&[Arc<Settings>], Option<tls::Server>),
    dry_run: bool,
) -> Result<Doors, Problems> {
    let limit = state.limit(config).map_err(|error| {
        let mut problems = config.problems();
        problems.add(&Place::of_key("listeners"), error.to_string(), "");
        problems
    })?;
    // Nobody is accepted any more.
    let Some(sockets) = state.sockets() else { return Ok(Doors { listeners: Vec::new(), admin, limit }) };
    let mut known = sockets.listeners.clone();
    let kept = |wanted: &_| {
        let found = known.iter().position(|bound| bound.serves(wanted));
        found.map(|index| Ok(known.remove(index)))
    };
    let refused = |listener: &Listener, error: &BindError| doors::shut(config, &listener.listen, error);
    let opened = doors::open(config, state.team.len(), &sockets.claims(), kept)
        .map_err(|doors::Shut { listener, error }| refused(listener, &error))?;
    let fresh = |bound: &Arc<Bound>| !sockets.listeners.iter().any(|known| Arc::ptr_eq(known, bound));
    for (bound, listener) in opened.iter().zip(&config.listeners) {
        if !dry_run && fresh(bound) {
            bound.listen().map_err(|error| refused(listener, &error))?;
        }
    }
    Ok(Doors { listeners: doors::listening(opened, settings), admin, limit })
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

/// Warns of what is in force and most likely not meant.
pub(super) fn tell_warnings(sources: &Sources) {
    let mut warnings = sources.config.problems();
    sources.warnings(&mut warnings);
    for warning in warnings.iter() {
        tracing::warn!("{warning}");
    }
}

/// Refuses what cannot change while the process runs.
fn settled(before: &Config, after: &Config) -> Result<(), Problems> {
    let mut problems = after.problems();
    let instead = "put it back, or restart the process";
    let beside_tls = |config: &Config| config.admin.clone().map(|admin| Admin { tls: None, ..admin });
    let fixed = [
        ("admin", beside_tls(before) == beside_tls(after)),
        ("log", before.log == after.log),
        ("cache_directory", before.cache_directory == after.cache_directory),
        ("max_isolated_instances", before.max_isolated_instances == after.max_isolated_instances),
    ];
    for (key, _) in fixed.into_iter().filter(|(_, same)| !same) {
        problems.add(&Place::of_key(key), format!("`{key}` cannot change in a reload"), instead);
    }
    if problems.is_empty() { Ok(()) } else { Err(problems) }
}
