//! Turning a configuration into a snapshot, off the workers: read, compile, link, configure; and watching for changes.
//!
//! What did not change is not made again: a component with the same bytes stays compiled, and a use of it with the same
//! configuration stays the same use, so that its instances and what they remember live on.

mod answers;
mod authorize;
mod build;
mod endpoints;
mod examine;
mod files;
mod findings;
mod listeners;
mod memory;
mod plan;
mod sources;
mod steps;
mod tokens;
mod tls;
mod watch;

pub use build::{Built, Means, build};
pub use endpoints::HandOver;
pub use examine::{examine, examine_files};
pub use plan::{Cause, Change, Plan};
pub use sources::{ReadSources, Sources, read_component};
pub use steps::{Step, Steps};
pub use watch::{Look, Polled, Watch};
