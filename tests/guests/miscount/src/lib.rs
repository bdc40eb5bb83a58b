//! A filter that decides about a message that is not in the batch, which the SDK would never do. It is built from the
//! interfaces alone, and of the optional ones it exports `batching`.
#![cfg(target_arch = "wasm32")]
#![allow(unsafe_code, reason = "exported functions have names of their own in the binary")]
#![expect(missing_docs, reason = "generated")]

wit_bindgen::generate!({
    path: "../../../wit",
    inline: "
        package tests:miscount;
        world miscount {
            include tidegate:edge/filter@0.2.0;
            export tidegate:edge/batching@0.2.0;
        }
    ",
    world: "tests:miscount/miscount",
    generate_all,
});

use exports::tidegate::edge::batching;
use exports::tidegate::edge::filtering::{
    Admission, Guest, GuestSession, Interest, Kinds, Message, Need, Refusal, Selection, Session, SessionBorrow, Verdict,
};
use tidegate::edge::types::{Handshake, Side};

struct Miscount;

impl Guest for Miscount {
    type Session = Self;

    fn configure(config: String) -> Result<Interest, String> {
        // What it does not export, it cannot be shown.
        let need = if config.contains("stream") { Need::Stream } else { Need::Whole };
        let everything = Selection { kinds: Kinds::TEXT | Kinds::BINARY, need };
        Ok(Interest { from_client: everything, from_upstream: everything })
    }
}

impl GuestSession for Miscount {
    fn open(_: Handshake) -> Result<Admission, Refusal> {
        Ok(Admission {
            session: Session::new(Self),
            upstream_headers: Vec::new(),
            client_headers: Vec::new(),
            attributes: Vec::new(),
            lease_seconds: None,
        })
    }

    fn on_message(&self, _: Side, _: Message) -> Verdict {
        Verdict::Forward
    }
}

impl batching::Guest for Miscount {
    fn on_messages(
        _: SessionBorrow<'_>,
        _: Side,
        messages: Vec<batching::Arrival>,
        _: Vec<u8>,
    ) -> Vec<batching::Decision> {
        let message = u32::try_from(messages.len()).unwrap_or(u32::MAX);
        vec![batching::Decision { message, verdict: Verdict::Drop }]
    }
}

export!(Miscount);
