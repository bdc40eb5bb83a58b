//! A filter that misbehaves on request: when a text message says `boom`, or at another moment of a connection.

use std::hint::black_box;
use std::time::Duration;

use serde::Deserialize;
use tidegate_guest::{
    Admission, CloseFrame, Filter, Handshake, HeaderEdit, Interest, Kinds, Message, Outgoing, Refusal, Selection, Side,
    Verdict, clock, export_filter, log,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hostile {
    #[serde(rename = "do")]
    deed: Deed,
    #[serde(default)]
    at: Moment,
    /// Misbehaves at the message of this number of every connection, whatever it says.
    nth: Option<u32>,
    /// How long what is slow takes: by default half of the default deadline.
    #[serde(default = "half_a_deadline")]
    milliseconds: u64,
}

fn half_a_deadline() -> u64 {
    5
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Trap,
    /// Calls itself until the stack is full.
    Recurse,
    Loop,
    /// Takes its time.
    Slow,
    Hoard,
    /// Answers with 1 MiB.
    OversizedReply,
    /// Sends 64 messages of 16 KiB.
    ManyReplies,
    /// Logs 20 lines of 1 MiB.
    OversizedLog,
    ReservedCloseCode,
    EndlessCloseReason,
    ReplaceOnHead,
    SendOnHead,
    InvalidText,
    SendInvalidText,
    ForbiddenHeader,
    BrokenHeader,
    RefuseWith200,
    /// Attaches 25,000 header edits.
    ManyEdits,
    /// Refuses with 33,000 header fields.
    ManyRefusalFields,
    /// Refuses with a body of 1 MiB.
    LongRefusal,
    /// Attaches an attribute of 1 MiB.
    LongAttribute,
}

#[derive(Deserialize, Clone, Copy, Default, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Moment {
    Configure,
    /// Only for handshakes that carry the header `x-boom`.
    Open,
    #[default]
    Message,
    Close,
}

impl Filter for Hostile {
    type Session = u32;

    fn configured(self) -> Result<Self, String> {
        if self.at == Moment::Configure {
            self.misbehave();
        }
        Ok(self)
    }

    fn interest(&self) -> Interest {
        match self.deed {
            Deed::ReplaceOnHead | Deed::SendOnHead => Interest::both(Selection::head(Kinds::all(), 4)),
            _ => Interest::both(Selection::whole(Kinds::all())),
        }
    }

    fn open(&self, handshake: &Handshake) -> Result<Admission<u32>, Refusal> {
        let admission = Admission::of(0);
        if self.at != Moment::Open || handshake.header("x-boom").is_none() {
            return Ok(admission);
        }
        match self.deed {
            Deed::ForbiddenHeader => Ok(admission.upstream_header(HeaderEdit::set("sec-websocket-key", "mine"))),
            Deed::BrokenHeader => Ok(admission.client_header(HeaderEdit::set("x-split", "a\r\nx-smuggled: b"))),
            Deed::RefuseWith200 => Err(Refusal::new(200).text("fine")),
            Deed::ManyEdits => Ok((0..25_000).fold(admission, |admission, index| {
                admission.upstream_header(HeaderEdit::set(format!("x-{index}"), "1"))
            })),
            Deed::ManyRefusalFields => {
                Err((0..33_000).fold(Refusal::new(403), |refusal, index| refusal.header(format!("x-{index}"), "1")))
            }
            Deed::LongRefusal => Err(Refusal::new(403).text("x".repeat(1 << 20))),
            Deed::LongAttribute => Ok(admission.attribute("long", "x".repeat(1 << 20))),
            _ => {
                self.misbehave();
                Ok(admission)
            }
        }
    }

    fn on_message(&self, count: &mut u32, message: Message<'_>) -> Verdict {
        *count += 1;
        let now = self.nth.map_or_else(|| message.text() == Some("boom"), |nth| nth == *count);
        if self.at != Moment::Message || !now {
            return Verdict::Forward;
        }
        let onward = message.origin().opposite();
        match self.deed {
            Deed::ReservedCloseCode => Verdict::close(1005, "there is no status"),
            Deed::EndlessCloseReason => Verdict::Close(CloseFrame { code: 1000, reason: "x".repeat(10_000) }),
            Deed::ReplaceOnHead => Verdict::replace("bang"),
            Deed::SendOnHead => Verdict::send([Outgoing::text(onward, "bang")]),
            Deed::OversizedReply => Verdict::replace("x".repeat(1 << 20)),
            Deed::ManyReplies => {
                Verdict::send((0..64).map(|_| Outgoing::text(onward, "x".repeat(16 << 10))).collect::<Vec<_>>())
            }
            Deed::InvalidText => Verdict::replace(invalid_text()),
            Deed::SendInvalidText => Verdict::send([Outgoing::text(onward, invalid_text())]),
            _ => {
                self.misbehave();
                Verdict::Forward
            }
        }
    }

    fn on_close(&self, _: &mut u32, _: Option<Side>, _: Option<&CloseFrame>) {
        if self.at == Moment::Close {
            self.misbehave();
        }
    }
}

export_filter!(Hostile);

impl Hostile {
    fn misbehave(&self) {
        match self.deed {
            Deed::Trap => trap(),
            Deed::Recurse => {
                black_box(recurse(0));
            }
            Deed::Loop => spin(),
            Deed::Slow => dawdle(Duration::from_millis(self.milliseconds)),
            Deed::OversizedLog => chatter(),
            Deed::Hoard => hoard(),
            _ => {}
        }
    }
}

#[expect(clippy::panic, reason = "this is what the guest is for")]
fn trap() {
    panic!("boom");
}

/// Not a loop to the compiler, because each call keeps something of its own.
#[expect(unconditional_recursion, reason = "this is what the guest is for")]
fn recurse(depth: u64) -> u64 {
    let kept = black_box([depth; 16]);
    let below = recurse(black_box(depth + 1));
    kept.iter().fold(below, |sum, number| sum.wrapping_add(*number))
}

/// Takes so long.
fn dawdle(time: Duration) {
    let start = clock::monotonic();
    while clock::monotonic() - start < time {}
}

fn chatter() {
    let line = "x".repeat(1 << 20);
    for _ in 0..20 {
        log::warn(&line);
    }
}

fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Asks for memory until there is none, and goes on when the answer is no.
fn hoard() {
    let mut hoard: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut chunk: Vec<u8> = Vec::new();
        if chunk.try_reserve_exact(1 << 20).is_err() {
            break;
        }
        hoard.push(chunk);
    }
    black_box(hoard);
}

/// What no Rust text may be, and what another language may well take for one.
#[expect(unsafe_code, reason = "this is about guests that break the contract")]
fn invalid_text() -> String {
    // SAFETY: none. It only crosses to the host, and this guest is there to be hostile.
    unsafe { String::from_utf8_unchecked(vec![0xff, 0xfe]) }
}
