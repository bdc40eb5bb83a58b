//! One plain HTTP request, from the moment that its route lets it in: how it goes to an endpoint, and how its answer comes.
//!
//! [`check`] says which requests are carried at all, [`pass`] that they have come this way, an [`Asked`] is one that is, with its [`Upload`]: the body on its way up,
//! which is read as the endpoint takes it. An [`attempt`] asks one endpoint over a [`Link`], a connection that is kept for the
//! next request in the [`Links`] of the worker, and gives an [`Answered`]: the head of the answer and what brings the rest.
//! Each leg is framed anew by what was read and never by what was said, so no byte of one request is taken for another's.
//!
//! Which endpoint is asked, and who may ask, is not known here; nor is the WebSocket, which takes its connection with it.

mod answer;
mod asked;
mod attempt;
mod check;
mod clock;
mod hops;
mod link;
mod links;
mod upload;

pub use answer::{Answered, Incomplete, is_event_stream};
pub use asked::{Asked, Hop};
pub use attempt::{Failure, Way, attempt};
pub use check::check;
pub use hops::pass;
pub use link::Link;
pub use links::{Keeping, Links, Place};
pub use upload::{Fault, Upload};
