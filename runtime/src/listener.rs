//! Binding and accepting: one socket for each listener and worker, all on the same port.
//!
//! The kernel deals connections out among the workers' sockets by chance, and a WebSocket lives long, so before its
//! first byte is read a connection may be handed to the worker that has the fewest. One for which there is no place is
//! answered and ended here; nothing waits without a word.
//!
//! Where there are fewer sockets than workers, as of a unix socket, which only one can have, workers accept from the same one.

mod accept;
mod address;
mod bind;
mod bound;
mod claim;
mod introduction;
mod loads;
mod refuse;
mod retire;
mod socket_file;
mod taken;

use std::sync::Arc;
use std::time::Duration;

pub use self::accept::{Acceptor, Shortage};
pub use self::address::{Address, InvalidAddress};
pub use self::bind::{BindError, bind_one, is_shared, listen, share};
pub use self::bound::Bound;
pub use self::claim::Claim;
pub use self::introduction::{NotIntroduced, introduction};
pub use self::loads::{Accepts, Counted, Loads};
pub use self::refuse::{Refusals, refuse, refuse_at_once};
pub use self::retire::retire;
pub use self::socket_file::Rights;
pub use self::taken::{listening, listening_paths};
use crate::acme::Challenges;
use crate::answers::Redirect;
use crate::handshake::HeadLimits;
use crate::session::{Door, Http2};
use crate::tls;

/// A listener of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What is taken as the head of a request.
    pub head: HeadLimits,
    /// How long a client may take for the head of a request.
    pub handshake_timeout: Duration,
    /// Whom it lets in.
    pub door: Arc<Door>,
    /// Whether connections begin with a header of the PROXY protocol, and only peers may come that the door trusts.
    pub is_introduced: bool,
    /// Whether some upstream wants to know where clients have connected to.
    pub notes_destination: bool,
    /// What authorities of certificates are answered here; `None`: nothing.
    pub challenges: Option<Arc<Challenges>>,
    /// Where its requests are sent; `None`: they are served.
    pub redirect: Option<Arc<Redirect>>,
    /// What clients speak TLS with; `None`: clear text.
    pub tls: Option<tls::Server>,
    /// What holds for connections over HTTP/2; `None`: there are none.
    pub http2: Option<Arc<Http2>>,
}
