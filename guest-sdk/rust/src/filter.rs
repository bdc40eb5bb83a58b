//! Components that see and change messages.

mod admission;
mod export;
mod interest;
mod message;
mod origins;
mod part;

use serde::de::DeserializeOwned;

pub use self::admission::{Admission, HeaderEdit, Refusal};
pub use self::export::Export;
pub use self::interest::{Interest, Kinds, Need, Selection};
pub use self::message::{Content, Message, Outgoing, Reaction, Verdict};
pub use self::origins::Origins;
pub use self::part::{Part, PartVerdict};
use crate::{CloseFrame, Handshake, Side};

/// Sees the messages of a route's connections. Export it with [`export_filter!`](crate::export_filter).
///
/// What belongs to one connection is its `Session`.
///
/// # State is per worker
///
/// **One value serves the connections of one worker thread, and each worker has its own.** What a filter keeps in itself,
/// such as a count for each user, a cache or a set of those who were seen, no other worker's value knows of: with 4 workers,
/// a limit of 2 a second for a user lets up to 8 a second through, because a user's connections land on all of them. A
/// reload that changes the filter, and a trap, begin with an empty value again. A limit that has to be exact over all
/// connections cannot be kept in a filter now; one for each connection, in its `Session`, is exact.
///
/// # State that outlives the filter
///
/// When a reload puts another version under an open connection, [`save`](Filter::save) is called on the old one, and
/// [`resume`](Filter::resume) on the new one with what it said. The two may be builds of different days, so give the bytes
/// a form that both can read, and say no to what you cannot.
///
/// ```
/// use serde::Deserialize;
/// use tidegate_guest::{Admission, Filter, Handshake, Message, Refusal, Verdict, export_filter};
///
/// /// Closes a connection after so many messages.
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Quota {
///     messages: u64,
/// }
///
/// impl Filter for Quota {
///     type Session = u64;
///
///     fn open(&self, _: &Handshake) -> Result<Admission<u64>, Refusal> {
///         Ok(Admission::of(0))
///     }
///
///     fn on_message(&self, seen: &mut u64, _: Message<'_>) -> Verdict {
///         *seen += 1;
///         if *seen > self.messages { Verdict::close(1008, "the quota is used up") } else { Verdict::Forward }
///     }
///
///     fn save(&self, seen: &u64) -> Vec<u8> {
///         seen.to_le_bytes().to_vec()
///     }
///
///     fn resume(&self, _: &Handshake, state: &[u8]) -> Result<u64, String> {
///         match state {
///             // The predecessor failed, or is a version that saved nothing.
///             [] => Ok(0),
///             state => Ok(u64::from_le_bytes(state.try_into().map_err(|_| "the state has not 8 bytes")?)),
///         }
///     }
/// }
///
/// export_filter!(Quota);
///
/// # fn main() {
/// # use tidegate_guest::Side;
/// let (old, new) = (Quota { messages: 5 }, Quota { messages: 2 });
/// let mut seen = 0;
/// assert_eq!(old.on_message(&mut seen, Message::text_from(Side::Client, "one")), Verdict::Forward);
///
/// let mut seen = new.resume(&Handshake::default(), &old.save(&seen)).unwrap();
/// assert_eq!(new.on_message(&mut seen, Message::text_from(Side::Client, "two")), Verdict::Forward);
/// let verdict = new.on_message(&mut seen, Message::text_from(Side::Client, "three"));
/// assert_eq!(verdict, Verdict::close(1008, "the quota is used up"));
/// # }
/// ```
pub trait Filter: DeserializeOwned + 'static {
    /// What the filter remembers of one connection; `()` when nothing.
    type Session: 'static;

    /// Checks the configuration beyond what its types say, and builds what the other methods need. The error is shown
    /// to the operator: say what is wrong and what to write instead.
    fn configured(self) -> Result<Self, String> {
        Ok(self)
    }

    /// Which messages the filter wants, and how much of each. Asked once, after `configured`. What no filter of a route
    /// selects is relayed without being looked at, so ask for as little as the configuration permits.
    ///
    /// Default: all of every message in both directions.
    fn interest(&self) -> Interest {
        Interest::both(Selection::whole(Kinds::all()))
    }

    /// Admits or refuses a handshake, before the upstream is connected. A refusal may send the client elsewhere, see
    /// [`Refusal::redirect`].
    fn open(&self, handshake: &Handshake) -> Result<Admission<Self::Session>, Refusal>;

    /// Decides about one message that `interest` selects.
    ///
    /// Default: forward it.
    fn on_message(&self, session: &mut Self::Session, message: Message<'_>) -> Verdict {
        let _ = (session, message);
        Verdict::Forward
    }

    /// Decides about a part of a message that `origin` has sent, where `interest` selects parts:
    /// [`Selection::stream`], [`Selection::rewrite`]. After a swap, it may be shown the rest of a message that its
    /// predecessor has seen the beginning of.
    ///
    /// Default: forward it.
    fn on_part(&self, session: &mut Self::Session, origin: Side, part: Part<'_>) -> PartVerdict {
        let _ = (session, origin, part);
        PartVerdict::Forward
    }

    /// Acts when the time of a timer has come that was set by [`timer::after`](crate::timer::after). What it sends goes out
    /// as it is, past other filters; while a peer does not take it, no further timer of the connection comes.
    ///
    /// Default: does nothing.
    fn on_timer(&self, session: &mut Self::Session, token: u64) -> Reaction {
        let _ = (session, token);
        Reaction::Nothing
    }

    /// Says that the connection has ended: who ended it (`None`: the proxy did), and the close frame if there was one
    /// with a code. The session is dropped afterwards.
    fn on_close(&self, session: &mut Self::Session, by: Option<Side>, close: Option<&CloseFrame>) {
        let _ = (session, by, close);
    }

    /// The state that a successor needs when this component is replaced under a live connection. Where the successor does
    /// not take over, the session goes on as if it had not been asked. A panic leaves the connection with this component,
    /// and costs the instance with the state of all its sessions.
    ///
    /// Default: none.
    fn save(&self, session: &Self::Session) -> Vec<u8> {
        let _ = session;
        Vec::new()
    }

    /// Takes a live connection over, with the state that its predecessor saved, or with none when the predecessor
    /// failed. An error leaves the connection with its predecessor, and it is asked again only when this component, or its
    /// configuration, changes again.
    ///
    /// Default: a session as for a new connection; the state is not looked at.
    fn resume(&self, handshake: &Handshake, state: &[u8]) -> Result<Self::Session, String> {
        let _ = state;
        match self.open(handshake) {
            Ok(admission) => Ok(admission.session),
            Err(refusal) => Err(format!("would refuse the handshake with {}", refusal.status)),
        }
    }
}

/// Exports a type that implements [`Filter`] as the component that this crate is.
#[macro_export]
macro_rules! export_filter {
    ($type:ty) => {
        #[cfg(target_arch = "wasm32")]
        #[allow(unsafe_code, reason = "exported functions have names of their own in the binary")]
        const _: () = {
            type Exported = $crate::__private::FilterExport<$type>;
    $crate::__private::filter::export_world!(Exported with_types_in $crate::__private::filter);
        };
        #[cfg(not(target_arch = "wasm32"))]
        const _: () = {
            const fn is_a_filter<T: $crate::Filter>() {}
            is_a_filter::<$type>()
        };
    };
}
