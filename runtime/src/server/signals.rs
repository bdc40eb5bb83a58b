//! Signals: SIGHUP reloads, SIGTERM and SIGINT drain, a second one ends at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, interval};

use super::state::State;

/// The signals that the process listens to, from when this is made: before that they end it.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Serves until the process is to end: drained, or told twice.
    pub(super) async fn until_drained(mut self, state: &State) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => state.reloads.trigger("SIGHUP"),
                () = told_to_end(&mut self.terminate, &mut self.interrupt) => break,
                () = state.drain.notified() => break,
            }
        }
        tracing::info!(connections = state.loads.total(), "draining; a second signal ends at once");
        state.begin_drain().await;
        tokio::select! {
            () = drained(state) => tracing::info!("drained"),
            () = told_to_end(&mut self.terminate, &mut self.interrupt) => {
                tracing::warn!(connections = state.loads.total(), "ending at once");
            }
        }
    }
}

async fn told_to_end(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Waits until every connection has ended, or had the time to.
async fn drained(state: &State) {
    let config = &state.sources().config;
    let close = config.routes.iter().map(|route| route.timers.close_timeout).max().unwrap_or_default();
    // The last connection is told up to a fifth late; a handshake under way may take its time.
    let latest = Instant::now() + config.drain_time.mul_f64(1.2) + close + GRACE;
    let mut look = interval(LOOK);
    while state.loads.total() > 0 && look.tick().await < latest {}
}

const LOOK: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(1);
