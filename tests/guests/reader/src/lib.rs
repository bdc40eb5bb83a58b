//! Reads every byte of every message, both ways, and lets everything pass: what a filter that inspects costs at least.
//! It is shown messages whole or, if the configuration says so, part by part.

mod fold;

use fold::fold;
use serde::Deserialize;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, Part, PartVerdict, Refusal, Selection, Side, Verdict,
    export_filter,
};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Reader {
    parts: Parts,
    /// Closes with 4000 once it has seen this byte in a part.
    forbidden: Option<u8>,
}

/// `off` (the default), `stream`, or `rewrite`, which makes small letters large.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Parts {
    #[default]
    Off,
    Stream,
    Rewrite,
}

impl Filter for Reader {
    type Session = u8;

    fn interest(&self) -> Interest {
        let all = Kinds::all();
        Interest::both(match self.parts {
            Parts::Off => Selection::whole(all),
            Parts::Stream => Selection::stream(all),
            Parts::Rewrite => Selection::rewrite(all),
        })
    }

    fn open(&self, _: &Handshake) -> Result<Admission<u8>, Refusal> {
        Ok(Admission::of(0))
    }

    fn on_message(&self, parity: &mut u8, message: Message<'_>) -> Verdict {
        *parity ^= fold(message.payload());
        Verdict::Forward
    }

    fn on_part(&self, parity: &mut u8, _: Side, part: Part<'_>) -> PartVerdict {
        *parity ^= fold(part.bytes);
        if self.forbidden.is_some_and(|forbidden| part.bytes.contains(&forbidden)) {
            return PartVerdict::close(4000, "forbidden");
        }
        match self.parts {
            Parts::Rewrite if part.bytes.iter().any(u8::is_ascii_lowercase) => {
                PartVerdict::replace(part.bytes.to_ascii_uppercase())
            }
            _ => PartVerdict::Forward,
        }
    }
}

export_filter!(Reader);
