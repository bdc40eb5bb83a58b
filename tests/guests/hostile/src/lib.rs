//! A filter that misbehaves on request: when a text message says `boom`, or at another moment of a connection.

use std::hint::black_box;

use serde::Deserialize;
use tidegate_guest::{
    Admission, CloseFrame, Filter, Handshake, HeaderEdit, Interest, Kinds, Message, Outgoing, Refusal, Selection, Side,
    Verdict, export_filter,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hostile {
    #[serde(rename = "do")]
    deed: Deed,
    #[serde(default)]
    at: Moment,
}

#[derive(Deserialize, Clone, Copy, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Deed {
    Trap,
    Loop,
    Hoard,
    ReservedCloseCode,
    EndlessCloseReason,
    ReplaceOnHead,
    SendOnHead,
    InvalidText,
    SendInvalidText,
    ForbiddenHeader,
    BrokenHeader,
    RefuseWith200,
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
    type Session = ();

    fn configured(self) -> Result<Self, String> {
        if self.at == Moment::Configure {
            self.deed.misbehave();
        }
        Ok(self)
    }

    fn interest(&self) -> Interest {
        match self.deed {
            Deed::ReplaceOnHead | Deed::SendOnHead => Interest::both(Selection::head(Kinds::all(), 4)),
            _ => Interest::both(Selection::whole(Kinds::all())),
        }
    }

    fn open(&self, handshake: &Handshake) -> Result<Admission<()>, Refusal> {
        let admission = Admission::of(());
        if self.at != Moment::Open || handshake.header("x-boom").is_none() {
            return Ok(admission);
        }
        match self.deed {
            Deed::ForbiddenHeader => Ok(admission.upstream_header(HeaderEdit::set("sec-websocket-key", "mine"))),
            Deed::BrokenHeader => Ok(admission.client_header(HeaderEdit::set("x-split", "a\r\nx-smuggled: b"))),
            Deed::RefuseWith200 => Err(Refusal::new(200).text("fine")),
            deed => {
                deed.misbehave();
                Ok(admission)
            }
        }
    }

    fn on_message(&self, (): &mut (), message: Message<'_>) -> Verdict {
        if self.at != Moment::Message || message.text() != Some("boom") {
            return Verdict::Forward;
        }
        match self.deed {
            Deed::ReservedCloseCode => Verdict::close(1005, "there is no status"),
            Deed::EndlessCloseReason => Verdict::Close(CloseFrame { code: 1000, reason: "x".repeat(10_000) }),
            Deed::ReplaceOnHead => Verdict::replace("bang"),
            Deed::SendOnHead => Verdict::send([Outgoing::text(message.origin().opposite(), "bang")]),
            Deed::InvalidText => Verdict::replace([0xff, 0xfe]),
            Deed::SendInvalidText => Verdict::send([Outgoing {
                to: message.origin().opposite(),
                kind: message.kind(),
                payload: vec![0xff, 0xfe],
            }]),
            deed => {
                deed.misbehave();
                Verdict::Forward
            }
        }
    }

    fn on_close(&self, (): &mut (), _: Option<Side>, _: Option<&CloseFrame>) {
        if self.at == Moment::Close {
            self.deed.misbehave();
        }
    }
}

export_filter!(Hostile);

impl Deed {
    fn misbehave(self) {
        match self {
            Self::Trap => trap(),
            Self::Loop => spin(),
            Self::Hoard => hoard(),
            _ => {}
        }
    }
}

#[expect(clippy::panic, reason = "this is what the guest is for")]
fn trap() {
    panic!("boom");
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
