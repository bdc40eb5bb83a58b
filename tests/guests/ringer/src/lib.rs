//! A filter that acts on its own account: it sets timers and says things of its connection, as text messages of the client
//! tell it. Other messages go on.

use std::time::Duration;

use serde::Deserialize;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, Outgoing, Reaction, Refusal, Selection, Side, Verdict,
    clock, connection, export_filter, timer,
};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Ringer {
    /// Stands before whatever a timer sends.
    tag: String,
    /// Set when a connection opens: milliseconds and token.
    on_open: Option<(u64, u64)>,
    /// Set when it takes a connection over.
    on_resume: Option<(u64, u64)>,
    /// The lease at the handshake.
    lease_seconds: Option<u32>,
}

/// The token of the timer that sends a text to both peers.
const TELL: u64 = 1;
/// Closes.
const CLOSE: u64 = 2;
/// Panics.
const FAIL: u64 = 3;
/// Sends a long text to the client, and comes again in a millisecond, so many times.
const FLOOD: u64 = 4;
const FLOODS: u64 = 300;
/// Two that come again at once, and take longer than their coming again does.
const BUSY: [u64; 2] = [5, 6];
const BUSY_FOR: Duration = Duration::from_millis(2);

fn set((milliseconds, token): (u64, u64)) {
    timer::after(Duration::from_millis(milliseconds), token);
}

impl Filter for Ringer {
    type Session = u64;

    fn interest(&self) -> Interest {
        Interest::from_client(Selection::whole(Kinds::TEXT))
    }

    fn open(&self, _: &Handshake) -> Result<Admission<u64>, Refusal> {
        self.on_open.into_iter().for_each(set);
        Ok(Admission { lease_seconds: self.lease_seconds, ..Admission::of(0) })
    }

    fn on_message(&self, _: &mut u64, message: Message<'_>) -> Verdict {
        let words: Vec<&str> = message.text().unwrap_or_default().split(' ').collect();
        let number = |word: &str| word.parse::<u64>().unwrap_or_default();
        match words.as_slice() {
            ["after", milliseconds, token] => set((number(milliseconds), number(token))),
            ["cancel", token] => timer::cancel(number(token)),
            ["many", count] => (0..number(count)).for_each(|token| set((60_000, 100 + token))),
            ["attribute", name, value] => connection::set_attribute(name, value),
            ["attributes", count] => {
                (0..number(count)).for_each(|at| connection::set_attribute(&format!("a{at}"), "x"))
            }
            ["lease", seconds] => connection::renew_lease(Duration::from_secs(number(seconds))),
            ["token", token] => {
                let answer = connection::renew_token(token).err().unwrap_or_default();
                return Verdict::send([Outgoing::text(Side::Client, answer)]);
            }
            _ => return Verdict::Forward,
        }
        Verdict::Drop
    }

    #[expect(clippy::panic, reason = "what this guest is for")]
    fn on_timer(&self, floods: &mut u64, token: u64) -> Reaction {
        match token {
            TELL => {
                Reaction::send([Side::Client, Side::Upstream].map(|to| Outgoing::text(to, format!("{}!", self.tag))))
            }
            CLOSE => Reaction::close(4002, "time is up"),
            FAIL => panic!("as told: it fails"),
            FLOOD if *floods < FLOODS => {
                *floods += 1;
                timer::after(Duration::from_millis(1), FLOOD);
                Reaction::send([Outgoing::text(Side::Client, format!("{floods}:{}", "x".repeat(64 << 10)))])
            }
            _ if BUSY.contains(&token) => {
                let begun = clock::monotonic();
                while clock::monotonic() - begun < BUSY_FOR {}
                timer::after(Duration::ZERO, token);
                Reaction::Nothing
            }
            _ => Reaction::Nothing,
        }
    }

    fn resume(&self, _: &Handshake, _: &[u8]) -> Result<u64, String> {
        self.on_resume.into_iter().for_each(set);
        Ok(0)
    }
}

export_filter!(Ringer);
