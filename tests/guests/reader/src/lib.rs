//! Reads every byte of every message, both ways, and lets everything pass: what a filter that inspects costs at least.

mod fold;

use fold::fold;
use serde::Deserialize;
use tidegate_guest::{Admission, Filter, Handshake, Message, Refusal, Verdict, export_filter};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reader {}

impl Filter for Reader {
    type Session = u8;

    fn open(&self, _: &Handshake) -> Result<Admission<u8>, Refusal> {
        Ok(Admission::of(0))
    }

    fn on_message(&self, parity: &mut u8, message: Message<'_>) -> Verdict {
        *parity ^= fold(message.payload());
        Verdict::Forward
    }
}

export_filter!(Reader);
