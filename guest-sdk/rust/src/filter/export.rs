//! A filter behind the generated interface.
//!
//! A session holds its component, so a message is decided without any look-up; the payload that the runtime has put
//! into this instance's memory is lent to the filter and never copied.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::{Admission, Filter, Interest, Message, Refusal, Verdict};
use crate::bindings::filter::exports::tidegate::edge::filtering;
use crate::{CloseFrame, Handshake, MessageKind, Side, config};

/// A [`Filter`] behind the generated interface.
pub struct Export<T>(PhantomData<T>);

impl<T: Filter> filtering::Guest for Export<T> {
    type Session = Session<T>;

    fn configure(text: String) -> Result<Interest, String> {
        config::log_panics();
        Ok(config::install(config::json::read::<T>(&text)?.configured()?)?.interest())
    }
}

/// One connection of a [`Filter`].
pub struct Session<T: Filter> {
    filter: &'static T,
    state: RefCell<T::Session>,
}

impl<T: Filter> filtering::GuestSession for Session<T> {
    fn open(handshake: Handshake) -> Result<filtering::Admission, Refusal> {
        let filter = config::installed::<T>();
        let Admission { session, upstream_headers, client_headers, attributes, lease_seconds } =
            filter.open(&handshake)?;
        let session = filtering::Session::new(Self { filter, state: RefCell::new(session) });
        Ok(filtering::Admission { session, upstream_headers, client_headers, attributes, lease_seconds })
    }

    fn on_message(&self, origin: Side, kind: MessageKind, size: u64, payload: Vec<u8>) -> Verdict {
        let message = Message::new(origin, kind, &payload).of_size(size);
        self.filter.on_message(&mut self.state.borrow_mut(), message)
    }

    fn on_messages(&self, messages: Vec<filtering::Message>) -> Vec<Verdict> {
        let messages = messages
            .iter()
            .map(|message| Message::new(message.origin, message.kind, &message.payload).of_size(message.size));
        decide(self.filter, &mut self.state.borrow_mut(), messages)
    }

    fn on_close(&self, by: Option<Side>, close: Option<CloseFrame>) {
        self.filter.on_close(&mut self.state.borrow_mut(), by, close.as_ref());
    }

    fn save(&self) -> Vec<u8> {
        self.filter.save(&self.state.borrow())
    }

    fn resume(handshake: Handshake, state: Vec<u8>) -> Result<filtering::Session, String> {
        let filter = config::installed::<T>();
        let session = filter.resume(&handshake, &state)?;
        Ok(filtering::Session::new(Self { filter, state: RefCell::new(session) }))
    }
}

/// One verdict a message, in order. What follows a close is not shown to the filter: the connection is over.
fn decide<'a, T: Filter>(
    filter: &T,
    session: &mut T::Session,
    messages: impl ExactSizeIterator<Item = Message<'a>>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::with_capacity(messages.len());
    let mut closed = false;
    for message in messages {
        let verdict = if closed { Verdict::Drop } else { filter.on_message(session, message) };
        closed |= matches!(verdict, Verdict::Close(_));
        verdicts.push(verdict);
    }
    verdicts
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct CloseOnSecond;

    impl Filter for CloseOnSecond {
        type Session = u32;

        fn open(&self, _: &Handshake) -> Result<Admission<u32>, Refusal> {
            Err(Refusal::new(403))
        }

        fn on_message(&self, seen: &mut u32, _: Message<'_>) -> Verdict {
            *seen += 1;
            if *seen == 2 { Verdict::close(1008, "enough") } else { Verdict::Forward }
        }
    }

    #[test]
    fn what_follows_a_close_in_a_batch_is_dropped_unseen() {
        let mut seen = 0;
        let messages = [Message::text_from(Side::Client, "x"); 4];
        let verdicts = decide(&CloseOnSecond, &mut seen, messages.into_iter());
        assert_eq!(verdicts, [Verdict::Forward, Verdict::close(1008, "enough"), Verdict::Drop, Verdict::Drop]);
        assert_eq!(seen, 2);
    }

    #[test]
    fn by_default_a_session_resumes_as_it_would_open() {
        let error = CloseOnSecond.resume(&Handshake::default(), b"").unwrap_err();
        assert_eq!(error, "would refuse the handshake with 403");
    }
}
