//! The standard filter `rate-limit`: a token bucket for each connection and direction.
//!
//! It decides on the fact of a message and its size, so no message is ever assembled for it.

mod bucket;

use std::time::Duration;

use serde::Deserialize;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, Origins, Refusal, Selection, Side, Verdict, clock,
    export_filter,
};

use crate::bucket::{Bucket, Rate};

/// The configuration; README.md has the keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RateLimit {
    messages_per_second: Option<f64>,
    burst: Option<f64>,
    bytes_per_second: Option<f64>,
    burst_bytes: Option<f64>,
    #[serde(default = "delay")]
    action: Action,
    #[serde(default = "client")]
    from: Origins,
    #[serde(skip)]
    messages: Option<Rate>,
    #[serde(skip)]
    bytes: Option<Rate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Delay,
    Drop,
    Close,
}

fn delay() -> Action {
    Action::Delay
}

fn client() -> Origins {
    Origins::Client
}

/// The buckets of one connection.
struct Session {
    client: Buckets,
    upstream: Buckets,
}

/// The buckets of one direction.
struct Buckets {
    messages: Bucket,
    bytes: Bucket,
}

impl Filter for RateLimit {
    type Session = Session;

    fn configured(mut self) -> Result<Self, String> {
        self.messages = Rate::configured("messages_per_second", self.messages_per_second, "burst", self.burst)?;
        self.bytes = Rate::configured("bytes_per_second", self.bytes_per_second, "burst_bytes", self.burst_bytes)?;
        if self.messages.is_none() && self.bytes.is_none() {
            return Err("nothing to limit; write `messages_per_second`, `bytes_per_second` or both".into());
        }
        Ok(self)
    }

    fn interest(&self) -> Interest {
        self.from.interest(Selection::fact(Kinds::all()))
    }

    fn open(&self, _: &Handshake) -> Result<Admission<Session>, Refusal> {
        let now = clock::monotonic();
        Ok(Admission::of(Session { client: self.full(now), upstream: self.full(now) }))
    }

    fn on_message(&self, session: &mut Session, message: Message<'_>) -> Verdict {
        let buckets = match message.origin() {
            Side::Client => &mut session.client,
            Side::Upstream => &mut session.upstream,
        };
        let now = clock::monotonic();
        if let Some(rate) = self.messages {
            buckets.messages.refill(rate, now);
        }
        if let Some(rate) = self.bytes {
            buckets.bytes.refill(rate, now);
        }
        match self.action {
            Action::Delay => self.delayed(buckets, message.size().into()),
            Action::Drop if self.is_over(buckets) => Verdict::Drop,
            Action::Close if self.is_over(buckets) => Verdict::close(1008, "rate limit exceeded"),
            Action::Drop | Action::Close => {
                self.take(buckets, message.size().into());
                Verdict::Forward
            }
        }
    }

    fn save(&self, session: &Session) -> Vec<u8> {
        let Session { client, upstream } = session;
        [&client.messages, &client.bytes, &upstream.messages, &upstream.bytes].map(Bucket::save).concat()
    }

    /// The new limits hold at once; what was used up stays used up.
    fn resume(&self, _: &Handshake, state: &[u8]) -> Result<Session, String> {
        let now = clock::monotonic();
        let mut session = Session { client: self.full(now), upstream: self.full(now) };
        let Session { client, upstream } = &mut session;
        let buckets = [&mut client.messages, &mut client.bytes, &mut upstream.messages, &mut upstream.bytes];
        for (bucket, saved) in buckets.into_iter().zip(state.as_chunks().0) {
            bucket.restore(*saved);
        }
        Ok(session)
    }
}

impl RateLimit {
    fn full(&self, now: Duration) -> Buckets {
        Buckets { messages: Bucket::full(self.messages, now), bytes: Bucket::full(self.bytes, now) }
    }

    fn take(&self, buckets: &mut Buckets, size: u64) {
        buckets.messages.take(1.0);
        #[expect(clippy::cast_precision_loss, reason = "no message comes near 2^53 bytes")]
        buckets.bytes.take(size as f64);
    }

    /// Whether a limit leaves no room for a message. One byte of room is enough for a message of any size, which then
    /// leaves a debt: otherwise one that is larger than the burst would never pass.
    fn is_over(&self, buckets: &Buckets) -> bool {
        self.messages.is_some() && !buckets.messages.holds(1.0) || self.bytes.is_some() && !buckets.bytes.holds(1.0)
    }

    /// Every message goes on; its successor waits until there is room for it again. In a batch the debt grows with each
    /// message, and so does the delay, which the proxy counts from the call.
    fn delayed(&self, buckets: &mut Buckets, size: u64) -> Verdict {
        self.take(buckets, size);
        let messages = self.messages.map_or(Duration::ZERO, |rate| buckets.messages.time_until(rate, 1.0));
        let bytes = self.bytes.map_or(Duration::ZERO, |rate| buckets.bytes.time_until(rate, 1.0));
        Verdict::delay(messages.max(bytes))
    }
}

export_filter!(RateLimit);

#[cfg(test)]
mod tests;
