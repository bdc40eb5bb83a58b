//! Finding the routes that may take a handshake, the most specific first.
//!
//! The table is built once for a configuration and only read afterwards; a lookup allocates nothing and costs as many
//! hash lookups as the host has labels and the path has segments, however many routes there are. A path is compared in a
//! form in which all spellings of it are the same, see [`Path`](crate::http::Path). Predicates are the caller's business.

mod origins;
mod pattern;
mod services;
mod table;

pub use origins::{Origin, Origins};
pub use pattern::{HostPattern, InvalidPattern, PathPattern};
pub use services::Services;
pub use table::{Candidates, Found, Matcher, RouteTable};
