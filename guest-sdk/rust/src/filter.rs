//! Components that see and change messages.

mod admission;
mod export;
mod interest;
mod message;
mod origins;

use serde::de::DeserializeOwned;

pub use self::admission::{Admission, HeaderEdit, Refusal};
pub use self::export::Export;
pub use self::interest::{Interest, Kinds, Payload, Selection};
pub use self::message::{Message, Outgoing, Verdict};
pub use self::origins::Origins;
use crate::{CloseFrame, Handshake, Side};

/// Sees the messages of a route's connections. Export it with [`export_filter!`](crate::export_filter).
///
/// One value serves all connections of a worker thread; what belongs to one connection is its `Session`.
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

    /// Admits or refuses a handshake, before the upstream is connected.
    fn open(&self, handshake: &Handshake) -> Result<Admission<Self::Session>, Refusal>;

    /// Decides about one message that `interest` selects.
    ///
    /// Default: forward it.
    fn on_message(&self, session: &mut Self::Session, message: Message<'_>) -> Verdict {
        let _ = (session, message);
        Verdict::Forward
    }

    /// Says that the connection has ended: who ended it (`None`: the proxy did), and the close frame if there was one
    /// with a code. The session is dropped afterwards.
    fn on_close(&self, session: &mut Self::Session, by: Option<Side>, close: Option<&CloseFrame>) {
        let _ = (session, by, close);
    }

    /// The state that a successor needs when this component is replaced under a live connection.
    ///
    /// Default: none.
    fn save(&self, session: &Self::Session) -> Vec<u8> {
        let _ = session;
        Vec::new()
    }

    /// Takes a live connection over, with the state that its predecessor saved, or with none when the predecessor
    /// failed. An error leaves the connection with its predecessor.
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
