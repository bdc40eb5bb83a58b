//! `tidegate log-level`.

use http::Method;
use serde::Deserialize;

use super::ask::ask;
use super::outcome::Outcome;
use crate::listener::Address;

/// The admin API's answer.
#[derive(Debug, Deserialize)]
struct Answer {
    level: String,
}

/// Has a running proxy log from this level on, or asks it from which it does, and prints the level.
pub(super) fn log_level(level: Option<&str>, address: &Address) -> Result<Outcome, Outcome> {
    let answer = match level {
        Some(level) => ask(address, Method::PUT, &format!("/api/v1/log?level={level}")),
        None => ask(address, Method::GET, "/api/v1/log"),
    };
    let Answer { level } = answer?.read(address)?;
    Ok(Outcome::done(level))
}
