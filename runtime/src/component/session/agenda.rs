//! What a session has asked for and is still to come: its timers, its lease, and what it says of its connection.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::Session;
use crate::component::types::{Failure, Load, Reaction};
use crate::component::wishes::{Greedy, MAX_TIMERS, Wishes, set};
use crate::component::{answer, lent};
use crate::metrics::CallVerdict;

/// What is to come of a session. Most have none.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    /// When, and the token.
    timers: Vec<(Instant, u64)>,
    lease_at: Option<Instant>,
    /// When a token is over that it has handed in.
    renewed_until: Option<Instant>,
    /// Whether `lease_at` or `attributes` are news to the connection.
    has_news: bool,
    attributes: Vec<(String, String)>,
    /// Which of them are news, in the order in which they were set.
    changed: Vec<usize>,
}

impl Agenda {
    pub(super) fn of_lease(until: Instant) -> Box<Self> {
        Box::new(Self { lease_at: Some(until), ..Self::default() })
    }
}

impl Session {
    /// When the filter is to be called back next.
    #[inline]
    pub fn next_timer(&self) -> Option<Instant> {
        self.agenda.as_ref().and_then(|agenda| agenda.timers.iter().map(|(at, _)| *at).min())
    }

    /// When its lease on the connection runs out.
    pub fn lease_at(&self) -> Option<Instant> {
        self.agenda.as_ref().and_then(|agenda| agenda.lease_at)
    }

    /// Whether there are attributes or a lease that the connection has not heard of.
    #[inline]
    pub fn has_news(&self) -> bool {
        self.agenda.as_ref().is_some_and(|agenda| agenda.has_news)
    }

    /// The attributes that it has set since this was last asked.
    pub fn take_news(&mut self) -> Vec<(String, String)> {
        let Some(agenda) = &mut self.agenda else { return Vec::new() };
        agenda.has_news = false;
        agenda.changed.drain(..).filter_map(|place| agenda.attributes.get(place).cloned()).collect()
    }

    /// Adds attributes of the connection to what a successor, or this filter if its instance is lost, sees of its handshake.
    pub fn learn(&mut self, attributes: &[(String, String)]) {
        let known = &mut Rc::make_mut(&mut self.handshake).attributes;
        for (name, value) in attributes {
            set(known, name.clone(), value.clone());
        }
    }

    /// When the token is over that it has handed in since this was last asked.
    pub fn take_renewal(&mut self) -> Option<Instant> {
        self.agenda.as_mut()?.renewed_until.take()
    }

    /// Calls the filter back about the first timer whose time has come, if one's has.
    pub fn on_timer(&mut self, now: Instant) -> Option<Result<Reaction, Failure>> {
        let timers = &mut self.agenda.as_mut()?.timers;
        let (place, (at, token)) = timers.iter().copied().enumerate().min_by_key(|(_, (at, _))| *at)?;
        if at > now {
            return None;
        }
        timers.swap_remove(place);
        Some(self.ring(token))
    }

    fn ring(&mut self, token: u64) -> Result<Reaction, Failure> {
        let handle = self.resource()?;
        let called = self.slot.call(&*self.handshake, |store, exports| match &exports.on_timer {
            Some(on_timer) => Ok(on_timer.call(store, (handle, token))?.0),
            None => Err(wasmtime::Error::msg("it exports no `timing`")),
        });
        let reaction = called.and_then(|reaction| {
            self.check_reply(reaction.load(), Load::default())?;
            answer::reaction(reaction).map_err(|why| self.invalid(why))
        });
        match reaction.and_then(|reaction| self.heed().map(|()| reaction)) {
            Ok(reaction) => {
                match &reaction {
                    Reaction::Nothing => {}
                    Reaction::Send(_) => self.slot.verdict(CallVerdict::Send),
                    Reaction::Close(_) => self.slot.verdict(CallVerdict::Close),
                }
                Ok(reaction)
            }
            Err(failure) => {
                self.end();
                Err(failure)
            }
        }
    }

    /// Heeds what was asked for when the session was opened again: its timers begin anew, and all else is as it was.
    pub(super) fn begin_agenda_anew(&mut self) -> Result<(), Failure> {
        self.clear_timers();
        match self.slot.take_wishes() {
            Some(wishes) => self.heed_wishes(Wishes { timers: wishes.timers, ..Wishes::default() }),
            None => Ok(()),
        }
    }

    /// Heeds what was asked for in the call that has just succeeded.
    #[inline]
    pub(super) fn heed(&mut self) -> Result<(), Failure> {
        match self.slot.take_wishes() {
            Some(wishes) => self.heed_wishes(*wishes),
            None => Ok(()),
        }
    }

    #[cold]
    fn heed_wishes(&mut self, wishes: Wishes) -> Result<(), Failure> {
        let Wishes { timers, attributes, lease, renewed_until } = wishes;
        let has_timing = self.filter.hooks().timing;
        let bounds = self.filter.component().limits().bounds();
        let (agenda, now) = (self.agenda.get_or_insert_default(), Instant::now());
        let mut greedy = Ok(());
        for (token, after) in timers.into_iter().filter(|_| has_timing) {
            agenda.timers.retain(|(_, known)| *known != token);
            agenda.timers.extend(after.map(|after| (due(now, after), token)));
        }
        if agenda.timers.len() > MAX_TIMERS {
            greedy = Err(Greedy::Timers);
        }
        agenda.has_news |= !attributes.is_empty() || lease.is_some() || renewed_until.is_some();
        agenda.renewed_until = renewed_until.or(agenda.renewed_until);
        for (name, value) in attributes {
            let place = set(&mut agenda.attributes, name, value);
            if !agenda.changed.contains(&place) {
                agenda.changed.push(place);
            }
        }
        if let Err(error) = bounds.check(&agenda.attributes) {
            greedy = Err(error);
        }
        agenda.lease_at = lease.map(|lease| now + lease).or(agenda.lease_at);
        greedy.map_err(|greedy| self.refused(greedy.reason(), greedy.to_string()))
    }

    /// Takes all timers back.
    pub(super) fn clear_timers(&mut self) {
        if let Some(agenda) = &mut self.agenda {
            agenda.timers.clear();
        }
    }

    /// Forgets what was asked for that nobody will do: a shadow's.
    pub fn forget_agenda(&mut self) {
        self.agenda = None;
    }
}

/// When a timer comes: timers of many connections that come at about the same time come at the same.
fn due(now: Instant, after: Duration) -> Instant {
    let step = (after / COALESCED).clamp(Duration::from_millis(1), MAX_STEP).as_nanos();
    let since = lent::monotonic_at(now + after).as_nanos();
    let late = since.next_multiple_of(step) - since;
    now + after + Duration::from_nanos(u64::try_from(late).unwrap_or_default())
}

/// The part of a time by which it may come later.
const COALESCED: u32 = 64;
/// The most by which it may come later.
const MAX_STEP: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timer_never_comes_early_and_long_ones_come_together() {
        let now = Instant::now();
        let mut times = Vec::new();
        for offset in 0..200 {
            let now = now + Duration::from_millis(offset * 7);
            for after in [0, 1, 5, 64, 1_000, 30_000].map(Duration::from_millis) {
                let at = due(now, after);
                let latest = (after / 64).clamp(Duration::from_millis(1), Duration::from_millis(250));
                assert!((now + after..=now + after + latest).contains(&at), "{after:?}");
                if after.as_secs() == 30 {
                    times.push(at);
                }
            }
        }
        times.dedup();
        assert!(times.len() <= 7, "1.4 seconds have {} steps of 250 ms", times.len());
    }
}
