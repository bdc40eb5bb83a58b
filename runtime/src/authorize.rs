//! Asking another server whether a client may come in, as nginx does by `auth_request` and others by forward authentication.
//!
//! A worker asks an [`Authorizer`], which has the question asked on the control runtime and may remember who was admitted. What of
//! a request becomes a part of the question, and what of the answer goes on, [`Terms`] say.

mod admitted;
mod authorizer;
mod question;

pub use authorizer::{Authorizer, Failure, Verdict};
pub use question::{Question, Terms};
