//! What a request is on both legs: fields and how they are spelled, hosts and paths, what ends at a hop, what one leg makes
//! and the other sends.
//!
//! Nothing here knows which leg it is on. A client's request becomes an [`UpstreamRequest`], the upstream's 101 an
//! [`Accepted`], and its refusal an [`Answer`]: one leg makes them and the other writes them down, so neither knows the
//! other.

mod accepted;
mod authority;
mod content;
mod date;
mod escape;
pub mod extensions;
pub mod fields;
mod host;
pub mod field_names;
mod once;
mod path;
mod relay;
mod replay;
mod request;
mod rules;
mod spelling;
mod status;
mod streamed;
mod target;

pub use accepted::Accepted;
pub use authority::{canonical_host, origin, origin_authority, split_port};
pub use content::{Content, Streamed};
pub use date::date;
pub use escape::{escape, escaped};
pub use host::{Host, InvalidHost};
pub use once::poll_read_once;
pub use path::{InvalidPath, Path, Paths, comparable_rule};
pub use relay::{Answer, RelayError, RelayedBody, end_to_end, is_unwell};
pub use replay::Replay;
pub use request::UpstreamRequest;
pub use rules::{FACTS, Facts, FieldRules, FieldValue, LONGEST_VALUE};
pub use spelling::spell_head;
pub use status::has_content;
pub use streamed::{Carried, StreamedBody, end_to_end as part_end_to_end};
pub use target::UpstreamTarget;
