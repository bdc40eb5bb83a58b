//! What both legs share of HTTP: fields and which of them end at a hop, how their names are spelled, extensions of the
//! handshake, answers that are passed on, and sockets whose start was read already. Bytes are hyper's, or httparse's.

pub mod extensions;
pub mod field_names;
pub mod fields;
mod relay;
mod replay;
mod spelling;

pub use relay::{Answer, RelayError, RelayedBody};
pub use replay::Replay;
pub use spelling::spell_head;
