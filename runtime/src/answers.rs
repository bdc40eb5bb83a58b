//! What the proxy answers by itself, where an operator has said what: a page, or the way to another place.
//!
//! All that can be wrong with them is found when they are read; what of a client's request goes into one is encoded for its
//! place, so that no client writes a header line or leads somebody to a place that the operator does not name.

mod fixed;
mod page;
mod problem;
mod redirect;

pub use fixed::Fixed;
pub use page::Page;
pub use problem::ErrorPages;
pub use redirect::{Asked, InvalidRedirect, Redirect, STATUSES, VALUES};

use http::Response;

use crate::handshake::{AnswerBody, Refused};

/// What a route answers that leads nowhere else.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Always the same.
    Fixed(Fixed),
    /// The way to another place.
    Redirect(Redirect),
}

impl Answer {
    /// The answer to a request.
    ///
    /// # Errors
    /// When the request has not what is needed for it.
    pub fn response(&self, asked: &Asked<'_>) -> Result<Response<AnswerBody>, Refused> {
        match self {
            Self::Fixed(fixed) => Ok(fixed.response()),
            Self::Redirect(redirect) => redirect.response(asked),
        }
    }
}
