//! Replaces every message, both ways, by a copy of itself: nothing of what came can go out again as it is, and what a
//! filter that rewrites costs at least.

use serde::Deserialize;
use tidegate_guest::{Admission, Filter, Handshake, Message, Refusal, Verdict, export_filter};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Replacer {}

impl Filter for Replacer {
    type Session = ();

    fn open(&self, _: &Handshake) -> Result<Admission<()>, Refusal> {
        Ok(Admission::of(()))
    }

    fn on_message(&self, (): &mut (), message: Message<'_>) -> Verdict {
        Verdict::replace(message)
    }
}

export_filter!(Replacer);
