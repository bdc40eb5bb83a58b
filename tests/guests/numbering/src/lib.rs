//! Numbers the texts of each client: what it keeps for a connection is there to be seen in every message.

use serde::Deserialize;
use tidegate_guest::{
    Admission, Filter, Handshake, Interest, Kinds, Message, Refusal, Selection, Verdict, export_filter,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbering {}

impl Filter for Numbering {
    type Session = u64;

    fn interest(&self) -> Interest {
        Interest { from_client: Selection::whole(Kinds::TEXT), from_upstream: Selection::nothing() }
    }

    fn open(&self, _: &Handshake) -> Result<Admission<u64>, Refusal> {
        Ok(Admission::of(0))
    }

    fn on_message(&self, count: &mut u64, message: Message<'_>) -> Verdict {
        let Some(text) = message.text() else { return Verdict::Forward };
        *count += 1;
        Verdict::replace(format!("{text} #{count}"))
    }
}

export_filter!(Numbering);
