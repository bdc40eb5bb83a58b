//! `tidegate log-level`.

use http::Method;
use serde::Deserialize;

use super::ask::ask;
use super::outcome::Outcome;
use crate::admin::Client;

/// The admin API's answer.
#[derive(Debug, Deserialize)]
struct Answer {
    level: String,
}

/// Has a running proxy log from this level on, or asks it from which it does, and prints the level.
pub(super) fn log_level(level: Option<&str>, client: &Client) -> Result<Outcome, Outcome> {
    let answer = match level {
        Some(level) => ask(client, Method::PUT, &format!("/api/v1/log?level={level}")),
        None => ask(client, Method::GET, "/api/v1/log"),
    };
    let Answer { level } = answer?.read(client)?;
    Ok(Outcome::done(level))
}
