//! Signals: SIGHUP reloads, SIGUSR2 starts a new binary, SIGTERM and SIGINT drain, a second one ends at once.

use std::future::pending;
use std::io;
use std::process::{Child, Command};
use std::time::Duration;

use nix::sys::signal::{SigSet, SigmaskHow, Signal as Number};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, interval};

use super::notify::notify;
use super::state::{Drain, State};
use super::upgrade::{Successor, Upgrade, UpgradeError};

/// SIGHUP and SIGUSR2, from when this is made. What comes of them before the process serves is carried out once it does.
///
/// Until then SIGTERM and SIGINT end the process.
#[derive(Debug)]
pub struct EarlySignals {
    hangup: Signal,
    upgrade: Signal,
}

impl EarlySignals {
    /// To be called before anything that takes time: until then these signals end the process, unless whoever has started
    /// it blocks them. They are no longer blocked afterwards.
    ///
    /// # Errors
    /// When the system refuses to have them handled.
    pub fn heed() -> io::Result<Self> {
        // Signals belong to the process, and whichever runtime lives then notices them.
        let registering = runtime::Builder::new_current_thread().enable_io().build()?;
        let _entered = registering.enter();
        let early = Self { hangup: signal(SignalKind::hangup())?, upgrade: signal(SignalKind::user_defined2())? };
        early_signals().thread_unblock()?;
        Ok(early)
    }
}

/// Starts a program that has SIGHUP and SIGUSR2 blocked until it heeds them, so that none ends it before.
pub(super) fn spawn(command: &mut Command) -> io::Result<Child> {
    // They come to the other threads meanwhile.
    let before = early_signals().thread_swap_mask(SigmaskHow::SIG_BLOCK)?;
    let child = command.spawn();
    before.thread_set_mask()?;
    child
}

fn early_signals() -> SigSet {
    SigSet::from_iter([Number::SIGHUP, Number::SIGUSR2])
}

/// The signals that the process listens to once it serves.
pub(super) struct Signals {
    hangup: Signal,
    upgrade: Signal,
    terminate: Signal,
    interrupt: Signal,
}

/// What happened first.
enum Event {
    Hangup,
    Upgrade,
    Turn(OwnedMutexGuard<()>),
    Upgraded(Result<Successor, UpgradeError>),
    End,
    Drain(Drain),
}

impl Signals {
    /// Takes note of SIGTERM and SIGINT, too, which end the process until then.
    pub(super) fn new(EarlySignals { hangup, upgrade }: EarlySignals) -> io::Result<Self> {
        Ok(Self {
            hangup,
            upgrade,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Serves until the process is to end: drained, or told twice.
    pub(super) async fn until_drained(mut self, state: &State) {
        let (drain, mut is_told) = self.until_drain(state).await;
        let then = if is_told { "a second signal ends at once" } else { "two signals end at once" };
        tracing::info!(
            connections = state.loads.total(),
            over = ?drain.over,
            code = drain.code.number(),
            "draining; {then}",
        );
        state.begin_drain(drain);
        let mut drained = std::pin::pin!(drained(state, drain));
        loop {
            tokio::select! {
                () = drained.as_mut() => return tracing::info!("drained"),
                () = told_to_end(&mut self.terminate, &mut self.interrupt) => {
                    let connections = state.loads.total();
                    if std::mem::replace(&mut is_told, true) {
                        return tracing::warn!(connections, "ending at once");
                    }
                    tracing::info!(connections, "draining already; a second signal ends at once");
                }
                _ = self.upgrade.recv() => tracing::warn!("no upgrade: this process is draining"),
                _ = self.hangup.recv() => tracing::warn!("no reload: this process is draining"),
            }
        }
    }

    /// Serves until somebody asks for a drain, or a new process has taken over; whether it was a signal that asked.
    async fn until_drain(&mut self, state: &State) -> (Drain, bool) {
        let mut asked = state.drain.subscribe();
        let mut upgrade: Option<Upgrade> = None;
        // An upgrade waits for a reload under way.
        let (mut is_wanted, mut turn) = (false, None);
        let mut is_told = false;
        // By a signal that came when the new process may have read the files already.
        let mut is_reload_due = false;
        loop {
            let event = tokio::select! {
                // A process that is told to end does not hand over in the same moment.
                biased;
                () = told_to_end(&mut self.terminate, &mut self.interrupt) => Event::End,
                Some(drain) = async { asked.wait_for(Option::is_some).await.ok().and_then(|drain| *drain) } => {
                    Event::Drain(drain)
                }
                _ = self.hangup.recv() => Event::Hangup,
                _ = self.upgrade.recv() => Event::Upgrade,
                guard = state.turn.clone().lock_owned(), if is_wanted => Event::Turn(guard),
                result = finished(&mut upgrade) => Event::Upgraded(result),
            };
            match event {
                Event::Hangup => {
                    if state.succession.none().is_err() {
                        is_reload_due = true;
                        tracing::info!("an upgrade is under way: the reload of this SIGHUP follows it");
                    }
                    state.reloads.trigger(HANGUP);
                }
                Event::Upgrade if state.succession.none().is_err() => {
                    tracing::warn!("an upgrade is under way already");
                }
                Event::Upgrade => {
                    is_wanted = true;
                    state.succession.begin();
                }
                Event::Turn(guard) => {
                    is_wanted = false;
                    let patience = state.sources().config.upgrade_timeout;
                    upgrade = state.sockets().and_then(|sockets| {
                        Upgrade::begin(sockets, state.keys.clone(), patience)
                            .inspect_err(|error| upgrade_failed(state, error))
                            .ok()
                    });
                    if upgrade.is_some() {
                        turn = Some(guard);
                    } else {
                        is_reload_due = false;
                        state.succession.fail();
                    }
                }
                Event::Upgraded(result) => {
                    upgrade = None;
                    match result.and_then(|successor| successor.go(is_reload_due)) {
                        Ok(pid) => {
                            tracing::info!(pid, "a new process has taken over");
                            notify(&format!("MAINPID={pid}"));
                            state.hand_over();
                        }
                        Err(error) => {
                            upgrade_failed(state, &error);
                            drop(turn.take());
                            is_reload_due = false;
                            state.succession.fail();
                        }
                    }
                }
                // Both come back as a drain.
                Event::End => {
                    is_told = true;
                    state.ask_drain(state.usual_drain());
                }
                Event::Drain(drain) => {
                    if let Some(upgrade) = upgrade {
                        tracing::warn!("the upgrade is given up");
                        upgrade.give_up().await;
                    }
                    if !state.succession.is_over() {
                        state.succession.fail();
                        notify("STOPPING=1");
                    }
                    return (drain, is_told);
                }
            }
        }
    }
}

fn upgrade_failed(state: &State, error: &UpgradeError) {
    state.metrics.upgrade_failed(error.reason());
    tracing::error!(%error, "the upgrade has failed; this process goes on");
}

/// Waits for the upgrade under way; without one, for ever.
async fn finished(upgrade: &mut Option<Upgrade>) -> Result<Successor, UpgradeError> {
    match upgrade {
        Some(upgrade) => upgrade.finished().await,
        None => pending().await,
    }
}

async fn told_to_end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Waits until every connection has ended, or had the time to.
async fn drained(state: &State, drain: Drain) {
    let config = &state.sources().config;
    let close = config.routes.iter().map(|route| route.timers.close_timeout).max().unwrap_or_default();
    // A handshake under way may take its time.
    let latest = Instant::now() + drain.over + close + GRACE;
    let mut look = interval(LOOK);
    // Also those that a worker accepts which has not heard of the drain yet.
    while !state.loads.are_over() && look.tick().await < latest {}
}

/// What the log calls the cause of a reload by a signal.
pub(super) const HANGUP: &str = "SIGHUP";
const LOOK: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(1);
