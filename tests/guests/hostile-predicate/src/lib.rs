//! A predicate that traps when the request says so with the header `x-boom`, and holds otherwise.

use serde::Deserialize;
use tidegate_guest::{Handshake, Predicate, export_predicate};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hostile {}

impl Predicate for Hostile {
    #[expect(clippy::panic, reason = "this is what the guest is for")]
    fn matches(&self, handshake: &Handshake) -> bool {
        if handshake.header("x-boom").is_some() {
            panic!("boom");
        }
        true
    }
}

export_predicate!(Hostile);
