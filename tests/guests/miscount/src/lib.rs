//! A filter that answers several messages with one verdict too few, which the SDK would never do.

use tidegate_guest::__private::filter::exports::tidegate::edge::filtering::{
    Admission, Guest, GuestSession, Interest, Kinds, Message, Refusal, Selection, Session, Verdict,
};
use tidegate_guest::{CloseFrame, Handshake, MessageKind, Side};

struct Miscount;

impl Guest for Miscount {
    type Session = Self;

    fn configure(_: String) -> Result<Interest, String> {
        Ok(Interest::both(Selection::whole(Kinds::all())))
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

    fn on_message(&self, _: Side, _: MessageKind, _: u64, _: Vec<u8>) -> Verdict {
        Verdict::Forward
    }

    fn on_messages(&self, messages: Vec<Message>) -> Vec<Verdict> {
        messages.iter().skip(1).map(|_| Verdict::Forward).collect()
    }

    fn on_close(&self, _: Option<Side>, _: Option<CloseFrame>) {}

    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn resume(_: Handshake, _: Vec<u8>) -> Result<Session, String> {
        Ok(Session::new(Self))
    }
}

#[cfg(target_arch = "wasm32")]
#[allow(unsafe_code, reason = "exported functions have names of their own in the binary")]
const _: () = {
    tidegate_guest::__private::filter::export_world!(Miscount with_types_in tidegate_guest::__private::filter);
};

#[cfg(not(target_arch = "wasm32"))]
const _: Miscount = Miscount;
