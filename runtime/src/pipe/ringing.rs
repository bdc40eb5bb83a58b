//! What filters do on their own account: when a timer of theirs comes, and what they say of the connection.

use tokio::time::Instant;

use super::Pipe;
use super::chain::Chain;
use super::emit::{encode, opcode};
use super::ending::Ending;
use super::transport::Transport;
use crate::component::{Content, OnFailure, Outgoing, Reaction};

impl Chain {
    /// When a filter is to be called back next.
    #[inline]
    fn rings_at(&self) -> Option<Instant> {
        self.sessions.iter().filter_map(|session| session.next_timer()).min()
    }

    /// When the first of its filters' leases runs out.
    pub(super) fn lease_at(&self) -> Option<Instant> {
        self.sessions.iter().filter_map(|session| session.lease_at()).min()
    }

    /// The attributes that filters have set and the connection has not heard of; each filter behind them learns of them.
    /// `None`: there is nothing new at all.
    #[inline]
    fn news(&mut self) -> Option<Vec<(String, String)>> {
        if self.sessions.iter().any(|session| session.has_news()) { Some(self.gather_news()) } else { None }
    }

    #[cold]
    fn gather_news(&mut self) -> Vec<(String, String)> {
        let mut news = Vec::new();
        for session in &mut self.sessions {
            if session.has_news() {
                news.extend(session.take_news());
            }
            session.learn(&news);
        }
        news
    }
}

impl<C, U> Pipe<C, U>
where
    C: Transport,
    U: Transport,
{
    /// When a filter is to be called back; not while what it may have sent before waits for its peer.
    #[inline]
    pub(super) fn rings_at(&self) -> Option<Instant> {
        let at = self.shared.chain.rings_at()?;
        let is_waiting = self.client.peer.outlet.holds_messages() || self.upstream.peer.outlet.holds_messages();
        (!is_waiting && self.ending.is_none()).then_some(at)
    }

    /// Calls filters back whose time has come, and hears what they say of the connection.
    pub(super) fn ring(&mut self) {
        while let Some(at) = self.rings_at() {
            let now = Instant::now();
            if at > now {
                break;
            }
            let Some(place) = self.shared.chain.sessions.iter().position(|it| it.next_timer() == Some(at)) else {
                break;
            };
            let Some(session) = self.shared.chain.sessions.get_mut(place) else { break };
            let on_failure = session.on_failure();
            match session.on_timer(now) {
                None => break,
                Some(Ok(Reaction::Nothing)) => {}
                Some(Ok(Reaction::Send(messages))) => messages.into_iter().for_each(|message| self.say(message)),
                Some(Ok(Reaction::Close(close))) => self.end(Ending::ordered(close, "")),
                Some(Err(failure)) if on_failure == OnFailure::Close => self.end(Ending::failed(&failure)),
                // It is bypassed from now on.
                Some(Err(_)) => self.shared.interests_changed = true,
            }
        }
        if let Some(attributes) = self.shared.chain.news() {
            self.shared.handle.set_attributes(attributes);
            self.shared.clock.set_lease(self.shared.chain.lease_at());
        }
    }

    /// Sends a message of a filter's own.
    fn say(&mut self, Outgoing { to, message: Content { kind, payload } }: Outgoing) {
        let outlet = &mut self.peer(to).outlet;
        if !outlet.is_closed() {
            encode(opcode(kind), true, &payload, to, outlet.messages());
            outlet.settle();
        }
    }
}
