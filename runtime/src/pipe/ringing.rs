//! What filters do on their own account: when a timer of theirs comes, and what they say of the connection.

use tokio::time::Instant;

use super::chain::Chain;
use super::conversation::Conversation;
use super::emit::{encode, opcode};
use super::ending::Ending;
use super::filter::Filter;
use crate::component::{Content, OnFailure, Outgoing, Reaction, Session};

impl Chain {
    /// When a filter is to be called back next, and which.
    #[inline]
    fn next_ring(&self) -> Option<(Instant, usize)> {
        let next = |(place, filter): (usize, &Filter)| Some((filter.session()?.next_timer()?, place));
        self.filters.iter().enumerate().filter_map(next).min()
    }

    /// When the first of its filters' leases runs out.
    pub(super) fn lease_at(&self) -> Option<Instant> {
        self.sessions().filter_map(Session::lease_at).min()
    }

    /// When the last token is over that a filter has handed in since this was last asked.
    fn take_renewal(&mut self) -> Option<Instant> {
        self.filters.iter_mut().filter_map(Filter::session_mut).filter_map(Session::take_renewal).last()
    }

    /// The attributes that filters have set and the connection has not heard of; each filter behind them learns of them.
    /// `None`: there is nothing new at all.
    #[inline]
    fn news(&mut self) -> Option<Vec<(String, String)>> {
        if self.sessions().any(Session::has_news) { Some(self.gather_news()) } else { None }
    }

    #[cold]
    fn gather_news(&mut self) -> Vec<(String, String)> {
        let mut news = Vec::new();
        for session in self.filters.iter_mut().filter_map(Filter::session_mut) {
            if session.has_news() {
                news.extend(session.take_news());
            }
            // A renewed lease is news, too, and nothing to learn.
            if !news.is_empty() {
                session.learn(&news);
            }
        }
        news
    }
}

impl Conversation {
    /// When a filter is to be called back.
    #[inline]
    pub(super) fn rings_at(&self) -> Option<Instant> {
        self.next_ring().map(|(at, _)| at)
    }

    /// The next filter to be called back; none while what one may have sent before waits for its peer.
    #[inline]
    fn next_ring(&self) -> Option<(Instant, usize)> {
        let next = self.shared.chain.next_ring()?;
        let is_waiting = self.client.outlet.holds_messages() || self.upstream.outlet.holds_messages();
        (!is_waiting && self.ending.is_none()).then_some(next)
    }

    /// Calls filters back whose time has come, and hears what they say of the connection.
    pub(super) fn ring(&mut self) {
        while let Some((at, place)) = self.next_ring() {
            let now = Instant::now();
            let session = self.shared.chain.filters.get_mut(place).and_then(Filter::session_mut);
            let Some(session) = session.filter(|_| at <= now) else { break };
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
            // Two that come again at once would otherwise go on for ever.
            if self.shared.turn.is_over() {
                break;
            }
        }
        if let Some(attributes) = self.shared.chain.news() {
            if let Some(until) = self.shared.chain.take_renewal() {
                self.shared.clock.set_token_until(until);
            }
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
