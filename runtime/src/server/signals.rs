//! Signals: SIGHUP reloads, SIGTERM and SIGINT drain, a second one ends at once.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval};

use super::state::State;

/// Serves until the process is to end: drained, or told twice.
pub(super) async fn until_drained(state: &State) -> io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        tokio::select! {
            _ = hangup.recv() => state.reloads.trigger("SIGHUP"),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = state.drain.notified() => break,
        }
    }
    tracing::info!(connections = state.loads.total(), "draining; a second signal ends at once");
    state.begin_drain().await;
    tokio::select! {
        () = drained(state) => tracing::info!("drained"),
        _ = terminate.recv() => tracing::warn!(connections = state.loads.total(), "ending at once"),
        _ = interrupt.recv() => tracing::warn!(connections = state.loads.total(), "ending at once"),
    }
    Ok(())
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
