//! The timers of one connection, behind at most one entry among the timers of the worker.
//!
//! A message moves no timer: what an activity puts off is worked out when that one fires, not when the message comes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::settings::Timers;
use crate::peer::Side;
use crate::reactor::{Sleep, give_way, sleep_until};

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ping,
    PongMissing(Side),
    Inactivity,
    Lifetime,
    Lease,
    /// The token is over that the client came in by.
    Token,
    /// The closing handshake has taken too long.
    CloseTimeout,
}

/// The timers of one connection. Most routes have none: then nothing is kept but where to look them up.
#[derive(Debug)]
pub(super) struct Clock {
    timers: Arc<Timers>,
    running: Option<Box<Running>>,
}

/// Timers that run.
#[derive(Debug)]
struct Running {
    active_at: Instant,
    ping_at: Option<Instant>,
    pongs: [Pong; Side::COUNT],
    /// What the peers had not taken when it was last asked whether the connection carries anything.
    unwritten: usize,
    lifetime_at: Option<Instant>,
    lease_at: Option<Instant>,
    /// When the token is over that the client came in by.
    token_until: Option<Instant>,
    close_at: Option<Instant>,
    sleep: Option<Sleep>,
}

/// The pong that one side owes.
#[derive(Clone, Copy, Debug, Default)]
struct Pong {
    due: Option<Instant>,
    /// Since when nothing is read of that side, so that no time passes for it.
    unread_since: Option<Instant>,
}

impl Pong {
    /// When it is missing.
    fn missing_at(self) -> Option<Instant> {
        self.due.filter(|_| self.unread_since.is_none())
    }
}

impl Clock {
    /// Starts the timers of a connection that opens now; `lease_at` is when the first lease of a filter runs out.
    pub(super) fn new(timers: Arc<Timers>, lease_at: Option<Instant>, now: Instant) -> Self {
        let Timers { ping_interval, max_inactivity, max_lifetime, .. } = *timers;
        let runs = [ping_interval, max_inactivity, max_lifetime].iter().any(Option::is_some) || lease_at.is_some();
        let running = runs.then(|| {
            let mut running = Running::new(now);
            running.ping_at = ping_interval.map(|interval| now + interval);
            running.lifetime_at = max_lifetime.map(|lifetime| now + jittered(lifetime));
            running.lease_at = lease_at;
            Box::new(running)
        });
        Self { timers, running }
    }

    /// When the first lease of a filter runs out, since one was renewed.
    pub(super) fn set_lease(&mut self, lease_at: Option<Instant>) {
        if lease_at.is_some() || self.running.is_some() {
            self.run(Instant::now()).lease_at = lease_at;
        }
    }

    /// The token that the client came in by is over then.
    pub(super) fn set_token_until(&mut self, until: Instant) {
        self.run(Instant::now()).token_until = Some(until);
    }

    /// A data message went by.
    pub(super) fn active(&mut self) {
        if let Some(running) = &mut self.running
            && self.timers.max_inactivity.is_some()
        {
            running.active_at = Instant::now();
        }
    }

    /// Whether a connection is inactive for which no data message came for `max_inactivity`: not while a filter holds
    /// something back, and not while a peer takes what is `unwritten`. What one never takes is seen once more.
    pub(super) fn is_inactive(&mut self, is_held_back: bool, unwritten: usize) -> bool {
        let Some(running) = &mut self.running else { return true };
        let before = std::mem::replace(&mut running.unwritten, unwritten);
        let is_inactive = !is_held_back && (unwritten == 0 || unwritten == before);
        if !is_inactive {
            running.active_at = Instant::now();
        }
        is_inactive
    }

    /// A ping has left for one side; its pong is due in `pong_timeout`, if an earlier one is not due already.
    pub(super) fn pinged(&mut self, side: Side) {
        let now = Instant::now();
        let due = self.timers.pong_timeout.map(|timeout| now + timeout);
        if let Some(pong) = self.run(now).pongs.get_mut(side as usize) {
            pong.due = pong.due.or(due);
        }
    }

    /// One side answered.
    pub(super) fn ponged(&mut self, side: Side) {
        if let Some(pong) = self.running.as_mut().and_then(|running| running.pongs.get_mut(side as usize)) {
            *pong = Pong::default();
        }
    }

    /// A part of a frame has come from one side: its pong cannot come before the rest has.
    #[inline]
    pub(super) fn inside_frame(&mut self, side: Side) {
        if let (Some(running), Some(timeout)) = (&mut self.running, self.timers.pong_timeout)
            && let Some(due) = running.pongs.get_mut(side as usize).and_then(|pong| pong.due.as_mut())
        {
            *due = Instant::now() + timeout;
        }
    }

    /// Says whether what one side sends is read. While it is not, its pong may have come.
    #[inline]
    pub(super) fn reads(&mut self, side: Side, is_read: bool) {
        let Some(pong) = self.running.as_mut().and_then(|running| running.pongs.get_mut(side as usize)) else { return };
        match (pong.due.as_mut(), pong.unread_since) {
            (Some(_), None) if !is_read => pong.unread_since = Some(Instant::now()),
            (Some(due), Some(since)) if is_read => {
                *due += since.elapsed();
                pong.unread_since = None;
            }
            _ => {}
        }
    }

    /// The connection is closing: from here on only `close_timeout` counts.
    pub(super) fn closing(&mut self) {
        let now = Instant::now();
        let close_at = now + self.timers.close_timeout;
        self.run(now).close_at.get_or_insert(close_at);
    }

    fn run(&mut self, now: Instant) -> &mut Running {
        self.running.get_or_insert_with(|| Box::new(Running::new(now)))
    }

    /// The settings behind the timers.
    pub(super) fn timers(&self) -> &Timers {
        &self.timers
    }

    /// What is due; otherwise the task is woken when something may be, or at `wake_at`.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, wake_at: Option<Instant>) -> Option<Due> {
        let running = match (&mut self.running, wake_at) {
            (None, None) => return None,
            (running, _) => running.get_or_insert_with(|| Box::new(Running::new(Instant::now()))),
        };
        running.poll(context, wake_at, &self.timers)
    }
}

impl Running {
    fn new(now: Instant) -> Self {
        Self {
            active_at: now,
            ping_at: None,
            pongs: [Pong::default(); Side::COUNT],
            unwritten: 0,
            lifetime_at: None,
            lease_at: None,
            token_until: None,
            close_at: None,
            sleep: None,
        }
    }

    fn poll(&mut self, context: &mut Context<'_>, wake_at: Option<Instant>, timers: &Timers) -> Option<Due> {
        loop {
            let (next, due) = self.next(timers);
            let next = [next, wake_at].into_iter().flatten().min()?;
            let sleep = match &mut self.sleep {
                // Armed for an earlier time, as by an activity since: it fires for nothing once and is set anew.
                Some(sleep) if sleep.deadline() <= next => sleep,
                Some(sleep) => {
                    sleep.reset(next);
                    sleep
                }
                None => self.sleep.insert(sleep_until(next)),
            };
            match Pin::new(sleep).poll(context) {
                Poll::Pending => return None,
                Poll::Ready(()) => self.sleep = None,
            }
            let now = Instant::now();
            if let Some((at, due)) = due.filter(|(at, _)| *at <= now) {
                if due == Due::Ping {
                    self.ping_at = timers.ping_interval.map(|interval| at.max(now) + interval);
                }
                return Some(due);
            }
            if wake_at.is_some_and(|at| at <= now) {
                give_way(context);
                return None;
            }
        }
    }

    /// The earliest timer.
    fn next(&self, timers: &Timers) -> (Option<Instant>, Option<(Instant, Due)>) {
        let earliest = match self.close_at {
            Some(at) => Some((at, Due::CloseTimeout)),
            None => {
                let [client, upstream] = self.pongs.map(Pong::missing_at);
                [
                    self.ping_at.map(|at| (at, Due::Ping)),
                    client.map(|at| (at, Due::PongMissing(Side::Client))),
                    upstream.map(|at| (at, Due::PongMissing(Side::Upstream))),
                    timers.max_inactivity.map(|inactivity| (self.active_at + inactivity, Due::Inactivity)),
                    self.lifetime_at.map(|at| (at, Due::Lifetime)),
                    self.lease_at.map(|at| (at, Due::Lease)),
                    self.token_until.map(|at| (at, Due::Token)),
                ]
                .into_iter()
                .flatten()
                .min_by_key(|(at, _)| *at)
            }
        };
        (earliest.map(|(at, _)| at), earliest)
    }
}

/// A lifetime give or take 10 percent, so that connections opened together do not end together.
fn jittered(lifetime: Duration) -> Duration {
    lifetime.mul_f64(rand::random_range(0.9..=1.1))
}
