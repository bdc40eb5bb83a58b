//! A filter behind the generated interface.
//!
//! A session holds its component, so a message is decided without any look-up; the payload that the runtime has put
//! into this instance's memory is lent to the filter and never copied.

use std::cell::RefCell;
use std::marker::PhantomData;

use super::{Admission, Filter, Interest, Message, Part, PartVerdict, Reaction, Refusal, Verdict};
use crate::bindings::filter::exports::tidegate::edge::{batching, closing, filtering, streaming, swapping, timing};
use crate::{CloseFrame, Handshake, Side, config};

/// A [`Filter`] behind the generated interfaces.
pub struct Export<T>(PhantomData<T>);

/// One connection of a [`Filter`].
pub struct Session<T: Filter> {
    filter: &'static T,
    state: RefCell<T::Session>,
}

impl<T: Filter> filtering::Guest for Export<T> {
    type Session = Session<T>;

    fn configure(text: String) -> Result<Interest, String> {
        config::log_panics();
        Ok(config::install(config::json::read::<T>(&text)?.configured()?)?.interest())
    }
}

impl<T: Filter> filtering::GuestSession for Session<T> {
    fn open(handshake: Handshake) -> Result<filtering::Admission, Refusal> {
        let filter = config::installed::<T>();
        let Admission { session, upstream_headers, client_headers, attributes, lease_seconds } =
            filter.open(&handshake)?;
        let session = filtering::Session::new(Self { filter, state: RefCell::new(session) });
        Ok(filtering::Admission { session, upstream_headers, client_headers, attributes, lease_seconds })
    }

    fn on_message(&self, origin: Side, message: filtering::Message) -> Verdict {
        self.filter.on_message(&mut self.state.borrow_mut(), Message::received(origin, &message))
    }
}

impl<T: Filter> batching::Guest for Export<T> {
    fn on_messages(
        session: filtering::SessionBorrow<'_>,
        origin: Side,
        arrivals: Vec<batching::Arrival>,
        bytes: Vec<u8>,
    ) -> Vec<batching::Decision> {
        let session: &Session<T> = session.get();
        decide(session.filter, &mut session.state.borrow_mut(), origin, &arrivals, &bytes)
    }
}

impl<T: Filter> closing::Guest for Export<T> {
    fn on_close(session: filtering::SessionBorrow<'_>, by: Option<Side>, close: Option<CloseFrame>) {
        let session: &Session<T> = session.get();
        session.filter.on_close(&mut session.state.borrow_mut(), by, close.as_ref());
    }
}

impl<T: Filter> swapping::Guest for Export<T> {
    fn save(session: filtering::SessionBorrow<'_>) -> Vec<u8> {
        let session: &Session<T> = session.get();
        session.filter.save(&session.state.borrow())
    }

    fn resume(handshake: Handshake, state: Vec<u8>) -> Result<filtering::Session, String> {
        let filter = config::installed::<T>();
        let session = filter.resume(&handshake, &state)?;
        Ok(filtering::Session::new(Session { filter, state: RefCell::new(session) }))
    }
}

impl<T: Filter> timing::Guest for Export<T> {
    fn on_timer(session: filtering::SessionBorrow<'_>, token: u64) -> Reaction {
        let session: &Session<T> = session.get();
        session.filter.on_timer(&mut session.state.borrow_mut(), token)
    }
}

impl<T: Filter> streaming::Guest for Export<T> {
    fn on_part(session: filtering::SessionBorrow<'_>, origin: Side, part: streaming::Part) -> PartVerdict {
        let session: &Session<T> = session.get();
        let part = Part { kind: part.kind, first: part.first, last: part.last, bytes: &part.bytes };
        session.filter.on_part(&mut session.state.borrow_mut(), origin, part)
    }
}

/// What is decided about the messages of a batch that do not simply go on. What follows a close is not shown to the
/// filter: the connection is over.
fn decide<T: Filter>(
    filter: &T,
    session: &mut T::Session,
    origin: Side,
    arrivals: &[batching::Arrival],
    bytes: &[u8],
) -> Vec<batching::Decision> {
    let (mut decisions, mut rest) = (Vec::new(), bytes);
    for (place, arrival) in (0..).zip(arrivals) {
        let (payload, behind) = rest.split_at_checked(arrival.length as usize).unwrap_or((rest, &[]));
        rest = behind;
        let verdict = filter.on_message(session, Message::new(origin, arrival.kind, payload).of_size(arrival.size));
        if verdict != Verdict::Forward {
            let is_over = matches!(verdict, Verdict::Close(_));
            decisions.push(batching::Decision { message: place, verdict });
            if is_over {
                break;
            }
        }
    }
    decisions
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::MessageKind;

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
    fn what_simply_goes_on_is_not_mentioned_and_what_follows_a_close_not_seen() {
        let mut seen = 0;
        let arrivals = [batching::Arrival { kind: MessageKind::Text, size: 1, length: 1 }; 4];
        let decisions = decide(&CloseOnSecond, &mut seen, Side::Client, &arrivals, b"abcd");
        assert_eq!(decisions, [batching::Decision { message: 1, verdict: Verdict::close(1008, "enough") }]);
        assert_eq!(seen, 2);
    }

    #[test]
    fn by_default_a_session_resumes_as_it_would_open() {
        let error = CloseOnSecond.resume(&Handshake::default(), b"").unwrap_err();
        assert_eq!(error, "would refuse the handshake with 403");
    }
}
