//! What the control thread knows of the running server.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, watch};

use super::course::{Course, Listening, Stage, Team};
use super::files::OpenFiles;
use super::handover::Sockets;
use super::pace::Pace;
use super::reload;
use super::succession::Succession;
use super::supervisor::Missing;
use super::underway::Ledger;
use super::watching::Outlook;
use super::worker::Order;
use crate::acme::Acme;
use crate::admin::{DrainCode, Readiness, Secured, Superseded};
use crate::component::Host;
use crate::config::Config;
use crate::control::{HandOver, Plan, ReadSources, Sources};
use crate::discovery::Discovery;
use crate::inquiry::Desk;
use crate::listener::{Address, BindError, Loads};
use crate::metrics::Metrics;
use crate::session::{Permits, Snapshot};
use crate::tls::{self, Keys};
use crate::token::Issuers;
use crate::ws::CloseFrame;

/// The running server, as control sees it.
pub(super) struct State {
    /// Where the configuration is read from.
    pub(super) origin: ReadSources,
    pub(super) host: Host,
    /// What tickets of TLS sessions are made with.
    pub(super) keys: Arc<Keys>,
    /// Whose keys tokens are verified with.
    pub(super) issuers: Arc<Issuers>,
    pub(super) acme: Arc<Acme>,
    pub(super) desk: Desk,
    /// Who finds endpoints.
    pub(super) discovery: Arc<Discovery>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) loads: Arc<Loads>,
    /// The ways to the workers.
    pub(super) team: Arc<Team>,
    /// Workers that are not there.
    pub(super) missing: Arc<Missing>,
    pub(super) files: OpenFiles,
    /// How to drain, once that was asked for.
    pub(super) drain: watch::Sender<Option<Drain>>,
    pub(super) reloads: reload::Sender,
    /// The reload under way.
    pub(super) ledger: Ledger,
    /// What of its files is not watched.
    pub(super) outlook: Outlook,
    /// Held by a reload or an upgrade under way: each would not know what the other one opens.
    pub(super) turn: Arc<AsyncMutex<()>>,
    sources: Mutex<Arc<Sources>>,
    /// What the workers follow.
    course: watch::Sender<Course>,
    /// What the admin API answers with.
    pub(super) secured: Arc<Secured>,
    /// Whether a new process takes the place of this one.
    pub(super) succession: Succession,
    /// For a process that replaces this one, and for workers that replace others; `None` once nobody is accepted.
    sockets: Mutex<Option<Arc<Sockets>>>,
    phase: AtomicU8,
    in_force: Mutex<InForce>,
}

/// How the configuration in force came into force.
#[derive(Clone, Debug)]
pub(super) struct InForce {
    /// Who asked for that.
    pub(super) cause: &'static str,
    pub(super) since: SystemTime,
    /// What became another; `None` at the start.
    pub(super) plan: Option<Plan>,
}

/// What a state is made of at a start.
pub(super) struct Gathered {
    pub(super) origin: ReadSources,
    pub(super) sources: Sources,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) host: Host,
    pub(super) keys: Arc<Keys>,
    /// Whose keys tokens are verified with.
    pub(super) issuers: Arc<Issuers>,
    pub(super) acme: Arc<Acme>,
    pub(super) desk: Desk,
    pub(super) discovery: Arc<Discovery>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) loads: Arc<Loads>,
    pub(super) team: Arc<Team>,
    pub(super) files: OpenFiles,
    pub(super) reloads: reload::Sender,
    pub(super) sockets: Sockets,
}

/// What a reload puts in force beside the snapshot.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) listeners: Vec<Listening>,
    /// What the admin API answers TLS with.
    pub(super) admin: Option<tls::Server>,
    /// How many connections the process holds at most.
    pub(super) limit: usize,
}

/// How connections are closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) code: DrainCode,
    pub(super) over: Duration,
}

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting = 0,
    Ready = 1,
    Draining = 2,
}

impl State {
    /// A state in which nobody is accepted yet, and what the workers are to follow.
    pub(super) fn new(gathered: Gathered, limit: usize) -> (Arc<Self>, watch::Receiver<Course>) {
        let Gathered {
            origin,
            sources,
            snapshot,
            host,
            keys,
            issuers,
            acme,
            desk,
            discovery,
            metrics,
            loads,
            team,
            files,
            reloads,
            sockets,
        } = gathered;
        let places = Permits::new(limit);
        let (course, followed) = watch::channel(Course { listeners: Arc::default(), places, stage: Stage::Serve });
        let state = Self {
            origin,
            host,
            keys,
            issuers,
            acme,
            desk,
            discovery,
            metrics,
            snapshot,
            loads,
            team,
            missing: Arc::default(),
            files,
            drain: watch::Sender::new(None),
            reloads,
            ledger: Ledger::default(),
            outlook: Outlook::default(),
            turn: Arc::default(),
            sources: Mutex::new(Arc::new(sources)),
            course,
            secured: Arc::default(),
            succession: Succession::default(),
            sockets: Mutex::new(Some(Arc::new(sockets))),
            phase: AtomicU8::new(Phase::Starting as u8),
            in_force: Mutex::new(InForce { cause: "start", since: SystemTime::now(), plan: None }),
        };
        (Arc::new(state), followed)
    }

    /// What is in force was made of.
    pub(super) fn sources(&self) -> Arc<Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How the configuration in force came into force.
    pub(super) fn in_force(&self) -> InForce {
        self.in_force.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes how it did.
    pub(super) fn set_in_force(&self, in_force: InForce) {
        *self.in_force.lock().unwrap_or_else(PoisonError::into_inner) = in_force;
    }

    /// Puts a snapshot in force, with the endpoints and the listeners that go with it. Handshakes from now on see it; the
    /// workers let go of what it no longer needs.
    pub(super) fn put_in_force(&self, snapshot: Snapshot, endpoints: HandOver, sources: Sources, doors: Doors) {
        let generation = snapshot.generation;
        self.metrics.set_generation(generation);
        // Also what no connection needs at present: a candidate that was rolled back may be promoted again.
        let kept: HashSet<u64> = snapshot.all_uses().map(|used| used.id()).collect();
        // First, so that no new upstream is there without endpoints.
        endpoints.hand_in(&self.metrics, &self.discovery);
        let before = self.snapshot.swap(Arc::new(snapshot));
        before.all_uses().filter(|replaced| !kept.contains(&replaced.id())).for_each(|replaced| replaced.retire());
        *self.sources.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(sources);
        self.open(doors);
    }

    /// Has the workers accept from these listeners, and from no others, unless nobody is accepted any more. What they show and is
    /// still to be ordered is ordered from now on.
    pub(super) fn open(&self, Doors { listeners, admin, limit }: Doors) {
        self.secured.set(admin);
        let shown = listeners.iter().filter_map(|listening| listening.settings.tls.as_ref()?.renewed());
        shown.for_each(|renewed| self.acme.keep(renewed));
        let mut sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        let bound = listeners.iter().map(|listening| listening.bound.clone()).collect();
        if let Some(known) = &mut *sockets {
            *known = Arc::new(known.with(bound));
        }
        let is_open = sockets.is_some();
        self.course.send_modify(|course| {
            course.places = course.places.resized(limit);
            if is_open {
                course.listeners = listeners.into();
            }
        });
    }

    /// How many connections the process may hold under a configuration, and what is wrong with that if it may be none.
    pub(super) fn limit(&self, config: &Config) -> Result<usize, super::files::TooFewFiles> {
        self.files.limit_of(config, self.team.len())
    }

    /// Has open connections follow what trials of candidates have come to, under the same configuration.
    pub(super) fn renew(&self) {
        self.course.send_modify(|_| {});
    }

    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Ready,
            _ => Phase::Draining,
        }
    }

    /// Whether new connections are welcome.
    pub(super) fn readiness(&self) -> Readiness {
        match self.phase() {
            Phase::Starting => Readiness::Starting,
            Phase::Ready if !self.missing.is_none() => Readiness::Impaired,
            Phase::Ready => Readiness::Ready,
            Phase::Draining => Readiness::Draining,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Has sockets listen: those that have their address alone, or those that join others, as of another process.
    ///
    /// # Errors
    /// The address that somebody has taken meanwhile.
    pub(super) fn listen(&self, shared: bool) -> Result<(), (Address, BindError)> {
        let Some(sockets) = self.sockets() else { return Ok(()) };
        let wanted = sockets.listeners.iter().chain(&sockets.admin).filter(|bound| bound.is_shared() == shared);
        for bound in wanted {
            bound.listen().map_err(|error| (bound.configured().clone(), error))?;
        }
        Ok(())
    }

    /// The sockets of the process, for one that replaces it; `None` once it is draining.
    pub(super) fn sockets(&self) -> Option<Arc<Sockets>> {
        self.sockets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks for a drain of the whole process; not if one was asked for already.
    pub(super) fn ask_drain(&self, drain: Drain) -> bool {
        let is_first = self.drain.send_if_modified(|asked| {
            let is_first = asked.is_none();
            asked.get_or_insert(drain);
            is_first
        });
        if is_first {
            self.enter(Phase::Draining);
        }
        is_first
    }

    /// Leaves what comes from now on to the process that has taken over, and drains.
    pub(super) fn hand_over(&self) {
        self.succession.complete();
        self.sockets().iter().for_each(|sockets| sockets.leave());
        self.ask_drain(self.usual_drain());
    }

    /// Waits for the turn to reload.
    ///
    /// # Errors
    /// When an upgrade is under way, or over.
    pub(super) async fn turn_to_reload(&self) -> Result<OwnedMutexGuard<()>, Superseded> {
        loop {
            self.succession.none()?;
            tokio::select! {
                biased;
                () = self.succession.until_superseded() => {}
                turn = self.turn.clone().lock_owned() => return Ok(turn),
            }
        }
    }

    /// The drain that the configuration describes.
    pub(super) fn usual_drain(&self) -> Drain {
        Drain { code: DrainCode::default(), over: self.sources().config.drain_time }
    }

    /// Stops accepting and has all workers close their connections.
    pub(super) fn begin_drain(&self, drain: Drain) {
        drop(self.sockets.lock().unwrap_or_else(PoisonError::into_inner).take());
        let reason = match drain.code {
            DrainCode::GoingAway => "the server goes away",
            DrainCode::ServiceRestart => "the server restarts",
        };
        let close = CloseFrame::new(drain.code.number(), reason);
        self.course.send_modify(|course| {
            course.listeners = Arc::default();
            course.stage = Stage::Drain { close, over: drain.over };
        });
    }

    /// Has all workers close the connections of a route.
    pub(super) async fn drain_route(&self, route: &str, drain: Drain) {
        let close = CloseFrame::new(drain.code.number(), "the route is drained");
        for (index, worker) in self.team.all().into_iter().enumerate() {
            let pace = Pace::of(index, self.team.len(), drain.over);
            // A worker that has ended has nothing to drain.
            let _ = worker.send(Order::Drain { route: route.to_owned(), close: close.clone(), pace }).await;
        }
    }

    /// Has all workers end, whatever is open.
    pub(super) fn end(&self) {
        self.course.send_modify(|course| {
            course.listeners = Arc::default();
            course.stage = Stage::End;
        });
    }
}
